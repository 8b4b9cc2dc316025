//! Commands for hosts and their outcomes.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
pub use xshield_model::asset_filter::AssetStanding;
pub use xshield_model::command::{Progress, TargetState};
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;
use xshield_wire::message::CommandKind;

use crate::open::Open;

/// A new command.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    /// `run-now`, `resend`, `diagnostics`, `debug-on` or `debug-off`.
    #[schema(value_type = String)]
    pub kind: CommandKind,
    /// For `debug-on`: seconds until it switches itself off; an hour when left out, at most a day.
    #[serde(default)]
    pub duration_seconds: Option<u32>,
    /// Seconds within which hosts must start; a day when left out, at most 30 days.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
    /// The selected hosts.
    pub target: Selection,
}

/// A command for one host.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAssetCommand {
    /// `run-now`, `resend`, `diagnostics`, `debug-on` or `debug-off`.
    #[schema(value_type = String)]
    pub kind: CommandKind,
    /// For `debug-on`: seconds until it switches itself off.
    #[serde(default)]
    pub duration_seconds: Option<u32>,
    /// Seconds within which the host must start.
    #[serde(default)]
    pub expires_in_seconds: Option<i64>,
}

/// A command and its progress.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Command {
    /// The id that hosts receive.
    pub id: String,
    #[schema(value_type = String)]
    pub kind: Open<CommandKind>,
    pub duration_seconds: Option<u32>,
    /// The selection.
    #[schema(value_type = Object)]
    pub target: serde_json::Value,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Timestamp,
    pub cancelled_at: Option<Timestamp>,
    pub progress: Progress,
}

/// A command at one asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Outcome)]
pub struct TargetOutcome {
    pub asset: String,
    #[schema(value_type = TargetState)]
    pub state: Open<TargetState>,
    pub told_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// When it ended, by the host's clock.
    pub host_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// A selection of assets. All given conditions must hold; an empty selection is refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// By id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Vec<String>>,
    /// Part of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A criteria expression, e.g. `environment = 'prod' and role in ('web','db')`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub criteria: Option<Criteria>,
    /// A segment of the committed policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// `agent`, `spark` or `edr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source: Option<Source>,
    /// The state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AssetStanding>,
    /// Every asset; can't be combined with another condition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// A filter for outcomes of a command.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OutcomeQuery {
    /// Only those in this state.
    #[serde(default)]
    #[param(inline)]
    pub state: Option<TargetState>,
}
