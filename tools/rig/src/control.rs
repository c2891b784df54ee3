//! The thread behind a handle: commands go in through a channel and a waker, and its last report comes out when it ends.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use mio::Waker;

pub(crate) struct Control<C, R> {
    commands: Sender<C>,
    waker: Waker,
    thread: Option<JoinHandle<R>>,
}

impl<C, R: Send + 'static> Control<C, R> {
    /// `run` takes the commands, and looks for them when the waker wakes its poll.
    pub(crate) fn start(
        name: &str,
        commands: Sender<C>,
        waker: Waker,
        run: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<Control<C, R>> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Control { commands, waker, thread: Some(thread) })
    }

    /// `None` when the thread is gone.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> C) -> Option<T> {
        let (sender, answer) = channel();
        self.commands.send(command(sender)).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }

    /// Sends the command that ends the thread, and waits for it. `None` when it had ended, or has panicked.
    pub(crate) fn end(&mut self, stop: C) -> Option<R> {
        let thread = self.thread.take()?;
        // Both fail only when the thread has ended already; joining it then tells the reason.
        let _ = self.commands.send(stop);
        let _ = self.waker.wake();
        thread.join().ok()
    }
}
