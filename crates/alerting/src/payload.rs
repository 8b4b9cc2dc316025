//! The payload of a delivery: created once, from alerts, for one channel. Pure: every attempt sends the same.

use serde_json::json;
use xshield_model::Timestamp;
use xshield_model::alert::{Alert, Severity};
use xshield_model::channel::{
    ChannelSettings, Payload, SyslogFormat, SyslogSettings, WebhookFormat,
};
use xshield_model::delivery::DeliveryKind;
use xshield_store::alerts::StoredAlert;

use crate::{cef, mail_text, ocsf};

/// Properties of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryInfo<'a> {
    /// Its id.
    pub id: &'a str,
    /// The reason.
    pub kind: DeliveryKind,
    /// When it was made.
    pub at: Timestamp,
    /// The platform's URL, for people.
    pub platform: &'a str,
}

/// The maximum size of a syslog message in bytes: what RFC 5425 (4.3.1) asks receivers to support.
const MAX_MESSAGE: usize = 8192;

/// The payload for these alerts.
#[must_use]
pub fn of(alerts: &[StoredAlert], channel: &ChannelSettings, info: DeliveryInfo<'_>) -> Payload {
    match channel {
        ChannelSettings::Mail(_) => {
            let (subject, text) = match alerts {
                [one] => mail_text::one(&one.alert, info.platform),
                many => mail_text::digest(many, info.platform),
            };
            Payload::Mail { subject, text }
        }
        ChannelSettings::Webhook(settings) => {
            Payload::Webhook { body: webhook_body(alerts, settings.format, info) }
        }
        ChannelSettings::Syslog(settings) => {
            let host = info.platform;
            let message = |one: &StoredAlert| syslog_message(one, settings, host);
            Payload::Syslog { messages: alerts.iter().map(message).collect() }
        }
    }
}
fn webhook_body(alerts: &[StoredAlert], format: WebhookFormat, info: DeliveryInfo<'_>) -> String {
    let body = match format {
        WebhookFormat::Ocsf => alerts.iter().map(|one| ocsf::finding(&one.alert, one.id)).collect(),
        WebhookFormat::Json => {
            let kind = match info.kind {
                DeliveryKind::Alert => "alert.given",
                DeliveryKind::Digest => "alert.digest",
                DeliveryKind::Test => "channel.test",
            };
            let shown = |one: &StoredAlert| json!({ "number": one.id, "alert": one.alert });
            let alerts: Vec<_> = alerts.iter().map(shown).collect();
            json!({
                "type": kind,
                "timestamp": info.at,
                "data": { "delivery": info.id, "platform": info.platform, "alerts": alerts },
            })
        }
    };
    body.to_string()
}

/// A message according to RFC 5424 (6). The text has no byte order mark, which CEF parsers don't expect, so
/// it is formally MSG-ANY.
fn syslog_message(one: &StoredAlert, settings: &SyslogSettings, platform: &str) -> String {
    let alert: &Alert = &one.alert;
    let severity = match alert.severity {
        Severity::High => 2,
        Severity::Medium => 4,
        Severity::Low => 6,
    };
    let priority = u16::from(settings.facility) * 8 + severity;
    let mut message = format!(
        "<{priority}>1 {} {} xshield - {} [origin software=\"Xshield\" swVersion=\"{}\"] ",
        alert.at.to_rfc3339(),
        hostname(platform),
        alert.kind.as_str(),
        env!("CARGO_PKG_VERSION"),
    );
    message.push_str(&match settings.format {
        SyslogFormat::Cef => cef::line(alert, one.id),
        // A truncated JSON text would be invalid.
        SyslogFormat::Ocsf => ocsf::text(alert, one.id, MAX_MESSAGE.saturating_sub(message.len())),
    });
    if message.len() > MAX_MESSAGE {
        let at = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(at);
    }
    message
}

/// HOSTNAME: printable ASCII, 255 characters at most.
fn hostname(platform: &str) -> String {
    let host = platform.strip_prefix("https://").unwrap_or(platform);
    let host = host.strip_prefix('[').map_or_else(
        || host.split(':').next().unwrap_or(host),
        |six| six.split(']').next().unwrap_or(six),
    );
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    if host.is_empty() { "-".to_owned() } else { host }
}
