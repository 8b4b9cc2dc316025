//! The thread that waits for the platform's notification. It makes no other requests; a notification makes
//! the worker run a cycle.

use std::time::{Duration, Instant};

use xshield_enforce::problems::chain;
use xshield_enforce::resident::{PollError, Polled, Poller};
use xshield_enforce::state::StateDirectory;

use crate::agent::Agent;
use crate::cycles::Wake;
use crate::held::PollTerms;
use crate::schedule::{PollFailure, PollLimit, Schedule};

/// A platform that ends a poll earlier than this is about to stop.
const EARLY: Duration = Duration::from_secs(20);
/// The pause if the platform does not support notifications.
const UNSUPPORTED: Duration = Duration::from_secs(3_600);
/// The pause if the platform is busy, unless it names one.
const BUSY: Duration = Duration::from_secs(30);
/// The longest pause that the platform may name, in seconds.
const LONGEST_BUSY: u64 = 3_600;

/// Waits for notifications until the agent stops.
pub fn run(agent: &Agent) {
    let mut listener =
        Listener { agent, poller: None, limit: PollLimit::default(), began: Instant::now() };
    let mut contact = 0;
    while agent.wait_for_contact(contact).is_some() {
        contact = listener.until_a_cycle_is_needed();
    }
}

struct Listener<'a> {
    agent: &'a Agent,
    /// With the number of the configuration for which it was created.
    poller: Option<(u64, Poller)>,
    limit: PollLimit,
    began: Instant,
}

impl Listener<'_> {
    /// Polls until a cycle is needed, and requests it. Returns the number of contacts at that time: the cycle
    /// has followed when there are more.
    fn until_a_cycle_is_needed(&mut self) -> u64 {
        while !self.agent.is_stopping() {
            self.agent.rest(self.limit.take(self.began.elapsed()));
            let began = Instant::now();
            let result = self.poll();
            self.agent.end_poll();
            if self.agent.is_stopping() {
                break;
            }
            match result {
                Ok(Polled::Nothing) if began.elapsed() >= EARLY => {}
                // A cycle has just found another route to use instead.
                Err(PollError::Cut) if self.agent.route().is_some() => {}
                Ok(Polled::Nothing) => return self.after_failure(PollFailure::Elsewhere),
                Ok(Polled::Pending { seen }) => return self.notified(seen),
                Err(error) => return self.failed(&error),
            }
        }
        self.agent.contacts()
    }

    fn poll(&mut self) -> Result<Polled, PollError> {
        let PollTerms { configured, seen, route, cancel, connection } = self.agent.begin_poll();
        let current = self.poller.take().filter(|(made_for, _)| *made_for == configured);
        let (_, poller) = match current {
            Some(poller) => self.poller.insert(poller),
            None => self.poller.insert((configured, self.new_poller()?)),
        };
        poller.poll(seen.as_deref(), route.as_ref(), &cancel, &connection)
    }

    fn notified(&self, seen: String) -> u64 {
        let known = self.agent.contacts();
        self.agent.poll_answered(seen);
        self.agent.wake(Wake::Notified);
        known
    }

    fn new_poller(&self) -> Result<Poller, PollError> {
        let loaded = self.agent.loaded();
        let state = StateDirectory::open(&loaded.config.state_directory)?;
        let (program, environment) = (&self.agent.program, self.agent.environment.clone());
        Ok(Poller::new(&loaded.config, program, state, environment)?)
    }

    /// A failed notification only causes a delay: heartbeats continue.
    fn failed(&mut self, error: &PollError) -> u64 {
        let known = self.agent.contacts();
        let text = chain(error);
        self.agent.log.debug(&format!("no notification: {text}"));
        self.agent.poll_says(text);
        match error {
            PollError::Refused { status: 404 | 405, .. } => self.agent.rest(UNSUPPORTED),
            // A cycle sets up a new session, or learns why it can't. Possibly all hosts lost theirs at the
            // same time.
            PollError::NoSession | PollError::Refused { status: 401 | 403, .. } => {
                return self.after_failure(PollFailure::Elsewhere);
            }
            PollError::Refused { retry_after, .. } => {
                let wait = retry_after.map(|seconds| seconds.min(LONGEST_BUSY));
                self.agent.rest(wait.map_or(BUSY, Duration::from_secs));
            }
            PollError::Unreachable(_) => {
                let route = self.agent.route();
                let dead = route.is_some_and(|route| Poller::is_dead_proxy(&route));
                self.poller = None;
                return self.after_failure(if dead {
                    PollFailure::Proxy
                } else {
                    PollFailure::Elsewhere
                });
            }
            // The next cycle reports the problem.
            PollError::Garbled | PollError::Cut => {}
            PollError::State(_) | PollError::Setup(_) | PollError::Directory(_) => {}
        }
        known
    }

    fn after_failure(&self, failure: PollFailure) -> u64 {
        self.agent.poll_says("broken; a cycle will look for a route".to_owned());
        let before = self.agent.contacts();
        self.agent.rest(Schedule::after_failure(failure, self.agent.random_fraction()));
        // Otherwise a heartbeat has found a route meanwhile.
        if self.agent.contacts() == before {
            self.agent.wake(Wake::RouteBroke);
        }
        before
    }
}
