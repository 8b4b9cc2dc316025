//! Which addresses a name has, from what it resolved to and when. Pure; the clock is an argument.
//!
//! Two periods apply to an address. Its *grace* starts when an answer last contained it. While no server
//! answers, the addresses of the last good answer also stay for the host's *stale* time. An address leaves
//! when both are over.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::Grace;
use xshield_wire::message::UnixSeconds;

/// The most addresses of one name that are kept although its last answer lacks them. Beyond that, those
/// answered longest ago leave early.
pub const KEPT: usize = 256;

/// Everything known of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Known {
    v4: Option<Answer>,
    v6: Option<Answer>,
    /// Addresses that the last good answer of their family lacks, and when each was last answered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    leaving: BTreeMap<IpAddr, UnixSeconds>,
}

/// A good answer for one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    addresses: BTreeSet<IpAddr>,
    at: UnixSeconds,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// All addresses of one family, or why there is no answer. An empty list is an answer.
pub(super) type FamilyAnswer = Result<BTreeSet<IpAddr>, Missing>;

/// Why there is no answer, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The server refused the query.
    Declined(String),
    /// No usable answer was received.
    Failed(String),
}

impl Missing {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Declined(reason) | Self::Failed(reason) => reason,
        }
    }
}

/// The result for one family of one name. A greater one is worse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Freshness {
    Fresh,
    Stale(String),
    Failed(String),
}

/// Why an address left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// It was last answered this many seconds ago, and its grace is over.
    Unanswered(u64),
    /// There were more than [`KEPT`].
    Crowded,
}

impl Known {
    /// How a server that answers for one family and refuses the other is understood: the name has no
    /// addresses of the other family, unless it had some before.
    pub(super) fn understood(&self, [v4, v6]: [FamilyAnswer; 2]) -> [FamilyAnswer; 2] {
        let had = |slot: &Option<Answer>| slot.as_ref().is_some_and(|a| !a.addresses.is_empty());
        let answered = |family: &FamilyAnswer| family.as_ref().is_ok_and(|all| !all.is_empty());
        let declined = |family: &FamilyAnswer| matches!(family, Err(Missing::Declined(_)));
        match (&v4, &v6) {
            (one, other) if answered(one) && declined(other) && !had(&self.v6) => {
                [v4, Ok(BTreeSet::new())]
            }
            (other, one) if answered(one) && declined(other) && !had(&self.v4) => {
                [Ok(BTreeSet::new()), v6]
            }
            _ => [v4, v6],
        }
    }

    /// Processes an answer for one family, or its absence. `stale`: seconds for which the last good answer is
    /// used instead.
    pub(super) fn settle(
        &mut self,
        family: Family,
        fresh: FamilyAnswer,
        now: UnixSeconds,
        stale: u64,
    ) -> Freshness {
        let slot = match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        };
        // A time in the future comes from a wrong clock: it is treated as now.
        if let Some(answer) = slot {
            answer.at = answer.at.min(now);
        }
        let (outcome, gone) = match fresh {
            Ok(addresses) => (Freshness::Fresh, slot.replace(Answer { addresses, at: now })),
            Err(missing) if slot.as_ref().is_some_and(|answer| now - answer.at <= stale) => {
                (Freshness::Stale(missing.reason().to_owned()), None)
            }
            Err(missing) => (Freshness::Failed(missing.reason().to_owned()), slot.take()),
        };
        if let Some(Answer { addresses, at }) = gone {
            self.leaving.extend(addresses.into_iter().map(|address| (address, at)));
        }
        if let Some(answer) = slot {
            self.leaving.retain(|address, _| !answer.addresses.contains(address));
        }
        outcome
    }

    /// Whether the grace alone does not decide: an address is beyond it, but stays while the host has a
    /// connection with it.
    pub(super) fn depends_on_connections(&self, grace: Grace, now: UnixSeconds) -> bool {
        grace.while_connected && self.leaving.values().any(|&last| is_over(last, grace, now))
    }

    /// Removes the addresses whose time is over, and returns them. `connected`: peers with which the host has
    /// a connection; empty if not known.
    pub(super) fn let_go(
        &mut self,
        grace: Grace,
        connected: &HashSet<IpAddr>,
        now: UnixSeconds,
    ) -> Vec<(IpAddr, RemovalReason)> {
        let held = |address: &IpAddr| grace.while_connected && connected.contains(address);
        let mut left = Vec::new();
        self.leaving.retain(|address, last| {
            *last = (*last).min(now);
            let stays = !is_over(*last, grace, now) || held(address);
            if !stays {
                left.push((*address, RemovalReason::Unanswered(now - *last)));
            }
            stays
        });
        let excess = self.leaving.len().saturating_sub(KEPT);
        if excess > 0 {
            let mut oldest: Vec<_> = self
                .leaving
                .iter()
                .map(|(address, last)| (held(address), *last, *address))
                .collect();
            oldest.sort_unstable();
            for (_, _, address) in oldest.into_iter().take(excess) {
                self.leaving.remove(&address);
                left.push((address, RemovalReason::Crowded));
            }
        }
        left
    }

    /// The name's addresses now, IPv4 first.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let answered = [&self.v4, &self.v6].into_iter().flatten();
        let answered = answered.flat_map(|answer| answer.addresses.iter());
        let all: BTreeSet<IpAddr> = answered.chain(self.leaving.keys()).copied().collect();
        all.into_iter().collect()
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none() && self.leaving.is_empty()
    }
}

fn is_over(last: UnixSeconds, grace: Grace, now: UnixSeconds) -> bool {
    now.saturating_sub(last) >= grace.span.seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &str) -> BTreeSet<IpAddr> {
        texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    fn grace(text: &str) -> Grace {
        let (span, while_connected) = match text.strip_suffix('+') {
            Some(span) => (span, true),
            None => (text, false),
        };
        Grace { span: span.parse().unwrap(), while_connected }
    }

    fn shown(addresses: impl IntoIterator<Item = IpAddr>) -> String {
        let shown: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
        shown.join(" ")
    }

    /// One run: the time, the answer (`-` for none), the connected peers; then the addresses that must be in
    /// the rules, and those that must have left.
    type Step = (u64, &'static str, &'static str, &'static str, &'static str);

    /// The stale time of every table.
    const STALE: u64 = 100;

    #[test]
    fn addresses_are_kept_by_grace() {
        let rotating: &[Step] = &[
            (0, "10.0.0.1", "", "10.0.0.1", ""),
            (50, "10.0.0.2", "", "10.0.0.1 10.0.0.2", ""),
            (59, "10.0.0.3", "", "10.0.0.1 10.0.0.2 10.0.0.3", ""),
            // Sixty seconds after its last answer the first has left; the second is answered again.
            (60, "10.0.0.2", "", "10.0.0.2 10.0.0.3", "10.0.0.1"),
            (118, "10.0.0.2", "", "10.0.0.2 10.0.0.3", ""),
            (119, "10.0.0.2", "", "10.0.0.2", "10.0.0.3"),
            // "No such name" is an answer.
            (120, "", "", "10.0.0.2", ""),
            (179, "", "", "", "10.0.0.2"),
        ];
        let none: &[Step] = &[
            (0, "10.0.0.1 10.0.0.2", "", "10.0.0.1 10.0.0.2", ""),
            // Even in the same second.
            (0, "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.1"),
            (1, "", "", "", "10.0.0.2"),
        ];
        let connected: &[Step] = &[
            (0, "10.0.0.1", "10.0.0.1", "10.0.0.1", ""),
            (1, "10.0.0.2", "10.0.0.1", "10.0.0.1 10.0.0.2", ""),
            (9_999, "10.0.0.2", "10.0.0.1", "10.0.0.1 10.0.0.2", ""),
            (10_000, "10.0.0.2", "", "10.0.0.2", "10.0.0.1"),
            // A connection does not restore an address.
            (10_001, "10.0.0.2", "10.0.0.1", "10.0.0.2", ""),
        ];
        let silent: &[Step] = &[
            (0, "10.0.0.1 10.0.0.2", "", "10.0.0.1 10.0.0.2", ""),
            (10, "10.0.0.1", "", "10.0.0.1 10.0.0.2", ""),
            // Without an answer, the grace of an address missing in the last good answer is not extended …
            (60, "-", "", "10.0.0.1", "10.0.0.2"),
            // … and the last good answer stays for the stale time, although its grace is over.
            (110, "-", "", "10.0.0.1", ""),
            (111, "-", "", "", "10.0.0.1"),
        ];
        let long: &[Step] = &[
            (0, "10.0.0.1", "", "10.0.0.1", ""),
            // The stale time is over, the grace is not.
            (101, "-", "", "10.0.0.1", ""),
            (599, "-", "", "10.0.0.1", ""),
            (600, "-", "", "", "10.0.0.1"),
        ];
        let back: &[Step] = &[
            (1_000_000, "10.0.0.1 10.0.0.2", "", "10.0.0.1 10.0.0.2", ""),
            (1_000_001, "10.0.0.1", "", "10.0.0.1 10.0.0.2", ""),
            // The clock went back: a time in the future counts as now.
            (10, "10.0.0.1", "", "10.0.0.1 10.0.0.2", ""),
            (69, "10.0.0.1", "", "10.0.0.1 10.0.0.2", ""),
            (70, "10.0.0.1", "", "10.0.0.1", "10.0.0.2"),
            (5, "-", "", "10.0.0.1", ""),
            (105, "-", "", "10.0.0.1", ""),
            (106, "-", "", "", "10.0.0.1"),
        ];
        let families: &[Step] = &[
            (0, "10.0.0.1 fd00::1", "", "10.0.0.1 fd00::1", ""),
            (1, "fd00::2", "", "10.0.0.1 fd00::1 fd00::2", ""),
            (60, "fd00::2", "", "fd00::2", "10.0.0.1 fd00::1"),
        ];
        let tables = [
            ("rotating", "1m", rotating),
            ("no grace", "0s", none),
            ("while connected", "0s+", connected),
            ("a silent resolver", "1m", silent),
            ("a long grace", "10m", long),
            ("a clock that went back", "1m", back),
            ("two families", "1m", families),
        ];
        for (name, text, steps) in tables {
            let mut known = Known::default();
            for &(now, answer, connected, stays, gone) in steps {
                // As stored in the state file between runs.
                let stored = serde_json::to_string(&known).unwrap();
                known = serde_json::from_str(&stored).unwrap();
                for family in [Family::V4, Family::V6] {
                    let fresh = match answer {
                        "-" => Err(Missing::Failed("silence".to_owned())),
                        said => {
                            let of_family = set(said).into_iter();
                            Ok(of_family
                                .filter(|a| a.is_ipv4() == (family == Family::V4))
                                .collect())
                        }
                    };
                    known.settle(family, fresh, now, STALE);
                }
                let connected = set(connected).into_iter().collect();
                let left = known.let_go(grace(text), &connected, now);
                let left = shown(left.into_iter().map(|(address, _)| address));
                let got = (shown(known.addresses()), left);
                assert_eq!(got, (stays.to_owned(), gone.to_owned()), "{name} at {now}");
            }
        }
    }

    #[test]
    fn over_the_limit_addresses_without_connections_are_removed_first() {
        let mut known = Known::default();
        let address = |number: usize| -> IpAddr {
            std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap()).into()
        };
        for number in 0..=KEPT {
            let now = u64::try_from(number).unwrap();
            known.settle(Family::V4, Ok([address(number)].into()), now, STALE);
            assert_eq!(known.let_go(grace("1h+"), &HashSet::new(), now), []);
        }
        let connected = HashSet::from([address(0)]);
        let now = u64::try_from(KEPT).unwrap() + 1;
        known.settle(Family::V4, Ok([address(KEPT + 1)].into()), now, STALE);
        let left = known.let_go(grace("1h+"), &connected, now);
        assert_eq!(left, [(address(1), RemovalReason::Crowded)], "the oldest without a connection");
        assert_eq!(known.addresses().len(), KEPT + 1);
    }

    #[test]
    fn state_of_the_previous_version_is_read() {
        let old = r#"{"v4":{"addresses":["10.0.0.1"],"at":50},"v6":null}"#;
        let mut known: Known = serde_json::from_str(old).unwrap();
        known.settle(Family::V4, Ok(set("10.0.0.2")), 60, STALE);
        assert_eq!(known.let_go(grace("1m"), &HashSet::new(), 60), []);
        assert_eq!(shown(known.addresses()), "10.0.0.1 10.0.0.2");
        let left = known.let_go(grace("1m"), &HashSet::new(), 110);
        assert_eq!(left, [("10.0.0.1".parse().unwrap(), RemovalReason::Unanswered(60))]);
    }
}
