//! The poll that the platform holds open, and whether its route is outdated.

use xshield_enforce::{CancelHandle, Handover, Route};

use crate::cycles::LastCycle;

/// The parameters of a poll.
pub struct PollTerms {
    /// The number of the configuration in use.
    pub configured: u64,
    /// The token of the last check-in's answer.
    pub seen: Option<String>,
    /// The route by which the platform was last reached.
    pub route: Option<Route>,
    /// Is cut when another route is used.
    pub cancel: CancelHandle,
    /// Connections from and for the cycles with that configuration.
    pub connection: Handover,
}

/// A poll that waits for its answer.
pub struct HeldPoll {
    configured: u64,
    route: Option<Route>,
    cancel: CancelHandle,
}

impl HeldPoll {
    /// Whether the last cycle used another configuration or route. A cycle that did not reach the platform
    /// does not count.
    fn is_outdated(&self, last: &LastCycle) -> bool {
        let route = last.route();
        last.configured > self.configured || (route.is_some() && route != self.route.as_ref())
    }

    /// Cancels the poll.
    pub fn cut(self) {
        self.cancel.cancel();
    }
}

/// The polls, one at a time, and the connection that cycles and polls pass to each other.
pub struct Polls {
    held: Option<HeldPoll>,
    /// The token for the next poll.
    seen: Option<String>,
    /// The state of the notification, for `ctagentcmd`.
    said: String,
    /// An open connection passed between cycle and poll, for the configuration in use.
    connection: Handover,
}

impl Default for Polls {
    fn default() -> Self {
        let said = "not begun".to_owned();
        Self { held: None, seen: None, said, connection: Handover::default() }
    }
}

impl Polls {
    /// Starts a poll, which ends if a cycle uses another route or configuration.
    pub fn begin(&mut self, configured: u64, route: Option<Route>) -> PollTerms {
        self.said = match &route {
            Some(route) => format!("waiting, by {route}"),
            None => "waiting".to_owned(),
        };
        let cancel = CancelHandle::default();
        self.held = Some(HeldPoll { configured, route: route.clone(), cancel: cancel.clone() });
        let (seen, connection) = (self.seen.clone(), self.connection.clone());
        PollTerms { configured, seen, route, cancel, connection }
    }

    /// The poll has ended.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// A poll was answered; `seen` is the token for the next one.
    pub fn record_token(&mut self, seen: String) {
        self.seen = Some(seen);
    }

    /// Sets the state of the notification.
    pub fn say(&mut self, text: String) {
        self.said = text;
    }

    /// The state of the notification.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Records a completed cycle; returns the poll if its route is outdated.
    pub fn cycle_ended(&mut self, last: &LastCycle) -> Option<HeldPoll> {
        if let Some(seen) = last.outcome().and_then(|outcome| outcome.answer_rest.seen.as_ref()) {
            self.seen = Some(seen.clone());
        }
        let outdated = self.held.take_if(|poll| poll.is_outdated(last));
        // A waiting poll has its own connection.
        if self.held.is_some() {
            self.connection.clear();
        }
        outdated
    }

    /// Holds an open connection to the platform.
    #[must_use]
    pub fn connection(&self) -> Handover {
        self.connection.clone()
    }

    /// The configuration was changed: connections of the old one are not used any more.
    pub fn reconfigured(&mut self) {
        self.connection = Handover::default();
    }
}
