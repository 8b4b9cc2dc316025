//! Connections that have not authenticated yet: how many at once, from where, and which are evicted.
//!
//! Of every source (an IPv4 address, an IPv6 /64), a limited number of connections is served; others
//! wait in the source's queue, and the queues take turns. A connection that has been served for a while
//! and whose client does nothing is evicted as soon as another one waits. So many connections from one
//! source delay that source's new ones for a moment, and nobody else's. A connection that waits for an
//! answer is not evicted: clients that all connect at once, as after a restart, would only cut each
//! other off.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::source::Source;

/// A connection is served for so long before it can be evicted.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How many connections there may be, from all sources or from one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Being served.
    pub(super) active: usize,
    /// Waiting.
    pub(super) waiting: usize,
}

/// Names a connection in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is served.
    Admit(Ticket),
    /// It is closed for others.
    Evict(Ticket),
}

#[derive(Debug)]
struct SourceQueue {
    limits: Limits,
    /// The oldest first.
    active: VecDeque<(Ticket, Instant)>,
    waiting: VecDeque<Ticket>,
    /// Whether it is among those whose turn it can be.
    is_eligible: bool,
}

/// The connections that have not authenticated.
#[derive(Debug)]
pub(super) struct AdmissionQueue {
    total: Limits,
    by_source: HashMap<Source, SourceQueue>,
    sources: HashMap<Ticket, Source>,
    /// Sources with a waiting connection that their own limit admits, in turn.
    eligible: VecDeque<Source>,
    active: usize,
    waiting: usize,
    tickets: u64,
}

impl AdmissionQueue {
    pub(super) fn new(total: Limits) -> Self {
        Self {
            total,
            by_source: HashMap::new(),
            sources: HashMap::new(),
            eligible: VecDeque::new(),
            active: 0,
            waiting: 0,
            tickets: 0,
        }
    }

    /// Adds a connection, which waits; `None` if too many wait. Then call [`Self::admit`].
    pub(super) fn enqueue(&mut self, source: Source, limits: Limits) -> Option<Ticket> {
        let own = self.by_source.get(&source).map_or(0, |of_source| of_source.waiting.len());
        if self.waiting >= self.total.waiting || own >= limits.waiting {
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let of_source = self.by_source.entry(source).or_insert_with(|| SourceQueue {
            limits,
            active: VecDeque::new(),
            waiting: VecDeque::new(),
            is_eligible: false,
        });
        of_source.waiting.push_back(ticket);
        self.waiting += 1;
        self.sources.insert(ticket, source);
        self.mark_eligible(source);
        Some(ticket)
    }

    /// Removes a connection that has ended or authenticated. Then call [`Self::admit`].
    pub(super) fn remove(&mut self, ticket: Ticket) {
        let Some(source) = self.sources.remove(&ticket) else { return };
        let Some(of_source) = self.by_source.get_mut(&source) else { return };
        if let Some(at) = of_source.active.iter().position(|(known, _)| *known == ticket) {
            of_source.active.remove(at);
            self.active -= 1;
        } else if let Some(at) = of_source.waiting.iter().position(|known| *known == ticket) {
            of_source.waiting.remove(at);
            self.waiting -= 1;
        }
        if of_source.active.is_empty() && of_source.waiting.is_empty() {
            self.by_source.remove(&source);
        } else {
            self.mark_eligible(source);
        }
    }

    /// Admits those who can be served now.
    pub(super) fn admit(&mut self, now: Instant) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while self.active < self.total.active {
            let Some(source) = self.eligible.pop_front() else { break };
            let Some(of_source) = self.by_source.get_mut(&source) else { continue };
            of_source.is_eligible = false;
            if of_source.active.len() < of_source.limits.active
                && let Some(ticket) = of_source.waiting.pop_front()
            {
                of_source.active.push_back((ticket, now));
                self.waiting -= 1;
                self.active += 1;
                decisions.push(Decision::Admit(ticket));
            }
            self.mark_eligible(source);
        }
        decisions
    }

    /// Whether nobody waits.
    pub(super) fn is_nobody_waiting(&self) -> bool {
        self.waiting == 0
    }

    /// Evicts connections in favour of those that wait, and admits these; `is_evictable` says of a
    /// connection whether its client is the one to do something. To be called now and again.
    pub(super) fn evict(
        &mut self,
        now: Instant,
        is_evictable: impl Fn(Ticket) -> bool,
    ) -> Vec<Decision> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let mut leaving = Vec::new();
        for of_source in self.by_source.values() {
            // A source at its own limit makes room for its own.
            if of_source.active.len() >= of_source.limits.active {
                let past_grace = of_source.past_grace(now).filter(|ticket| is_evictable(*ticket));
                leaving.extend(past_grace.take(of_source.waiting.len()));
            }
        }
        if self.active - leaving.len() >= self.total.active {
            leaving.extend(self.of_the_largest_source(now, &is_evictable));
        }
        for ticket in &leaving {
            self.remove(*ticket);
        }
        let mut decisions: Vec<Decision> = leaving.into_iter().map(Decision::Evict).collect();
        decisions.extend(self.admit(now));
        decisions
    }

    /// When all places are taken: up to one for each source that waits, of the source that has most.
    fn of_the_largest_source(
        &self,
        now: Instant,
        is_evictable: impl Fn(Ticket) -> bool,
    ) -> Vec<Ticket> {
        let largest = self.by_source.values().max_by_key(|of_source| of_source.active.len());
        let Some(largest) = largest else { return Vec::new() };
        let past_grace = largest.past_grace(now).filter(|ticket| is_evictable(*ticket));
        past_grace.take(self.eligible.len()).collect()
    }

    fn mark_eligible(&mut self, source: Source) {
        let Some(of_source) = self.by_source.get_mut(&source) else { return };
        let is_free =
            of_source.active.len() < of_source.limits.active && !of_source.waiting.is_empty();
        if is_free && !of_source.is_eligible {
            of_source.is_eligible = true;
            self.eligible.push_back(source);
        }
    }
}

impl SourceQueue {
    /// Those that have been served for a while, the oldest first.
    fn past_grace(&self, now: Instant) -> impl Iterator<Item = Ticket> {
        let is_old = move |since: Instant| now.saturating_duration_since(since) >= GRACE;
        let past_grace = self.active.iter().take_while(move |(_, since)| is_old(*since));
        past_grace.map(|(ticket, _)| *ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    const TOTAL: Limits = Limits { active: 6, waiting: 20 };
    const PER_SOURCE: Limits = Limits { active: 4, waiting: 10 };

    fn source(number: u8) -> Source {
        Source::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    fn admitted(decisions: &[Decision]) -> Vec<Ticket> {
        let admitted = decisions.iter().filter_map(|decision| match decision {
            Decision::Admit(ticket) => Some(*ticket),
            Decision::Evict(_) => None,
        });
        admitted.collect()
    }

    #[test]
    fn many_connections_from_one_source_leave_room_for_others() {
        let now = Instant::now();
        let mut queue = AdmissionQueue::new(TOTAL);
        let crowd: Vec<_> = (0..12).filter_map(|_| queue.enqueue(source(1), PER_SOURCE)).collect();
        assert_eq!(crowd.len(), 10, "more do not even wait");
        assert_eq!(admitted(&queue.admit(now)), crowd[..4]);
        let other = queue.enqueue(source(2), PER_SOURCE).unwrap();
        assert_eq!(admitted(&queue.admit(now)), [other]);
    }

    #[test]
    fn an_unauthenticated_connection_is_evicted_after_the_grace_if_others_wait() {
        let now = Instant::now();
        let mut queue = AdmissionQueue::new(TOTAL);
        let silent: Vec<_> = (0..4).filter_map(|_| queue.enqueue(source(1), PER_SOURCE)).collect();
        assert_eq!(admitted(&queue.admit(now)), silent);
        let newcomer = queue.enqueue(source(1), PER_SOURCE).unwrap();
        assert_eq!(queue.evict(now + GRACE / 2, |_| true), [], "there is time to prove something");
        let decisions = queue.evict(now + GRACE, |_| true);
        assert_eq!(decisions, [Decision::Evict(silent[0]), Decision::Admit(newcomer)]);
        assert_eq!(queue.evict(now + GRACE * 9, |_| true), [], "nobody waits, so nobody has to go");
    }

    #[test]
    fn a_connection_that_awaits_a_response_is_not_evicted() {
        let now = Instant::now();
        let mut queue = AdmissionQueue::new(TOTAL);
        let all: Vec<_> = (0..4).filter_map(|_| queue.enqueue(source(1), PER_SOURCE)).collect();
        assert_eq!(admitted(&queue.admit(now)), all);
        let newcomer = queue.enqueue(source(1), PER_SOURCE).unwrap();
        assert_eq!(queue.evict(now + GRACE * 9, |_| false), []);
        let decisions = queue.evict(now + GRACE * 9, |ticket| ticket == all[2]);
        assert_eq!(decisions, [Decision::Evict(all[2]), Decision::Admit(newcomer)]);
    }

    #[test]
    fn when_full_the_source_with_most_connections_loses_one() {
        let now = Instant::now();
        let mut queue = AdmissionQueue::new(TOTAL);
        let most: Vec<_> = (0..4).filter_map(|_| queue.enqueue(source(1), PER_SOURCE)).collect();
        let few: Vec<_> = (0..2).filter_map(|_| queue.enqueue(source(2), PER_SOURCE)).collect();
        assert_eq!(admitted(&queue.admit(now)).len(), 6);
        let newcomer = queue.enqueue(source(3), PER_SOURCE).unwrap();
        assert_eq!(queue.admit(now), []);
        let decisions = queue.evict(now + GRACE, |_| true);
        assert_eq!(decisions, [Decision::Evict(most[0]), Decision::Admit(newcomer)]);
        assert!(few.iter().all(|ticket| queue.sources.contains_key(ticket)));
    }

    #[test]
    fn sources_are_served_in_turn() {
        let now = Instant::now();
        let mut queue = AdmissionQueue::new(Limits { active: 1, waiting: 20 });
        let first = queue.enqueue(source(1), PER_SOURCE).unwrap();
        assert_eq!(admitted(&queue.admit(now)), [first]);
        let crowd: Vec<_> = (0..5).filter_map(|_| queue.enqueue(source(1), PER_SOURCE)).collect();
        let other = queue.enqueue(source(2), PER_SOURCE).unwrap();
        queue.remove(first);
        assert_eq!(admitted(&queue.admit(now)), [crowd[0]]);
        queue.remove(crowd[0]);
        assert_eq!(admitted(&queue.admit(now)), [other], "not behind the whole crowd");
    }

    proptest! {
        /// Whatever comes and goes: the counts hold, nobody is lost, and nothing of what left stays.
        #[test]
        fn limits_are_never_exceeded(steps in prop::collection::vec((0_u8..4, 0_u8..8, 0_u64..1500), 0..200)) {
            let mut now = Instant::now();
            let mut queue = AdmissionQueue::new(TOTAL);
            let mut present: Vec<Ticket> = Vec::new();
            for (what, who, later) in steps {
                let decisions = match what {
                    0 | 1 => {
                        present.extend(queue.enqueue(source(who), PER_SOURCE));
                        queue.admit(now)
                    }
                    2 => {
                        if !present.is_empty() {
                            queue.remove(present.remove(usize::from(who) % present.len()));
                        }
                        queue.admit(now)
                    }
                    _ => {
                        now += Duration::from_millis(later);
                        queue.evict(now, |ticket| ticket.0 % 3 > 0)
                    }
                };
                for decision in decisions {
                    if let Decision::Evict(ticket) = decision {
                        present.retain(|known| *known != ticket);
                    }
                }
                let active: usize = queue.by_source.values().map(|of_source| of_source.active.len()).sum();
                let waiting: usize = queue.by_source.values().map(|of_source| of_source.waiting.len()).sum();
                prop_assert_eq!((active, waiting), (queue.active, queue.waiting));
                prop_assert!(active <= TOTAL.active && waiting <= TOTAL.waiting);
                prop_assert!(queue.by_source.values().all(|of_source| of_source.active.len() <= PER_SOURCE.active));
                prop_assert_eq!(active + waiting, present.len());
                prop_assert_eq!(queue.sources.len(), present.len());
            }
            for ticket in present {
                queue.remove(ticket);
            }
            prop_assert!(queue.by_source.is_empty() && queue.active == 0 && queue.waiting == 0);
        }
    }
}
