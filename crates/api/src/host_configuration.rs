//! Host settings that operators configure centrally.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_wire::control::{HostConfiguration, Switch};

use crate::open::Open;

/// Settings; `null` inherits from the wider scope, and finally from the host's own configuration.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HostSettings {
    /// Seconds between two check-ins of an agent; 10 to 86,400.
    pub heartbeat: Option<u32>,
    /// Seconds between two reports of paths; 10 to 86,400.
    pub telemetry: Option<u32>,
    /// Seconds between two inventories of the installed software; 60 to 604,800.
    pub inventory: Option<u32>,
    /// `on` or `off`: whether agents query the cloud's metadata service.
    #[schema(value_type = Option<String>)]
    pub cloud_metadata: Option<Switch>,
    /// `on` or `off`: kept for agents that tell denials as they happen; none does yet.
    #[schema(value_type = Option<String>)]
    pub live_events: Option<Switch>,
    /// How much of one core an agent may use, in percent; 0.1 to 100.
    pub cpu_budget_percent: Option<f64>,
    /// How much memory an agent may use, in MiB; 16 to 4,096.
    pub memory_budget: Option<u32>,
}

impl From<HostConfiguration> for HostSettings {
    fn from(settings: HostConfiguration) -> Self {
        Self {
            heartbeat: settings.heartbeat,
            telemetry: settings.telemetry,
            inventory: settings.inventory,
            cloud_metadata: settings.cloud_metadata,
            live_events: settings.live_events,
            cpu_budget_percent: settings.cpu_budget.map(|budget| f64::from(budget) / 10.0),
            memory_budget: settings.memory_budget,
        }
    }
}

/// The scope of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All hosts.
    Platform,
    /// The hosts of a segment.
    Segment,
    /// One host.
    Asset,
}

/// The settings of a scope.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Configured {
    /// `platform`, `segment` or `asset`.
    #[schema(value_type = String)]
    pub scope: Open<Scope>,
    /// The segment's name, or the asset's.
    pub name: Option<String>,
    #[schema(value_type = HostSettings)]
    pub settings: Open<HostSettings>,
    pub updated_at: Timestamp,
    pub updated_by: String,
}

/// The effective settings of an asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Effective {
    /// Grows whenever it changes; 0 when nothing was ever configured.
    pub version: u64,
    #[schema(value_type = HostSettings)]
    pub settings: Open<HostSettings>,
}
