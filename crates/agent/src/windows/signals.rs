//! What asks the running agent to stop.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// What is asked of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To stop: Ctrl-C, Ctrl-Break, or the console is closed.
    Stop,
    /// To read the configuration again: never; `ctagentcmd` asks for it over the pipe.
    Reload,
}

/// Whether the agent was asked to stop.
static STOP: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

fn stop() {
    *STOP.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    STOP.1.notify_all();
}

/// The events of the console.
pub struct Signals(());

impl Signals {
    /// Receives events from now on.
    ///
    /// # Errors
    /// If Windows does not take the handler.
    pub fn new() -> io::Result<Self> {
        xshield_enforce::windows::on_interruption(stop)?;
        Ok(Self(()))
    }

    /// Waits for the next event.
    pub fn wait(&mut self) -> Signal {
        let asked = STOP.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = STOP.1.wait_while(asked, |asked| !*asked);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Signal::Stop
    }
}
