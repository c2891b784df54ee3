//! What miners call themselves, each spelling once. A farm has a few; an attacker can invent any number, so the table is
//! bounded, and a spelling that no connection has any more gives its place away.

use crate::limits::{AGENT_BYTES_MAX, AGENTS_MAX};
use std::sync::Arc;

/// A spelling of the table; the default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentId(u8);

#[derive(Debug, Default)]
struct Agent {
    text: Option<Arc<str>>,
    connections: u32,
}

/// At most [`AGENTS_MAX`] spellings.
#[derive(Debug, Default)]
pub(super) struct Agents(Vec<Agent>);

impl Agents {
    /// A connection had `before` and has `text` now.
    pub(super) fn change(&mut self, before: AgentId, text: Option<&str>) -> AgentId {
        let text = text.map(cut);
        if text.is_some() && text == self.at(before).and_then(|agent| agent.text.as_deref()) {
            return before;
        }
        self.leave(before);
        text.and_then(|text| self.join(text)).unwrap_or_default()
    }

    /// The spelling, if it is known.
    pub(super) fn name(&self, id: AgentId) -> Option<Arc<str>> {
        self.at(id)?.text.clone()
    }

    fn at(&self, id: AgentId) -> Option<&Agent> {
        self.0.get(usize::from(id.0).checked_sub(1)?)
    }

    fn join(&mut self, text: &str) -> Option<AgentId> {
        let known = self.0.iter().position(|agent| agent.text.as_deref() == Some(text));
        let place = match known.or_else(|| self.0.iter().position(|agent| agent.text.is_none())) {
            Some(place) => place,
            None if self.0.len() >= AGENTS_MAX => return None,
            None => {
                self.0.push(Agent::default());
                self.0.len() - 1
            }
        };
        let id = u8::try_from(place + 1).ok()?;
        let agent = &mut self.0[place];
        agent.text.get_or_insert_with(|| text.into());
        agent.connections += 1;
        Some(AgentId(id))
    }

    fn leave(&mut self, id: AgentId) {
        let Some(place) = usize::from(id.0).checked_sub(1) else { return };
        let Some(agent) = self.0.get_mut(place) else { return };
        agent.connections = agent.connections.saturating_sub(1);
        if agent.connections == 0 {
            agent.text = None;
        }
    }
}

/// The beginning of a text, as much as is kept.
fn cut(text: &str) -> &str {
    let end = (0..=AGENT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_is_kept_once_and_as_long_as_somebody_has_it() {
        let mut agents = Agents::default();
        let one = agents.change(AgentId::default(), Some("bosminer/1"));
        let two = agents.change(AgentId::default(), Some("bosminer/1"));
        assert_eq!((one, agents.0.len()), (two, 1));
        assert_eq!(agents.change(one, Some("bosminer/1")), one, "it subscribes again");
        let other = agents.change(one, Some("cgminer"));
        assert_eq!(
            (agents.name(two).as_deref(), agents.name(other).as_deref()),
            (Some("bosminer/1"), Some("cgminer"))
        );
        assert_eq!(agents.change(two, None), AgentId::default());
        assert_eq!(agents.name(two), None, "nobody has it any more");
        agents.change(other, None);
        agents.change(AgentId::default(), Some("new"));
        assert_eq!(agents.0.len(), 2, "places are used again");
    }

    #[test]
    fn invented_spellings_find_an_end_and_long_ones_are_cut() {
        let mut agents = Agents::default();
        let ids: Vec<AgentId> =
            (0..1_000).map(|number| agents.change(AgentId::default(), Some(&format!("a{number}")))).collect();
        let known = ids.iter().filter(|id| **id != AgentId::default()).count();
        assert_eq!((known, agents.0.len()), (AGENTS_MAX, AGENTS_MAX));
        agents.change(ids[7], None);
        let long = agents.change(AgentId::default(), Some(&"ä".repeat(AGENT_BYTES_MAX)));
        assert_eq!(agents.name(long).map(|text| text.len()), Some(AGENT_BYTES_MAX), "of two bytes a letter");
    }
}
