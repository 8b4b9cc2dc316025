//! The poll that is held open, and when it has outlived its route.

use xshield_enforce::{Handover, Line, Route};

use crate::cycles::LastCycle;

/// With what a poll begins.
pub struct PollTerms {
    /// Which configuration is in use.
    pub configured: u64,
    /// From the last check-in's answer.
    pub seen: Option<String>,
    /// By which the platform was last reached.
    pub route: Option<Route>,
    /// Is cut when another route is taken.
    pub line: Line,
    /// From and for the cycles of that configuration.
    pub connection: Handover,
}

/// A poll that waits for its answer.
pub struct HeldPoll {
    configured: u64,
    route: Option<Route>,
    line: Line,
}

impl HeldPoll {
    /// Whether the last cycle went by another configuration or route. A cycle that reached nobody says
    /// nothing about the route.
    fn is_outdated(&self, last: &LastCycle) -> bool {
        let route = last.route();
        last.configured > self.configured || (route.is_some() && route != self.route.as_ref())
    }

    /// Ends the poll.
    pub fn cut(self) {
        self.line.cut();
    }
}

/// Polls, one after the other, and the connection that cycles and polls hand to each other.
pub struct Polls {
    held: Option<HeldPoll>,
    /// For the next poll.
    seen: Option<String>,
    /// What the notification does, for people.
    said: String,
    /// An open connection, on its way from cycle to poll or back, of the configuration in use.
    connection: Handover,
}

impl Default for Polls {
    fn default() -> Self {
        let said = "not begun".to_owned();
        Self { held: None, seen: None, said, connection: Handover::default() }
    }
}

impl Polls {
    /// Begins a poll, which ends when a cycle takes another route or goes by another configuration.
    pub fn begin(&mut self, configured: u64, route: Option<Route>) -> PollTerms {
        self.said = match &route {
            Some(route) => format!("waiting, by {route}"),
            None => "waiting".to_owned(),
        };
        let line = Line::default();
        self.held = Some(HeldPoll { configured, route: route.clone(), line: line.clone() });
        let (seen, connection) = (self.seen.clone(), self.connection.clone());
        PollTerms { configured, seen, route, line, connection }
    }

    /// The poll has ended.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// A poll was answered: the next one is from there.
    pub fn heard(&mut self, seen: String) {
        self.seen = Some(seen);
    }

    /// What the notification does, for people.
    pub fn say(&mut self, text: String) {
        self.said = text;
    }

    /// The same.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// A cycle has ended; gives back the poll that has outlived its route.
    pub fn cycle_ended(&mut self, last: &LastCycle) -> Option<HeldPoll> {
        if let Some(seen) = last.outcome().and_then(|outcome| outcome.heard.seen.as_ref()) {
            self.seen = Some(seen.clone());
        }
        let outdated = self.held.take_if(|poll| poll.is_outdated(last));
        // A poll that waits has a connection of its own.
        if self.held.is_some() {
            self.connection.clear();
        }
        outdated
    }

    /// Where an open connection may wait.
    #[must_use]
    pub fn connection(&self) -> Handover {
        self.connection.clone()
    }

    /// Another configuration is in use: its connections are others.
    pub fn reconfigured(&mut self) {
        self.connection = Handover::default();
    }
}
