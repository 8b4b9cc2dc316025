//! Notification channels and their deliveries.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
use xshield_model::alert_rule::RuleState;
pub use xshield_model::channel::{
    ChannelSettings, MailSecurity, MailSettings, Payload, SyslogFormat, SyslogSettings,
    SyslogTransport, WebhookFormat, WebhookSettings,
};
pub use xshield_model::delivery::{DeliveryKind, DeliveryState};

use crate::open::Open;

/// A channel, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    pub name: String,
    #[schema(value_type = ChannelSettings)]
    pub settings: Open<ChannelSettings>,
    #[schema(value_type = RuleState)]
    pub state: Open<RuleState>,
    pub has_secret: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    /// The number of pending alerts, digests included.
    pub waiting: u64,
    /// The number of failures since the last success.
    pub failures: u32,
    /// No attempt is made before this time; `null` when the channel works.
    pub next_attempt: Option<Timestamp>,
    pub last_success: Option<Timestamp>,
    pub last_failure: Option<Timestamp>,
    /// The receiver's last answer, or the error.
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
    /// The password of a mail login, or the secret of a webhook (`whsec_…`; generated and shown once when
    /// left out). When left out for a channel that has one, the old one is kept, unless it would be sent to
    /// another receiver.
    #[serde(default)]
    pub secret: Option<String>,
}

/// A channel, with the generated secret, which is not shown again.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct WrittenChannel {
    #[serde(flatten)]
    pub channel: Channel,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A delivery: what was sent, the number of attempts, the receiver's answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The same for every attempt: first part of the Message-ID, `webhook-id`.
    pub id: String,
    pub channel: String,
    #[schema(value_type = DeliveryKind)]
    pub kind: Open<DeliveryKind>,
    #[schema(value_type = DeliveryState)]
    pub state: Open<DeliveryState>,
    /// The number of alerts in it.
    pub alerts: u64,
    pub attempts: u64,
    pub created_at: Timestamp,
    pub last_attempt: Option<Timestamp>,
    /// The receiver's answer, or the error.
    pub answer: String,
    /// What is sent; omitted in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Payload>)]
    pub payload: Option<Open<Payload>>,
}

/// A filter for deliveries.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveryQuery {
    /// The channel's name.
    #[serde(default)]
    pub channel: Option<String>,
    /// The state.
    #[serde(default)]
    #[param(inline)]
    pub state: Option<DeliveryState>,
}
