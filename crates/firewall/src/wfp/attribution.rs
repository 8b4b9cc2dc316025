//! Determines the rule of an event: events refer to filters by numbers that Windows assigns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xshield_policy::Verdict;

use super::decode::verdict;
use super::model::EngineState;
use super::ours::{NAME, is_ours, tier_and_class};

/// The numbers of our filters. Those of a replaced ruleset are kept, since its events are read later.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilterNumbers {
    known: BTreeMap<u64, Numbered>,
    /// How often filters were read.
    reads: u64,
    /// Whether a number was added or has another meaning since this value was made or loaded.
    #[serde(skip)]
    has_changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbered {
    rule: String,
    verdict: Verdict,
    /// When it was read last.
    read: u64,
}

impl Numbered {
    fn means_the_same_as(&self, other: &Self) -> bool {
        (&self.rule, self.verdict) == (&other.rule, other.verdict)
    }
}

/// What is known about the filter of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribution<'a> {
    /// It is one of ours.
    Rule {
        /// The rule; `failsafe/…` and `default/…` for what is not a rule of policy.
        rule: &'a str,
        /// The verdict on flows that it matches.
        verdict: Verdict,
    },
    /// It was never read as ours: it belongs to another product, or existed only between two readings.
    Unknown(u64),
    /// The event contains none.
    Unnamed,
}

/// The most filters that are remembered: a ruleset of 10,000 rules, its boot-time filters, and some that it
/// replaced.
const MOST: usize = 200_000;

impl FilterNumbers {
    /// Remembers the numbers of all our filters in a reading.
    pub fn learn(&mut self, state: &EngineState) {
        self.reads += 1;
        let ours = state.filters.iter().filter(|filter| is_ours(filter.provider.as_ref()));
        for filter in ours {
            let (Some(id), Some((_, class))) = (filter.id, tier_and_class(filter.rank())) else {
                continue;
            };
            let rule = filter.name.strip_prefix(NAME).unwrap_or(&filter.name).to_owned();
            let numbered = Numbered { rule, verdict: verdict(filter, class), read: self.reads };
            let before = self.known.insert(id, numbered.clone());
            self.has_changed |= before.is_none_or(|before| !before.means_the_same_as(&numbered));
        }
        if self.known.len() > MOST {
            let mut reads: Vec<u64> = self.known.values().map(|known| known.read).collect();
            reads.sort_unstable();
            // The oldest readings are dropped, each as a whole.
            let oldest = reads[self.known.len() - MOST];
            let last = self.reads;
            self.known.retain(|_, known| known.read > oldest || known.read == last);
        }
    }

    /// Whether a number was added or has another meaning since this value was made or loaded.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// What is known about the filter with this number.
    #[must_use]
    pub fn of(&self, filter: Option<u64>) -> Attribution<'_> {
        let Some(id) = filter.filter(|&id| id != 0) else { return Attribution::Unnamed };
        match self.known.get(&id) {
            Some(Numbered { rule, verdict, .. }) => Attribution::Rule { rule, verdict: *verdict },
            None => Attribution::Unknown(id),
        }
    }
}
