//! Connections that have not proven anything yet: how many at once, from where, and who gives way.
//!
//! Every source (an IPv4 address, an IPv6 /64) has so many places inside, where a connection is
//! served; others wait in line, and lines take turns. Whoever has been inside for a while, and is waited
//! for, gives way when somebody waits. So a crowd from one source stands in the way of that source's
//! newcomers for a moment, and in nobody else's. Who waits for us does not give way: many who come at
//! once, as after a restart, would only cut each other off.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::source::Source;

/// So long a connection may stay inside before it gives way.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// How many connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Inside, from all sources.
    pub(super) inside: usize,
    /// Waiting, from all sources.
    pub(super) waiting: usize,
}

/// How many connections of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Inside.
    pub(super) inside: usize,
    /// Waiting.
    pub(super) waiting: usize,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It may be served.
    Enter(Ticket),
    /// It ends.
    GiveWay(Ticket),
}

#[derive(Debug)]
struct Line {
    share: Share,
    /// The oldest first.
    inside: VecDeque<(Ticket, Instant)>,
    waiting: VecDeque<Ticket>,
    /// Whether it is among those whose turn it may be.
    is_ready: bool,
}

/// The connections that have not proven anything.
#[derive(Debug)]
pub(super) struct Hall {
    room: Room,
    lines: HashMap<Source, Line>,
    sources: HashMap<Ticket, Source>,
    /// Lines with somebody waiting and a place of their own free, in turn.
    ready: VecDeque<Source>,
    inside: usize,
    waiting: usize,
    tickets: u64,
}

impl Hall {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            lines: HashMap::new(),
            sources: HashMap::new(),
            ready: VecDeque::new(),
            inside: 0,
            waiting: 0,
            tickets: 0,
        }
    }

    /// A connection arrives and waits; `None` when there is no room to wait. Then [`Self::turns`].
    pub(super) fn arrive(&mut self, source: Source, share: Share) -> Option<Ticket> {
        let own = self.lines.get(&source).map_or(0, |line| line.waiting.len());
        if self.waiting >= self.room.waiting || own >= share.waiting {
            return None;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let line = self.lines.entry(source).or_insert_with(|| Line {
            share,
            inside: VecDeque::new(),
            waiting: VecDeque::new(),
            is_ready: false,
        });
        line.waiting.push_back(ticket);
        self.waiting += 1;
        self.sources.insert(ticket, source);
        self.make_ready(source);
        Some(ticket)
    }

    /// A connection has ended, or has proven who it is. Then [`Self::turns`].
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let Some(source) = self.sources.remove(&ticket) else { return };
        let Some(line) = self.lines.get_mut(&source) else { return };
        if let Some(at) = line.inside.iter().position(|(known, _)| *known == ticket) {
            line.inside.remove(at);
            self.inside -= 1;
        } else if let Some(at) = line.waiting.iter().position(|known| *known == ticket) {
            line.waiting.remove(at);
            self.waiting -= 1;
        }
        if line.inside.is_empty() && line.waiting.is_empty() {
            self.lines.remove(&source);
        } else {
            self.make_ready(source);
        }
    }

    /// Who may enter now.
    pub(super) fn turns(&mut self, now: Instant) -> Vec<Turn> {
        let mut turns = Vec::new();
        while self.inside < self.room.inside {
            let Some(source) = self.ready.pop_front() else { break };
            let Some(line) = self.lines.get_mut(&source) else { continue };
            line.is_ready = false;
            if line.inside.len() < line.share.inside
                && let Some(ticket) = line.waiting.pop_front()
            {
                line.inside.push_back((ticket, now));
                self.waiting -= 1;
                self.inside += 1;
                turns.push(Turn::Enter(ticket));
            }
            self.make_ready(source);
        }
        turns
    }

    /// Whether nobody waits.
    pub(super) fn is_nobody_waiting(&self) -> bool {
        self.waiting == 0
    }

    /// Who gives way to those that wait, and who enters then; `is_waited_for` says of a connection
    /// whether it is its turn to do something. To be asked for every now and again.
    pub(super) fn look(
        &mut self,
        now: Instant,
        is_waited_for: impl Fn(Ticket) -> bool,
    ) -> Vec<Turn> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let mut leaving = Vec::new();
        for line in self.lines.values() {
            // Each line whose own places are taken makes room for its own.
            if line.inside.len() >= line.share.inside {
                let old = line.old(now).filter(|ticket| is_waited_for(*ticket));
                leaving.extend(old.take(line.waiting.len()));
            }
        }
        if self.inside - leaving.len() >= self.room.inside {
            leaving.extend(self.of_the_longest_line(now, &is_waited_for));
        }
        for ticket in &leaving {
            self.leave(*ticket);
        }
        let mut turns: Vec<Turn> = leaving.into_iter().map(Turn::GiveWay).collect();
        turns.extend(self.turns(now));
        turns
    }

    /// When all places are taken: up to one for each line that waits, of the source that has most.
    fn of_the_longest_line(
        &self,
        now: Instant,
        is_waited_for: impl Fn(Ticket) -> bool,
    ) -> Vec<Ticket> {
        let longest = self.lines.values().max_by_key(|line| line.inside.len());
        let Some(longest) = longest else { return Vec::new() };
        let old = longest.old(now).filter(|ticket| is_waited_for(*ticket));
        old.take(self.ready.len()).collect()
    }

    fn make_ready(&mut self, source: Source) {
        let Some(line) = self.lines.get_mut(&source) else { return };
        let is_free = line.inside.len() < line.share.inside && !line.waiting.is_empty();
        if is_free && !line.is_ready {
            line.is_ready = true;
            self.ready.push_back(source);
        }
    }
}

impl Line {
    /// Those that have been inside for a while, the oldest first.
    fn old(&self, now: Instant) -> impl Iterator<Item = Ticket> {
        let is_old = move |since: Instant| now.saturating_duration_since(since) >= GRACE;
        let old = self.inside.iter().take_while(move |(_, since)| is_old(*since));
        old.map(|(ticket, _)| *ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { inside: 6, waiting: 20 };
    const SHARE: Share = Share { inside: 4, waiting: 10 };

    fn source(number: u8) -> Source {
        Source::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
    }

    fn entered(turns: &[Turn]) -> Vec<Ticket> {
        let entered = turns.iter().filter_map(|turn| match turn {
            Turn::Enter(ticket) => Some(*ticket),
            Turn::GiveWay(_) => None,
        });
        entered.collect()
    }

    #[test]
    fn a_crowd_from_one_source_leaves_room_for_others() {
        let now = Instant::now();
        let mut hall = Hall::new(ROOM);
        let crowd: Vec<_> = (0..12).filter_map(|_| hall.arrive(source(1), SHARE)).collect();
        assert_eq!(crowd.len(), 10, "more do not even wait");
        assert_eq!(entered(&hall.turns(now)), crowd[..4]);
        let other = hall.arrive(source(2), SHARE).unwrap();
        assert_eq!(entered(&hall.turns(now)), [other]);
    }

    #[test]
    fn whoever_proved_nothing_for_a_while_gives_way_to_newcomers() {
        let now = Instant::now();
        let mut hall = Hall::new(ROOM);
        let silent: Vec<_> = (0..4).filter_map(|_| hall.arrive(source(1), SHARE)).collect();
        assert_eq!(entered(&hall.turns(now)), silent);
        let newcomer = hall.arrive(source(1), SHARE).unwrap();
        assert_eq!(hall.look(now + GRACE / 2, |_| true), [], "there is time to prove something");
        let turns = hall.look(now + GRACE, |_| true);
        assert_eq!(turns, [Turn::GiveWay(silent[0]), Turn::Enter(newcomer)]);
        assert_eq!(hall.look(now + GRACE * 9, |_| true), [], "nobody waits, so nobody has to go");
    }

    #[test]
    fn who_waits_for_us_does_not_give_way() {
        let now = Instant::now();
        let mut hall = Hall::new(ROOM);
        let all: Vec<_> = (0..4).filter_map(|_| hall.arrive(source(1), SHARE)).collect();
        assert_eq!(entered(&hall.turns(now)), all);
        let newcomer = hall.arrive(source(1), SHARE).unwrap();
        assert_eq!(hall.look(now + GRACE * 9, |_| false), []);
        let turns = hall.look(now + GRACE * 9, |ticket| ticket == all[2]);
        assert_eq!(turns, [Turn::GiveWay(all[2]), Turn::Enter(newcomer)]);
    }

    #[test]
    fn when_all_is_full_the_source_that_has_most_makes_room() {
        let now = Instant::now();
        let mut hall = Hall::new(ROOM);
        let most: Vec<_> = (0..4).filter_map(|_| hall.arrive(source(1), SHARE)).collect();
        let few: Vec<_> = (0..2).filter_map(|_| hall.arrive(source(2), SHARE)).collect();
        assert_eq!(entered(&hall.turns(now)).len(), 6);
        let newcomer = hall.arrive(source(3), SHARE).unwrap();
        assert_eq!(hall.turns(now), []);
        let turns = hall.look(now + GRACE, |_| true);
        assert_eq!(turns, [Turn::GiveWay(most[0]), Turn::Enter(newcomer)]);
        assert!(few.iter().all(|ticket| hall.sources.contains_key(ticket)));
    }

    #[test]
    fn lines_take_turns() {
        let now = Instant::now();
        let mut hall = Hall::new(Room { inside: 1, waiting: 20 });
        let first = hall.arrive(source(1), SHARE).unwrap();
        assert_eq!(entered(&hall.turns(now)), [first]);
        let crowd: Vec<_> = (0..5).filter_map(|_| hall.arrive(source(1), SHARE)).collect();
        let other = hall.arrive(source(2), SHARE).unwrap();
        hall.leave(first);
        assert_eq!(entered(&hall.turns(now)), [crowd[0]]);
        hall.leave(crowd[0]);
        assert_eq!(entered(&hall.turns(now)), [other], "not behind the whole crowd");
    }

    proptest! {
        /// Whatever comes and goes: the counts hold, nobody is lost, and nothing of what left stays.
        #[test]
        fn the_bounds_hold(steps in prop::collection::vec((0_u8..4, 0_u8..8, 0_u64..1500), 0..200)) {
            let mut now = Instant::now();
            let mut hall = Hall::new(ROOM);
            let mut present: Vec<Ticket> = Vec::new();
            for (what, who, later) in steps {
                let turns = match what {
                    0 | 1 => {
                        present.extend(hall.arrive(source(who), SHARE));
                        hall.turns(now)
                    }
                    2 => {
                        if !present.is_empty() {
                            hall.leave(present.remove(usize::from(who) % present.len()));
                        }
                        hall.turns(now)
                    }
                    _ => {
                        now += Duration::from_millis(later);
                        hall.look(now, |ticket| ticket.0 % 3 > 0)
                    }
                };
                for turn in turns {
                    if let Turn::GiveWay(ticket) = turn {
                        present.retain(|known| *known != ticket);
                    }
                }
                let inside: usize = hall.lines.values().map(|line| line.inside.len()).sum();
                let waiting: usize = hall.lines.values().map(|line| line.waiting.len()).sum();
                prop_assert_eq!((inside, waiting), (hall.inside, hall.waiting));
                prop_assert!(inside <= ROOM.inside && waiting <= ROOM.waiting);
                prop_assert!(hall.lines.values().all(|line| line.inside.len() <= SHARE.inside));
                prop_assert_eq!(inside + waiting, present.len());
                prop_assert_eq!(hall.sources.len(), present.len());
            }
            for ticket in present {
                hall.leave(ticket);
            }
            prop_assert!(hall.lines.is_empty() && hall.inside == 0 && hall.waiting == 0);
        }
    }
}
