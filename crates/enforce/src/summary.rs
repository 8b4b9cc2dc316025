//! A summary of the ruleset in force: how far each direction is closed, and whether that is enforced.

use std::fmt;

use serde::{Serialize, Serializer};
use xshield_policy::ruleset::StanceRules;
use xshield_policy::{DirectionRules, Ruleset, Subject};

/// A summary of a ruleset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicySummary {
    /// For flows that peers open.
    pub inbound: ClosedDirection,
    /// For flows that this host opens.
    pub outbound: ClosedDirection,
    /// Whether it drops anything.
    pub enforces: bool,
}

impl PolicySummary {
    /// The summary of a ruleset.
    #[must_use]
    pub fn of(ruleset: &Ruleset) -> Self {
        let (inbound, outbound) =
            (ClosedDirection::of(&ruleset.inbound), ClosedDirection::of(&ruleset.outbound));
        let enforces = inbound.enforced.bites() || outbound.enforced.bites();
        Self { inbound, outbound, enforces }
    }

    /// The state of a host with this ruleset in force, in a word or two.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        let tests = self.inbound.tested.is_some() || self.outbound.tested.is_some();
        match (self.enforces, tests) {
            (true, _) => "enforcing",
            (false, true) => "not protected: the policy is in mode test, nothing is dropped",
            (false, false) => "not protected: the policy closes nothing on this host",
        }
    }
}

/// How far one direction is closed. In JSON, it is its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedDirection {
    enforced: Closed,
    /// The stricter level that is tested above it.
    tested: Option<Closed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Closed {
    subject: Subject,
    blocks: bool,
}

impl Closed {
    fn of(rules: &StanceRules) -> Self {
        Self { subject: rules.subject, blocks: !rules.blocks.is_empty() }
    }

    fn bites(self) -> bool {
        self.subject != Subject::Nothing || self.blocks
    }

    fn in_words(self) -> &'static str {
        match (self.subject, self.blocks) {
            (Subject::Nothing, false) => "open",
            (Subject::Nothing, true) => "open except for block rules",
            (Subject::Internet, _) => "closed to the internet",
            (Subject::Everything, _) => "closed",
        }
    }
}

impl ClosedDirection {
    fn of(rules: &DirectionRules) -> Self {
        Self {
            enforced: Closed::of(&rules.enforced),
            tested: rules.tested.as_ref().map(Closed::of),
        }
    }
}

/// `closed (enforce)`, `open`, `closed to the internet (enforce), closed (test)`.
impl fmt::Display for ClosedDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enforced, tested } = self;
        match (enforced.bites(), tested) {
            (false, None) => f.write_str(enforced.in_words()),
            (true, None) => write!(f, "{} (enforce)", enforced.in_words()),
            (false, Some(tested)) => write!(f, "{} (test)", tested.in_words()),
            (true, Some(tested)) => {
                write!(f, "{} (enforce), {} (test)", enforced.in_words(), tested.in_words())
            }
        }
    }
}

impl Serialize for ClosedDirection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use xshield_policy::ruleset::{Failsafe, Peers, Rule};
    use xshield_policy::{Revision, RuleId};

    use super::*;

    fn stance(text: &str) -> StanceRules {
        let subject = match text.trim_end_matches('!') {
            "everything" => Subject::Everything,
            "internet" => Subject::Internet,
            _ => Subject::Nothing,
        };
        let block = Rule {
            id: "b/x".parse::<RuleId>().unwrap(),
            peers: Peers::Any,
            services: Vec::new(),
            process: None,
            user: None,
            unit: None,
        };
        let blocks = text.ends_with('!').then_some(block).into_iter().collect();
        StanceRules { subject, blocks, allows: Vec::new() }
    }

    #[test]
    fn a_ruleset_is_summarised_in_words() {
        let open = ("nothing", "");
        for (inbound, outbound, words, status) in [
            (open, open, "open", "closes nothing"),
            (("everything", ""), open, "closed (enforce)", "enforcing"),
            (("internet", ""), open, "closed to the internet (enforce)", "enforcing"),
            (("nothing!", ""), open, "open except for block rules (enforce)", "enforcing"),
            (("nothing", "everything"), open, "closed (test)", "in mode test"),
            (
                ("internet", "everything"),
                open,
                "closed to the internet (enforce), closed (test)",
                "enforcing",
            ),
            (open, ("everything", ""), "open", "enforcing"),
        ] {
            let rules = |(enforced, tested): (&str, &str)| DirectionRules {
                enforced: stance(enforced),
                tested: (!tested.is_empty()).then(|| stance(tested)),
            };
            let ruleset = Ruleset {
                revision: Revision(1),
                failsafe: Failsafe::default(),
                intranet: Vec::new(),
                intranet_domains: Vec::new(),
                grace: std::collections::BTreeMap::new(),
                inbound: rules(inbound),
                outbound: rules(outbound),
                forwarded: None,
                asset: "as-1".parse().unwrap(),
            };
            let short = PolicySummary::of(&ruleset);
            assert_eq!(short.inbound.to_string(), words, "{inbound:?}");
            assert!(short.in_words().contains(status), "{inbound:?}: {}", short.in_words());
            assert_eq!(short.enforces, status == "enforcing");
        }
    }
}
