//! `alerts test`: posts one message to the webhook of the configuration, and tells what came back. It needs no running proxy.

use super::{Failure, screen};
use crate::alerts::{AlertCounts, Alerts, TestError};
use crate::config::{self, Overrides, Sources};
use anyhow::anyhow;
use clap::{Args, Subcommand};

/// Characters of what the receiver says that are shown.
const SHOWN_CHARS_MAX: usize = 400;

#[derive(Debug, Subcommand)]
pub(super) enum AlertsCommand {
    /// Post one message that says that nothing is wrong, and tell what came back
    Test(Test),
}

#[derive(Debug, Args)]
pub(super) struct Test {
    /// Print what was sent, too
    #[arg(long)]
    body: bool,
}

pub(super) fn execute(overrides: Overrides, command: &AlertsCommand) -> Result<(), Failure> {
    let AlertsCommand::Test(Test { body }) = command;
    let config = config::load(&Sources::from_process(overrides))?.config;
    let unset = "no webhook: set alerts.url (LOKA_ALERTS_URL in the environment)";
    let alerts = Alerts::prepare(&config, &AlertCounts::default())?.ok_or_else(|| anyhow!(unset))?;
    let tested = match alerts.test() {
        Ok(tested) => tested,
        Err(error) => {
            if let TestError::Refused { text, .. } = &error {
                said(text).iter().for_each(|line| screen::complain(line));
            }
            return Err(Failure::Run(error.into()));
        }
    };
    if *body {
        screen::say(&tested.body)?;
    }
    let signed = if config.alerts.secret.is_empty() { "not signed" } else { "signed" };
    let took = tested.took.as_millis();
    screen::say(&format_args!("{} answers {} after {took} ms ({signed})", tested.receiver, tested.status))?;
    if let Some(line) = said(&tested.text) {
        screen::say(&line)?;
    }
    Ok(())
}

/// One line of what the receiver says, fit for a terminal.
fn said(text: &str) -> Option<String> {
    let line: String = text.chars().filter(|letter| !letter.is_control()).take(SHOWN_CHARS_MAX).collect();
    (!line.is_empty()).then(|| format!("it says: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_says_is_one_short_line() {
        assert_eq!(said("\n\u{1b}"), None);
        assert_eq!(said("o\u{1b}[2Jk\r\n").as_deref(), Some("it says: o[2Jk"));
        assert_eq!(said(&"é".repeat(9_999)).map(|line| line.chars().count()), Some(SHOWN_CHARS_MAX + 9));
    }
}
