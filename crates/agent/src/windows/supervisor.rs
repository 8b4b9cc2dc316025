//! Nobody supervises the agent: it runs in the foreground.

use std::time::Duration;

use crate::agent::Agent;

/// Nobody waits for signs of life.
pub fn run(_: &Agent, _: &Supervisor) {}

/// Who started this program: nobody who wants to be told of its state.
#[derive(Debug)]
pub struct Supervisor(());

impl Supervisor {
    /// From the environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self(())
    }

    /// How often [`Supervisor::alive`] must be called.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        None
    }

    /// The agent has started.
    pub fn ready(&self, _: &str) {}

    /// A status text.
    pub fn status(&self, _: &str) {}

    /// The agent is stopping.
    pub fn stopping(&self) {}
}
