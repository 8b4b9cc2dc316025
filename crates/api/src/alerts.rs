//! Alert rules and the alerts they raised.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
pub use xshield_model::alert::{Alert, Severity};
pub use xshield_model::alert_rule::{
    AlertRule, Condition, Counted, Delivery, Per, RuleState, Scope,
};
pub use xshield_model::threat_match::ViaProxy;

use crate::open::Open;

/// An alert rule with its name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamedRule {
    pub name: String,
    #[serde(flatten)]
    #[schema(value_type = AlertRule)]
    pub rule: Open<AlertRule>,
    pub created_at: Timestamp,
    pub created_by: String,
    /// The number of alerts withheld since its last ones, over all subjects.
    pub withheld: u64,
}

/// All alert rules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    pub items: Vec<NamedRule>,
}

/// An alert with its number.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NumberedAlert {
    pub number: i64,
    #[schema(value_type = Alert)]
    pub alert: Open<Alert>,
}

/// A filter for alerts.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// The rule that raised it.
    #[serde(default)]
    pub rule: Option<String>,
    /// The asset's name.
    #[serde(default)]
    pub asset: Option<String>,
    /// The peer.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// `threat-match`, `feed-stale`, `feed-held` or `recorder-losses`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
}
