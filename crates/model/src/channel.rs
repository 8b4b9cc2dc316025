//! Notification channels, as configured by operators. Secrets are stored separately, sealed.

use serde::{Deserialize, Serialize};
use url::Url;

/// How a channel works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ChannelSettings {
    /// E-mail, by SMTP.
    Mail(MailSettings),
    /// HTTPS POST of signed JSON.
    Webhook(WebhookSettings),
    /// Syslog messages (RFC 5424).
    Syslog(SyslogSettings),
}

/// The payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "as")]
pub enum Payload {
    /// A mail.
    Mail {
        /// Its subject, on one line.
        subject: String,
        /// Its text.
        text: String,
    },
    /// The body of a POST: signatures cover its bytes.
    Webhook {
        /// JSON.
        body: String,
    },
    /// Syslog messages, each complete (RFC 5424).
    Syslog {
        /// The messages.
        messages: Vec<String>,
    },
}

/// The settings of a mail channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailSettings {
    /// The SMTP server's name or address.
    pub host: String,
    /// Its port; by security 587, 465 or 25 when left out.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub security: MailSecurity,
    /// Must be true for `plain`: mail can be read and changed in transit.
    #[serde(default)]
    pub allow_unencrypted: bool,
    /// Whether the receiver may have a private or loopback address; requires the role admin.
    #[serde(default)]
    pub allow_private: bool,
    /// Login (PLAIN or LOGIN); the password is the channel's secret.
    #[serde(default)]
    pub username: Option<String>,
    /// E.g. `Xshield <xshield@example.com>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// The only trusted authorities (PEM) for the server; the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
}

/// How an SMTP connection is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MailSecurity {
    /// It starts unencrypted and must become TLS (RFC 3207), otherwise nothing is sent.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// Not at all.
    Plain,
}

/// The settings of a webhook channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// An `https` URL.
    #[schema(value_type = String)]
    pub url: Url,
    /// The format.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Whether the receiver may have a private or loopback address; requires the role admin.
    #[serde(default)]
    pub allow_private: bool,
    /// The only trusted authorities (PEM) for the server; the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
}

/// The format of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFormat {
    /// Alerts as the API shows them.
    #[default]
    Json,
    /// An array of OCSF Detection Findings.
    Ocsf,
}

/// The settings of a syslog channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// The receiver's name or address.
    pub host: String,
    /// Its port; 6514 for TLS, 514 otherwise, when left out.
    #[serde(default)]
    pub port: Option<u16>,
    /// The transport.
    #[serde(default)]
    pub transport: SyslogTransport,
    /// Must be true for `tcp` and `udp`: messages can be read and changed in transit.
    #[serde(default)]
    pub allow_unencrypted: bool,
    /// Whether the receiver may have a private or loopback address; requires the role admin.
    #[serde(default)]
    pub allow_private: bool,
    /// The format.
    #[serde(default)]
    pub format: SyslogFormat,
    /// Facility, 0 to 23 (RFC 5424, 6.2.1); 16 is local0.
    #[serde(default = "local0")]
    pub facility: u8,
    /// The only trusted authorities (PEM) for the server; the system's otherwise.
    #[serde(default)]
    pub ca: Option<String>,
}

fn local0() -> u8 {
    16
}

/// The transport of syslog messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogTransport {
    /// TLS with octet counting (RFC 5425).
    #[default]
    Tls,
    /// TCP with octet counting (RFC 6587).
    Tcp,
    /// A datagram each (RFC 5426): may be lost unnoticed.
    Udp,
}

/// The format of alerts in syslog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogFormat {
    /// ArcSight Common Event Format.
    #[default]
    Cef,
    /// OCSF Detection Finding, as JSON.
    Ocsf,
}

impl ChannelSettings {
    /// The maximum number of alerts in one delivery. Mail summarizes them; the others carry each.
    #[must_use]
    pub fn alerts_at_once(&self) -> u32 {
        match self {
            Self::Mail(_) => 20_000,
            Self::Webhook(_) | Self::Syslog(_) => 500,
        }
    }
    /// The receiver that gets to see the secret: a secret given for one is not kept for another.
    #[must_use]
    pub fn receiver(&self) -> String {
        match self {
            Self::Mail(mail) => {
                let user = mail.username.as_deref().unwrap_or_default();
                let Security { name, port } = mail.security.usual();
                let ca = mail.ca.as_deref().unwrap_or_default();
                format!("{name} {user}@{}:{} {ca}", mail.host, mail.port.unwrap_or(port))
            }
            // The secret is used for signing; the receiver does not see it.
            Self::Webhook(_) => "webhook".to_owned(),
            Self::Syslog(_) => "syslog".to_owned(),
        }
    }

    /// Whether it may use private addresses and this machine.
    #[must_use]
    pub fn allows_private(&self) -> bool {
        match self {
            Self::Mail(mail) => mail.allow_private,
            Self::Webhook(webhook) => webhook.allow_private,
            Self::Syslog(syslog) => syslog.allow_private,
        }
    }

    /// Where it sends to.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Mail(mail) => format!("mail {}:{}", mail.host, mail.port()),
            Self::Webhook(webhook) => format!("webhook {}", webhook.url),
            Self::Syslog(syslog) => {
                format!("{} {}:{}", syslog.transport.name(), syslog.host, syslog.port())
            }
        }
    }

    /// A summary on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Mail(mail) => {
                let Security { name, port } = mail.security.usual();
                let port = mail.port.unwrap_or(port);
                format!("mail to {} by {}:{port} ({name})", mail.to.join(", "), mail.host)
            }
            Self::Webhook(webhook) => format!("webhook to {}", webhook.url),
            Self::Syslog(syslog) => {
                format!("syslog to {}:{} ({})", syslog.host, syslog.port(), syslog.transport.name())
            }
        }
    }
}

/// Name and default port of an SMTP security mode.
struct Security {
    name: &'static str,
    port: u16,
}

impl MailSecurity {
    fn usual(self) -> Security {
        match self {
            Self::Starttls => Security { name: "starttls", port: 587 },
            Self::Tls => Security { name: "tls", port: 465 },
            Self::Plain => Security { name: "plain", port: 25 },
        }
    }
}

impl SyslogTransport {
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl MailSettings {
    /// The port that is connected to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.security.usual().port)
    }
}

impl SyslogSettings {
    /// The port that is connected to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.transport == SyslogTransport::Tls { 6514 } else { 514 })
    }
}
