//! The access log of a server behind proxies, as it is sent to the platform.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_threat::Prefix;
use xshield_threat::access_log::{Header, LogFormat};
use xshield_wire::Bytes;

/// What is read of an access log: requests added up, or its lines.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The server whose log it is: an asset's name or id.
    pub asset: String,
    /// 16 bytes, base64: a batch that comes again is counted once.
    #[schema(value_type = String)]
    pub batch: Bytes<16>,
    /// The port at which the server listens, when that is known.
    #[serde(default)]
    pub port: u16,
    /// Requests, added up.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// Or lines of the log, and how to read them.
    #[serde(default)]
    pub lines: Option<Lines>,
}

/// Requests of one client through one proxy.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Who asked.
    #[schema(value_type = String)]
    pub client: IpAddr,
    /// The proxy next to the client.
    #[schema(value_type = String)]
    pub via: IpAddr,
    /// How often.
    pub requests: u64,
    /// When first.
    pub first_seen: Timestamp,
    /// When last.
    pub last_seen: Timestamp,
    /// One of them, as a sample.
    #[serde(default)]
    pub request: Option<String>,
}

/// Lines of a log.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// `combined`, `json`, `haproxy` or `envoy`.
    #[schema(value_type = String)]
    pub format: LogFormat,
    /// The header that the trusted proxies append to: `x-forwarded-for`, `forwarded`, `x-real-ip`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub header: Header,
    /// Addresses and prefixes of the proxies that are believed.
    #[schema(value_type = Vec<String>)]
    pub trusted: Vec<Prefix>,
    /// The lines, without their ends.
    pub text: Vec<String>,
}

/// A line that tells nothing.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct RefusedLine {
    /// From 1.
    pub line: usize,
    pub reason: String,
    pub text: String,
}

/// What became of a batch.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Taken {
    /// Whether the batch was new; otherwise nothing of it was counted again.
    pub counted: bool,
    /// Requests that were looked at.
    pub requests: u64,
    /// Requests of listed clients behind proxies: each client raised a `Malicious IP Match (via
    /// proxy)`, which the host's firewall can't block.
    pub matched: u64,
    /// Requests of clients that spoke to the server directly: the host's firewall sees those itself.
    pub direct: u64,
    /// Lines that tell nothing.
    pub refused: u64,
    /// The first of them.
    pub samples: Vec<RefusedLine>,
}
