//! The content of an alert. Stored as JSON in the database, and sent as such by webhooks.

use serde::{Deserialize, Serialize};
use xshield_policy::protocol::SCTP;
use xshield_policy::{Direction, Protocol};
use xshield_threat::{Confidence, Prefix};
use xshield_wire::threat::{PolicyVerdict, ThreatAction};

use crate::threat_match::{ListedBy, ReadFrom};
use crate::timestamp::Timestamp;

/// The name of the event, in every view and payload.
pub const NAME: &str = "Malicious IP Match";
/// Its name when the peer came through a proxy.
pub const NAME_VIA_PROXY: &str = "Malicious IP Match (via proxy)";

/// The subject of an alert, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// Traffic with a listed peer.
    ThreatMatch,
    /// A feed whose last fetch is too old.
    FeedStale,
    /// A feed with a held listing.
    FeedHeld,
    /// A host that could not record matches.
    RecorderLosses,
    /// A test of a channel.
    Test,
}

impl AlertKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ThreatMatch => "threat-match",
            Self::FeedStale => "feed-stale",
            Self::FeedHeld => "feed-held",
            Self::RecorderLosses => "recorder-losses",
            Self::Test => "test",
        }
    }
}

/// The severity.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Informational.
    Low,
    /// It was blocked, or something needs attention.
    Medium,
    /// The peer got through.
    High,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// Its name, e.g. `Malicious IP Match`.
    pub name: String,
    /// The same, for programs.
    pub kind: AlertKind,
    /// The severity.
    pub severity: Severity,
    /// The rule that raised it.
    pub rule: String,
    /// When.
    pub at: Timestamp,
    /// A summary on one line.
    pub summary: String,
    /// The number of similar alerts withheld since the last one.
    pub withheld: u64,
    /// The count that reached a rule's threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// The traffic that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventView>,
}

/// Traffic with a listed peer, aggregated over all reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventView {
    /// Its number.
    pub id: i64,
    /// `Malicious IP Match`, or `Malicious IP Match (via proxy)`.
    pub name: String,
    /// The asset's name.
    pub asset: String,
    /// The asset's id.
    pub asset_id: String,
    /// `blocked`, or `recorded`: let through to the policy.
    #[schema(value_type = String)]
    pub action: ThreatAction,
    /// Whether the asset's own firewall can block it: not behind a proxy, where it only sees the proxy's
    /// address.
    pub blockable_at_host: bool,
    /// Who opened the flow.
    #[schema(value_type = String)]
    pub direction: Direction,
    /// The listed peer.
    #[schema(value_type = String)]
    pub remote: std::net::IpAddr,
    /// The asset's address; `null` behind a proxy.
    #[schema(value_type = Option<String>)]
    pub local: Option<std::net::IpAddr>,
    /// `tcp`, `udp`, `icmp` or a number.
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// Destination port; the type for ICMP; 0 if unknown.
    pub port: u16,
    /// The local program.
    pub process: Option<String>,
    /// The local service.
    pub service: Option<String>,
    /// The rule that would have allowed it; `null`: none.
    pub rule: Option<String>,
    /// What policy alone would have done: `allowed`, `denied`, `no-policy`.
    #[schema(value_type = Option<String>)]
    pub policy: Option<PolicyVerdict>,
    /// The proxy that the peer came through.
    #[schema(value_type = Option<String>)]
    pub via: Option<std::net::IpAddr>,
    /// A request of the peer, as a sample.
    pub request: Option<String>,
    /// The list's entry at that revision.
    #[schema(value_type = Option<String>)]
    pub entry: Option<Prefix>,
    /// The highest confidence of a feed at that revision, in percent; `null` if unknown.
    #[schema(value_type = Option<u8>)]
    pub confidence: Option<Confidence>,
    /// The feeds that listed the peer at that revision.
    pub feeds: Vec<ListedBy>,
    /// Revision of the list that the host had.
    pub revision: u64,
    /// Packets; requests behind a proxy.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// The number of reports about it.
    pub reports: u64,
    /// First seen; with `from` the recorder: not before this time, which is that of the previous reading.
    pub first_seen: Timestamp,
    /// Last seen; an upper bound if the host was suspended since.
    pub last_seen: Timestamp,
    /// The source.
    pub from: ReadFrom,
}

/// What is known about the first occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSeen {
    /// The exact time.
    At(Timestamp),
    /// At some time after this.
    Since(Timestamp),
}

impl EventView {
    /// The severity: what reached a program is worse than what was dropped.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match (self.action, self.policy) {
            (ThreatAction::Blocked, _) => Severity::Medium,
            (ThreatAction::Recorded, Some(PolicyVerdict::Denied)) => Severity::Medium,
            (ThreatAction::Recorded, _) => Severity::High,
        }
    }

    /// What is known about the first occurrence: the recorder counts, and is read at intervals.
    #[must_use]
    pub fn first_seen(&self) -> FirstSeen {
        match self.from {
            ReadFrom::Recorder => FirstSeen::Since(self.first_seen),
            ReadFrom::KernelLog | ReadFrom::SecurityLog | ReadFrom::Live | ReadFrom::AccessLog => {
                FirstSeen::At(self.first_seen)
            }
        }
    }

    /// The destination port, if the protocol has ports and it is known.
    #[must_use]
    pub fn destination_port(&self) -> Option<u16> {
        let has_ports =
            matches!(self.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Other(SCTP));
        Some(self.port).filter(|port| has_ports && *port != 0)
    }

    /// The distinct names of the feeds.
    #[must_use]
    pub fn feed_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for listed in &self.feeds {
            if !names.contains(&listed.feed.as_str()) {
                names.push(listed.feed.as_str());
            }
        }
        names
    }

    /// A summary on one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let what = match (self.action, self.via) {
            (_, Some(_)) => "recorded, not blockable at the host",
            (ThreatAction::Blocked, None) => "blocked",
            (ThreatAction::Recorded, None) => "recorded, not blocked",
        };
        let (arrow, port) = match self.direction {
            Direction::Inbound => ("from", "local port"),
            Direction::Outbound => ("to", "port"),
        };
        let mut text = format!("{}: {} {arrow} {}", self.name, self.asset, self.remote);
        if let Some(via) = self.via {
            text.push_str(&format!(" via proxy {via}"));
        }
        text.push_str(&format!(", {}", self.protocol));
        if let Some(number) = self.destination_port() {
            text.push_str(&format!(" {port} {number}"));
        }
        if let Some(process) = &self.process {
            text.push_str(&format!(", process {process}"));
        }
        if let Some(service) = &self.service {
            text.push_str(&format!(", service {service}"));
        }
        let feeds = self.feed_names();
        if !feeds.is_empty() {
            text.push_str(&format!(", listed by {}", feeds.join(", ")));
        }
        if let Some(confidence) = self.confidence {
            text.push_str(&format!(" ({confidence})"));
        }
        text.push_str(&format!(", {what}"));
        text
    }
}
