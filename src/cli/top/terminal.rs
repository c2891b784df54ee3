//! The terminal: taken for as long as the screen lives, and given back whole however that ends.

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{buffer::Buffer, layout::Rect};
use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Key(KeyEvent),
    /// The screen has another size, or may have been written over.
    Resize,
    /// A signal asks for the end.
    Stop,
    Nothing,
}

/// Whether somebody sits before both ends of it.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && stdout().is_terminal()
}

/// The terminal in use. Dropped, it is as it was before.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    stop: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be set up; then it is as it was before.
    pub(super) fn take() -> io::Result<Screen> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        // The message of a panic belongs on the screen that the user has afterwards.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        let taken = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())))
            .and_then(|mut terminal| terminal.hide_cursor().map(|()| terminal));
        match taken {
            Ok(terminal) => Ok(Screen { terminal, stop }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Draws one screen; only what has changed is sent.
    ///
    /// # Errors
    /// The terminal has gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.area(), frame.buffer_mut())).map(drop)
    }

    /// Sends all of the next screen. Not by `clear`, which asks the terminal where its cursor is: over a slow line the answer
    /// comes too late, and where nobody answers it would be the end.
    ///
    /// # Errors
    /// The terminal has gone.
    pub(super) fn send_all(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Waits for what the user does, at most so long.
    ///
    /// # Errors
    /// The terminal has gone.
    #[allow(clippy::wildcard_enum_match_arm, reason = "what a mouse does means nothing here")]
    pub(super) fn input(&self, at_most: Duration) -> io::Result<Input> {
        let is_any = event::poll(at_most)?;
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Input::Stop);
        }
        if !is_any {
            return Ok(Input::Nothing);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Input::Key(key),
            Event::Resize(..) => Input::Resize,
            _ => Input::Nothing,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Doing it twice does no harm. A terminal that has gone needs it no more.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
