//! The log prefix of our rules, the same in the kernel's log and in NFLOG messages.

use xshield_policy::{Direction, RuleId};
use xshield_wire::message::EventKind;
use xshield_wire::threat::ThreatAction;

/// The begin of our lines.
pub const PREFIX: &str = "xshield: ";
/// Replaces the rule if no rule decided.
const NO_RULE: &str = "none";
/// The word in lines of the threat list; every other word is a verdict of the policy.
const THREAT: &str = "THREAT";

/// Which part logged a packet, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heading {
    /// The policy: `xshield: DENY|WOULD|ACCEPT in|out rule=… `.
    Policy {
        /// What happened to the packet.
        kind: EventKind,
        /// Who opened the flow.
        direction: Direction,
        /// The rule that decided; `None`: the level.
        rule: Option<RuleId>,
    },
    /// The threat list: `xshield: THREAT in|out action=DROP|PASS `. The policy has not judged this packet.
    Threat {
        /// What happened to the packet.
        action: ThreatAction,
        /// Who opened the flow.
        direction: Direction,
    },
}

impl Heading {
    /// Parses a complete prefix, as NFLOG delivers it. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX)?;
        let (word, text) = text.split_once(' ')?;
        let (way, text) = text.split_once(' ')?;
        let direction = match way {
            "in" => Direction::Inbound,
            "out" => Direction::Outbound,
            _ => return None,
        };
        if word == THREAT {
            let action = match text.trim().strip_prefix("action=")? {
                "DROP" => ThreatAction::Blocked,
                "PASS" => ThreatAction::Recorded,
                _ => return None,
            };
            return Some(Self::Threat { action, direction });
        }
        let kind = match word {
            "DENY" => EventKind::Denied,
            "WOULD" => EventKind::WouldDeny,
            "ACCEPT" => EventKind::Accepted,
            _ => return None,
        };
        let rule = match text.trim().strip_prefix("rule=")? {
            NO_RULE => None,
            rule => Some(RuleId::try_from(rule.to_owned()).ok()?),
        };
        Some(Self::Policy { kind, direction, rule })
    }

    /// Splits a line of the kernel's log into our prefix and the kernel's own fields.
    pub(super) fn split(message: &str) -> Option<(Self, &str)> {
        if !message.starts_with(PREFIX) {
            return None;
        }
        // The kernel truncates a prefix of 127 bytes, including its final space.
        let end = message.find(" IN=").or_else(|| message.find("IN="))?;
        let (heading, fields) = message.split_at(end);
        Some((Self::parse(heading)?, fields))
    }

    /// Who opened the flow.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match self {
            Self::Policy { direction, .. } | Self::Threat { direction, .. } => *direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings() {
        let rule = |text: &str| Some(text.parse().unwrap());
        let policy = |kind, direction, rule| Some(Heading::Policy { kind, direction, rule });
        let threat = |action, direction| Some(Heading::Threat { action, direction });
        use {Direction::*, EventKind::*, ThreatAction::*};
        #[rustfmt::skip]
        let table = [
            ("xshield: DENY in rule=web/https ", policy(Denied, Inbound, rule("web/https"))),
            ("xshield: DENY in rule=web/https", policy(Denied, Inbound, rule("web/https"))),
            ("xshield: WOULD out rule=none ", policy(WouldDeny, Outbound, None)),
            ("xshield: ACCEPT in rule=none ", policy(Accepted, Inbound, None)),
            ("xshield: THREAT in action=DROP ", threat(Blocked, Inbound)),
            ("xshield: THREAT out action=PASS ", threat(Recorded, Outbound)),
            ("xshield: THREAT out action=EAT ", None),
            ("xshield: THREAT in rule=none ", None),
            ("xshield: DENY in action=DROP ", None),
            ("xshield: DENY through rule=none ", None),
            ("xshield: DENY in rule=", None),
            ("xshield: ", None),
            ("other: DENY in rule=none ", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Heading::parse(text), expected, "{text:?}");
        }
    }
}
