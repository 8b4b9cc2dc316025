//! What asks the running agent to stop or to read its configuration again.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Received;

/// What is asked of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop: SIGTERM or SIGINT.
    Stop,
    /// To read the configuration again: SIGHUP.
    Reload,
}

/// The signals of this process.
pub struct Signals(Received);

impl Signals {
    /// Receives signals from now on.
    ///
    /// # Errors
    /// If the handlers can't be set.
    pub fn new() -> io::Result<Self> {
        Received::new([SIGTERM, SIGINT, SIGHUP]).map(Self)
    }

    /// Waits for the next signal.
    pub fn wait(&mut self) -> Signal {
        match self.0.forever().next() {
            Some(SIGHUP) => Signal::Reload,
            _ => Signal::Stop,
        }
    }
}
