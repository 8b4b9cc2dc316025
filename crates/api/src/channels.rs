//! Channels of alerts, and what was delivered over them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_model::alert_rule::RuleState;
pub use xshield_model::channel::{ChannelSettings, Payload};
pub use xshield_model::delivery::{DeliveryKind, DeliveryState};

/// A channel, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    pub name: String,
    pub settings: ChannelSettings,
    pub state: RuleState,
    pub has_secret: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    /// Alerts that wait for it, digests included.
    pub waiting: u64,
    /// Failures since the last success.
    pub failures: u32,
    /// It is left alone until then; `null` when it works.
    pub next_attempt: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub last_failure: Option<Timestamp>,
    /// What the other end said last, or why it was not reached.
    pub last_answer: String,
}

/// All channels.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Channels {
    pub items: Vec<Channel>,
}

#[derive(Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelInput {
    pub settings: ChannelSettings,
    #[serde(default)]
    pub state: RuleState,
    /// A mail login's password, or a webhook's secret (`whsec_…`; made up and shown once when left
    /// out). When left out for a channel that has one, the old one stays, unless it would be shown
    /// to somebody else.
    #[serde(default)]
    pub secret: Option<String>,
}

/// A channel, with the secret that was made up for it and is not shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct WrittenChannel {
    #[serde(flatten)]
    pub channel: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A delivery: what was sent, how often it was tried, what the other end said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The same at every attempt: Message-ID's first part, `webhook-id`.
    pub id: String,
    pub channel: String,
    pub kind: DeliveryKind,
    pub state: DeliveryState,
    /// How many alerts are in it.
    pub alerts: u64,
    pub attempts: u64,
    pub created_at: Timestamp,
    pub last_attempt: Option<Timestamp>,
    /// What the other end said, or why it was not reached.
    pub answer: String,
    /// What is sent; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// The channel's name.
    #[serde(default)]
    pub channel: Option<String>,
    /// How it stands.
    #[serde(default)]
    #[param(inline)]
    pub state: Option<DeliveryState>,
}
