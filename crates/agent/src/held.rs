//! The poll that is held open, and when it has outlived its route.

use xshield_enforce::{Handover, Line, Route};

use crate::agent::LastCycle;

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

impl PollTerms {
    /// On a line of its own.
    #[must_use]
    pub fn new(
        configured: u64,
        seen: Option<String>,
        route: Option<Route>,
        connection: Handover,
    ) -> Self {
        Self { configured, seen, route, line: Line::default(), connection }
    }

    /// What is to be known of the poll while it waits.
    #[must_use]
    pub fn held(&self) -> HeldPoll {
        let (configured, route) = (self.configured, self.route.clone());
        HeldPoll { configured, route, line: self.line.clone() }
    }
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
    #[must_use]
    pub fn is_outdated(&self, last: &LastCycle) -> bool {
        let route = last.route();
        last.configured > self.configured || (route.is_some() && route != self.route.as_ref())
    }

    /// Ends the poll.
    pub fn cut(self) {
        self.line.cut();
    }
}
