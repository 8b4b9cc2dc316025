//! Alert rules: which matches, or states of the platform, are sent to which channels.

use serde::{Deserialize, Serialize};
use xshield_policy::Direction;
use xshield_policy::criteria::Criteria;
use xshield_threat::{Confidence, FeedId};
use xshield_wire::threat::ThreatAction;

use crate::threat_match::ViaProxy;

/// A week, in seconds: the maximum for windows and intervals.
const LONGEST: u32 = 7 * 24 * 3600;

/// An alert rule, as written by operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Whether it is evaluated.
    #[serde(default)]
    pub state: RuleState,
    /// The condition.
    pub when: Condition,
    /// Only on assets that match this criteria expression, e.g. `business_value = 'high'`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub criteria: Option<Criteria>,
    /// Only `blocked`, or only `recorded` matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub action: Option<ThreatAction>,
    /// Only `inbound`, or only `outbound` flows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// Only when a feed has at least this confidence, in percent; also when the confidence is no longer
    /// known.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schema(value_type = Option<u8>)]
    pub least_confidence: Confidence,
    /// Only peers that one of these feeds lists; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub feeds: Vec<FeedId>,
    /// Only matches behind proxies, or none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_proxy: Option<ViaProxy>,
    /// The channels to send to.
    pub channels: Vec<String>,
    /// How alerts are sent.
    #[serde(default)]
    pub delivery: Delivery,
    /// What counts as the same: at most one alert for it in `throttle_seconds`.
    #[serde(default)]
    pub per: Per,
    /// Alerts withheld for it are counted and reported in the next one.
    #[serde(default = "usual_throttle")]
    pub throttle_seconds: u32,
}

fn is_none(confidence: &Confidence) -> bool {
    *confidence == Confidence::NONE
}

fn usual_throttle() -> u32 {
    900
}

/// Whether a rule is evaluated or a channel is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleState {
    /// Yes.
    #[default]
    Enabled,
    /// No.
    Disabled,
}

/// The condition of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "condition", deny_unknown_fields)]
pub enum Condition {
    /// A match.
    AnyMatch,
    /// A match with an address for the first time.
    FirstTime {
        /// By whom.
        scope: Scope,
    },
    /// A number of them within a time.
    Threshold {
        /// Of what.
        count: Counted,
        /// The number.
        at_least: u64,
        /// The time, in seconds.
        window_seconds: u32,
    },
    /// A feed whose last fetch is too old.
    FeedStale,
    /// A feed with a held listing.
    FeedHeld,
    /// A host that could not record matches.
    RecorderLosses,
}

/// For whom it is the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// For this asset.
    Asset,
    /// For any asset.
    Platform,
}

/// What a threshold counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// Flows in reports.
    Matches,
    /// Packets (requests behind a proxy).
    Packets,
}

/// How alerts are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "mode", deny_unknown_fields)]
#[schema(as = AlertDelivery)]
pub enum Delivery {
    /// At once.
    #[default]
    Immediate,
    /// Together, at an interval.
    Digest {
        /// The interval, in seconds.
        every_seconds: u32,
    },
}

/// What counts as the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// The same asset and peer.
    #[default]
    AssetAndAddress,
    /// The same asset.
    Asset,
    /// The same peer.
    Address,
    /// Everything that the rule applies to.
    Rule,
}

/// An invalid field of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// JSON pointer.
    pub field: &'static str,
    /// What is expected.
    pub reason: String,
}

impl AlertRule {
    /// Validates what the types can't express.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), RuleError> {
        let refuse = |field, reason: String| Err(RuleError { field, reason });
        let span = |field, seconds: u32, least: u32| {
            if (least..=LONGEST).contains(&seconds) {
                return Ok(());
            }
            refuse(field, format!("{seconds} s is not between {least} and {LONGEST}"))
        };
        if self.channels.is_empty() || self.channels.len() > 20 {
            return refuse("/channels", "expected 1 to 20 channels".to_owned());
        }
        if self.feeds.len() > 100 {
            return refuse("/feeds", "more than 100".to_owned());
        }
        if let Condition::Threshold { at_least, window_seconds, .. } = self.when {
            span("/when/window_seconds", window_seconds, 1)?;
            if at_least == 0 {
                return refuse(
                    "/when/at_least",
                    "zero is always reached; expected 1 or more".to_owned(),
                );
            }
        }
        if let Delivery::Digest { every_seconds } = self.delivery {
            span("/delivery/every_seconds", every_seconds, 1)?;
        }
        let about_matches = self.criteria.is_some()
            || self.action.is_some()
            || self.direction.is_some()
            || self.via_proxy.is_some()
            || !self.feeds.is_empty()
            || self.least_confidence != Confidence::NONE;
        if !self.when.is_about_matches() && about_matches {
            let reason = "this condition is not about matches: omit where, action, direction, \
                          least_confidence, feeds and via_proxy";
            return refuse("/when", reason.to_owned());
        }
        span("/throttle_seconds", self.throttle_seconds, 0)
    }
}

impl Condition {
    /// Whether it is about matches, not about a state of the platform.
    #[must_use]
    pub fn is_about_matches(self) -> bool {
        matches!(self, Self::AnyMatch | Self::FirstTime { .. } | Self::Threshold { .. })
    }
}
