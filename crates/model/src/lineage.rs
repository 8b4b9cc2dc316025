//! Detects copies of machines. Each check-in contains the last one that was answered on the same machine; a
//! program without this is identified by its boot. A machine that was killed or restored from a snapshot
//! forgets what it sent, and continues from an earlier check-in: later ones are never continued. When two
//! lines are both continued, two machines have the identity.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The last check-in of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its sequence.
    pub sequence: u64,
    /// The boot in which it was sent.
    pub boot: String,
}

/// An incoming check-in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its sequence.
    pub sequence: u64,
    /// The last one that was answered on the same machine, if the program remembers it.
    pub previous: Option<u64>,
    /// The boot in which it was sent.
    pub boot: &'a str,
}

impl Arrival<'_> {
    fn head(&self) -> Head {
        Head { sequence: self.sequence, boot: self.boot.to_owned() }
    }

    fn continues(&self, head: &Head) -> bool {
        match self.previous {
            Some(previous) => previous == head.sequence,
            None => !self.boot.is_empty() && self.boot == head.boot,
        }
    }
}

/// A known copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Its last answered check-in. Refused ones don't count: the machine continues from here.
    pub head: Head,
    /// When it was last refused.
    pub seen_at: Timestamp,
}

/// What is known about the machines with one identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The machine of the asset; `None` before its first check-in.
    pub current: Option<Head>,
    /// The end of the line that was current before another began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Head>,
    /// The other machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copy>,
}

/// The classification of a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// The machine of the asset.
    Same,
    /// It does not continue the last check-in: the machine forgot it, or it is another machine. Its claims
    /// count once it is continued.
    Unclear,
    /// Another machine with the same identity.
    Copy,
}

impl Lineage {
    /// Processes a check-in.
    pub fn take(&mut self, arrival: Arrival<'_>, now: Timestamp) -> Machine {
        let Some(current) = &self.current else {
            self.current = Some(arrival.head());
            return Machine::Same;
        };
        if arrival.continues(current) {
            self.current = Some(arrival.head());
            return Machine::Same;
        }
        if let Some(copy) = self.copy.as_mut().filter(|copy| arrival.continues(&copy.head)) {
            copy.seen_at = now;
            return Machine::Copy;
        }
        if self.before.take_if(|before| arrival.continues(before)).is_some() {
            // Both lines continue. The older one is the asset; the one that came between is the copy.
            let between = self.current.replace(arrival.head());
            self.copy = between.map(|head| Copy { head, seen_at: now });
            return Machine::Same;
        }
        self.before = self.current.replace(arrival.head());
        Machine::Unclear
    }

    /// Whether a copy made a request within the last `seconds`.
    #[must_use]
    pub fn copied_within(&self, seconds: i64, now: Timestamp) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.seen_at.plus(seconds) >= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Machine::{Copy as Other, Same, Unclear};

    const NOW: Timestamp = Timestamp(1_800_000_000);

    /// `previous sequence boot` in order of arrival, and the expected result for each.
    fn check(what: &str, arrivals: &[(Option<u64>, u64, &str, Machine)]) {
        let mut lineage = Lineage::default();
        for (at, &(previous, sequence, boot, expected)) in arrivals.iter().enumerate() {
            let got = lineage.take(Arrival { sequence, previous, boot }, NOW);
            assert_eq!(got, expected, "{what}, check-in {at}: {lineage:?}");
        }
    }

    #[test]
    fn machines_with_one_identity_are_distinguished() {
        check(
            "an ordinary machine that reboots",
            &[
                (Some(0), 1, "a", Same),
                (Some(1), 2, "a", Same),
                (Some(2), 3, "b", Same),
                (Some(3), 4, "b", Same),
            ],
        );
        check(
            "one that was killed before it wrote down what it had sent",
            &[
                (Some(0), 1, "a", Same),
                (Some(1), 2, "a", Same),
                (Some(1), 3, "a", Unclear),
                (Some(1), 4, "a", Unclear),
                (Some(4), 5, "a", Same),
                (Some(5), 6, "a", Same),
            ],
        );
        check(
            "one restored from a snapshot",
            &[
                (Some(0), 1, "a", Same),
                (Some(1), 2, "a", Same),
                (Some(2), 3, "a", Same),
                (Some(1), 9, "b", Unclear),
                (Some(9), 10, "b", Same),
            ],
        );
        check(
            "a copy of it: the copy is refused from the second time on, and its original is not",
            &[
                (Some(0), 1, "a", Same),
                (Some(1), 2, "a", Same),
                (Some(1), 3, "a", Unclear),
                (Some(2), 4, "a", Same),
                (Some(3), 5, "a", Other),
                (Some(4), 6, "a", Same),
                (Some(3), 7, "a", Other),
                (Some(3), 8, "a", Other),
                (Some(6), 9, "a", Same),
            ],
        );
        check(
            "a copy of a machine whose program remembers nothing, by its boots",
            &[
                (None, 1, "a", Same),
                (None, 2, "a", Same),
                (None, 3, "b", Unclear),
                (None, 4, "a", Same),
                (None, 5, "b", Other),
                (None, 6, "a", Same),
            ],
        );
        check(
            "a program that is upgraded and remembers from then on",
            &[(None, 1, "a", Same), (Some(1), 2, "a", Same), (Some(2), 3, "a", Same)],
        );
    }

    #[test]
    fn check_ins_of_one_machine_in_any_order_are_not_a_copy() {
        // A machine that is killed at random: it forgets some of what it sent.
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 33
        };
        let (mut lineage, mut remembered) = (Lineage::default(), 0);
        for sequence in 1..10_000 {
            let arrival = Arrival { sequence, previous: Some(remembered), boot: "a" };
            let arrives = random() % 4 != 0;
            if arrives {
                assert_ne!(lineage.take(arrival, NOW), Other, "{sequence}: {lineage:?}");
            }
            if random() % 4 != 0 {
                remembered = sequence;
            }
        }
    }
}
