//! Alert rules, and the alerts they gave.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::alert::{Alert, Severity};
pub use xshield_model::alert_rule::{AlertRule, RuleState};

/// An alert rule under its name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamedRule {
    pub name: String,
    #[serde(flatten)]
    pub rule: AlertRule,
    pub created_at: Timestamp,
    pub created_by: String,
    /// What it withheld since its last alerts, over all subjects.
    pub withheld: u64,
}

/// All alert rules.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    pub items: Vec<NamedRule>,
}

/// An alert and its number.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NumberedAlert {
    pub number: i64,
    pub alert: Alert,
}
