//! DNS answers for the names of time servers, and how long they are used. Pure; the clock is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::DomainName;
use xshield_wire::message::UnixSeconds;

/// After how many seconds the names are resolved again.
const AGAIN: u64 = 3600;
/// The same if one of them could not be resolved.
const AFTER_SILENCE: u64 = 600;
/// The addresses of the names of time servers, and when they were resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAnswers {
    pub(crate) at: UnixSeconds,
    /// The addresses of each name; empty if it could not be resolved.
    pub(crate) answers: BTreeMap<DomainName, Vec<IpAddr>>,
}

impl TimeAnswers {
    /// Whether these names need not be resolved again at `now`. If the clock went back, they are.
    pub(crate) fn holds(&self, names: &BTreeSet<DomainName>, now: UnixSeconds) -> bool {
        let silent = self.answers.values().any(Vec::is_empty);
        let until = self.at.saturating_add(if silent { AFTER_SILENCE } else { AGAIN });
        self.answers.keys().eq(names) && (self.at..until).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_server_names_are_resolved_at_an_interval() {
        let names = |texts: &[&str]| -> BTreeSet<DomainName> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let known: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        let asked = |answers: [&[IpAddr]; 2]| TimeAnswers {
            at: 10_000,
            answers: names(&["a.example", "b.example"])
                .into_iter()
                .zip(answers.map(<[IpAddr]>::to_vec))
                .collect(),
        };
        let (whole, silent) = (asked([&known, &known]), asked([&known, &[]]));
        #[rustfmt::skip]
        let table = [
            (&whole, &["a.example", "b.example"][..], 10_000, true),
            (&whole, &["a.example", "b.example"], 13_599, true),
            (&whole, &["a.example", "b.example"], 13_600, false),
            (&whole, &["a.example", "b.example"], 9_999, false),
            (&whole, &["a.example"], 10_001, false),
            (&whole, &["a.example", "b.example", "c.example"], 10_001, false),
            (&silent, &["a.example", "b.example"], 10_599, true),
            (&silent, &["a.example", "b.example"], 10_600, false),
        ];
        for (asked, wanted, now, expected) in table {
            assert_eq!(asked.holds(&names(wanted), now), expected, "{wanted:?} at {now}");
        }
    }
}
