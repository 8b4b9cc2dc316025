//! The thread that waits for the platform's notification. It never asks the platform for anything
//! else; what it hears makes the worker run a cycle.

use std::time::{Duration, Instant};

use xshield_enforce::resident::{PollError, Polled, Poller};
use xshield_enforce::state::{StateDirectory, chain};

use crate::agent::{Agent, Wake};
use crate::schedule::{Break, PollLimit, Schedule};

/// A platform that ends a poll earlier than this is about to end itself.
const EARLY: Duration = Duration::from_secs(20);
/// How long a platform that knows no notifications is left alone.
const UNSUPPORTED: Duration = Duration::from_secs(3_600);
/// How long a platform that is busy is left alone, unless it says how long.
const BUSY: Duration = Duration::from_secs(30);
/// Longest that a platform's word is taken for it.
const LONGEST_BUSY: u64 = 3_600;

/// Waits for notifications until the agent comes to an end.
pub fn run(agent: &Agent) {
    let mut listener =
        Listener { agent, poller: None, limit: PollLimit::default(), began: Instant::now() };
    let mut contact = 0;
    while let Some(reached) = agent.wait_for_contact(contact) {
        contact = reached;
        listener.until_a_cycle_is_needed();
    }
}

struct Listener<'a> {
    agent: &'a Agent,
    /// And the configuration it was made with.
    poller: Option<(u64, Poller)>,
    limit: PollLimit,
    began: Instant,
}

impl Listener<'_> {
    /// Polls until something happens that a cycle must follow, which is then asked for.
    fn until_a_cycle_is_needed(&mut self) {
        while !self.agent.is_stopping() {
            self.agent.rest(self.limit.take(self.began.elapsed()));
            let began = Instant::now();
            let result = self.poll();
            if self.agent.is_stopping() {
                return;
            }
            match result {
                Ok(Polled::Nothing) if began.elapsed() >= EARLY => {}
                Ok(Polled::Nothing) => return self.after_break(Break::Elsewhere),
                Ok(Polled::Pending { seen }) => {
                    self.agent.state().seen = Some(seen);
                    self.agent.wake(Wake::Notified);
                    return;
                }
                Err(error) => return self.failed(&error),
            }
        }
    }

    fn poll(&mut self) -> Result<Polled, PollError> {
        let (seen, configured) = {
            let mut state = self.agent.state();
            state.polling = "waiting".to_owned();
            (state.seen.clone(), state.configured)
        };
        let route = self.agent.route();
        let current = self.poller.take().filter(|(made_for, _)| *made_for == configured);
        let (_, poller) = match current {
            Some(poller) => self.poller.insert(poller),
            None => self.poller.insert((configured, self.new_poller()?)),
        };
        poller.poll(seen.as_deref(), route.as_ref())
    }

    fn new_poller(&self) -> Result<Poller, PollError> {
        let loaded = self.agent.loaded();
        let state = StateDirectory::open(&loaded.config.state_directory)?;
        let (program, surroundings) = (&self.agent.program, self.agent.surroundings.clone());
        Ok(Poller::new(&loaded.config, program, state, surroundings)?)
    }

    /// A failure of the notification is never more than a delay: heartbeats go on.
    fn failed(&mut self, error: &PollError) {
        let text = chain(error);
        self.agent.log.debug(&format!("no notification: {text}"));
        self.agent.state().polling = text;
        match error {
            PollError::Refused { status: 404 | 405, .. } => self.agent.rest(UNSUPPORTED),
            PollError::Refused { retry_after, .. } => {
                let wait = retry_after.map(|seconds| seconds.min(LONGEST_BUSY));
                self.agent.rest(wait.map_or(BUSY, Duration::from_secs));
            }
            PollError::Unreachable(_) => {
                let route = self.agent.route();
                let dead = route.is_some_and(|route| Poller::is_dead_proxy(&route));
                self.poller = None;
                self.after_break(if dead { Break::Proxy } else { Break::Elsewhere });
            }
            // The next cycle mends the session, or says what is wrong.
            PollError::NoSession | PollError::Garbled => {}
            PollError::State(_) | PollError::Setup(_) | PollError::Directory(_) => {}
        }
    }

    fn after_break(&self, broke: Break) {
        self.agent.state().polling = "broken; a cycle will look for a route".to_owned();
        self.agent.rest(Schedule::after_break(broke, self.agent.chance()));
        self.agent.wake(Wake::RouteBroke);
    }
}
