//! `top`: what a running proxy does, live in a terminal, or once as text. It reads the API and changes nothing.

mod answers;
mod asker;
mod draw;
mod panes;
mod state;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod trend;
mod units;
mod url;

use super::{Failure, remote, screen};
use crate::config::{self, Overrides, Sources};
use asker::{Api, Asker};
use clap::Args;
use crossbeam::channel::TryRecvError;
use draw::Now;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use state::{State, Then};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use terminal::{Input, Screen};

/// How long a key waits for what was told meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the screen is drawn anew when nothing happens, for the times on it.
const REDRAW: Duration = Duration::from_secs(1);
/// Characters of a line where no terminal says how many it has.
const WIDTH: u16 = 100;
/// The widest line, and the narrowest, that a script may ask for.
const WIDTHS: std::ops::RangeInclusive<u16> = 20..=500;
/// Where a proxy is that says nothing else in its configuration.
const HERE: &str = "http://127.0.0.1:9090";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the API is, such as http://127.0.0.1:9090 [default: as metrics.address and metrics.prometheus_port say]
    #[arg(long, value_name = "URL", value_parser = url::base)]
    url: Option<String>,
    /// Print one screen as plain text and end: for scripts
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

pub(super) fn execute(overrides: Overrides, arguments: &Arguments) -> Result<(), Failure> {
    let url = match &arguments.url {
        Some(url) => url.clone(),
        None => configured(overrides)?,
    };
    let api = Api { agent: remote::agent(), url };
    if arguments.once {
        return once(&api);
    }
    if !terminal::is_there() || is_set("TERM", |term| term == "dumb") {
        let told = "`top` needs a terminal that it can draw on; `top --once` prints one screen as text";
        return Err(Failure::Usage(told.to_owned()));
    }
    Ok(watch(api, Duration::from_secs(arguments.interval))?)
}

fn is_set(variable: &str, is: impl Fn(&str) -> bool) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.to_str().is_some_and(is))
}

/// Where the proxy of this configuration is. Who has none at hand, and names none, means the proxy of this host: `top` needs
/// no pool.
fn configured(overrides: Overrides) -> Result<String, Failure> {
    let is_named = overrides.config.is_some() || !overrides.set.is_empty();
    match config::load(&Sources::from_process(overrides)) {
        Ok(loaded) => Ok(format!("http://{}", remote::address_of(&loaded.config)?)),
        Err(error) if is_named => Err(error.into()),
        Err(_) => Ok(HERE.to_owned()),
    }
}

/// Drawn now.
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: since.as_secs() }
}

/// One look, as lines of text.
fn once(api: &Api) -> Result<(), Failure> {
    let mut state = State::new(api.url.clone(), false, true);
    let seen = api.look(&state.wanted)?;
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = width.filter(|width| WIDTHS.contains(width)).unwrap_or(WIDTH);
    let area = Rect::new(0, 0, width, draw::height_of_all(&seen, width));
    state.take(Ok(Box::new(seen)), Instant::now());
    let mut buffer = Buffer::empty(area);
    draw::draw(&state, now(), area, &mut buffer);
    screen::say(&draw::text_of(&buffer).trim_end())?;
    Ok(())
}

/// Shows it until somebody has seen enough.
fn watch(api: Api, every: Duration) -> anyhow::Result<()> {
    let colours = !is_set("NO_COLOR", |value| !value.is_empty());
    let mut state = State::new(api.url.clone(), colours, false);
    let asker = Asker::start(api, state.wanted.clone(), every)?;
    let mut screen = Screen::take()?;
    let mut drawn: Option<Instant> = None;
    loop {
        let is_news = match asker.looked.try_recv() {
            Ok(looked) => {
                state.take(looked, Instant::now());
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => anyhow::bail!("a bug: nobody asks the proxy any more"),
        };
        if is_news || drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            let mut fits = 0;
            screen.draw(|area, buffer| fits = draw::draw(&state, now(), area, buffer))?;
            drawn = Some(Instant::now());
            if state.seen.is_some() {
                state.fits(fits);
            }
            asker.want(&state.wanted);
        }
        match screen.input(PATIENCE)? {
            Input::Key(key) => match state.press(key) {
                Then::Quit => return Ok(()),
                Then::GoOn => drawn = None,
            },
            Input::Resize => {
                screen.send_all()?;
                drawn = None;
            }
            Input::Stop => return Ok(()),
            Input::Nothing => {}
        }
    }
}
