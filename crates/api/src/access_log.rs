//! The access log of a server behind proxies, as it is sent to the platform.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_threat::Prefix;
use xshield_threat::access_log::{Header, LogFormat};
use xshield_wire::Bytes;

/// Content of an access log: aggregated requests, or its lines.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The server whose log it is: an asset's name or id.
    pub asset: String,
    /// 16 bytes, base64: a repeated batch is counted once.
    #[schema(value_type = String)]
    pub batch: Bytes<16>,
    /// The port on which the server listens, if known.
    #[serde(default)]
    pub port: u16,
    /// Aggregated requests.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// Or lines of the log, and how to parse them.
    #[serde(default)]
    pub lines: Option<Lines>,
}

/// Requests of one client through one proxy.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The client.
    #[schema(value_type = String)]
    pub client: IpAddr,
    /// The proxy next to the client.
    #[schema(value_type = String)]
    pub via: IpAddr,
    /// The number of requests.
    pub requests: u64,
    /// The first request.
    pub first_seen: Timestamp,
    /// The last request.
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
    /// Addresses and prefixes of the trusted proxies.
    #[schema(value_type = Vec<String>)]
    pub trusted: Vec<Prefix>,
    /// The lines, without their ends.
    pub text: Vec<String>,
}

/// A rejected line.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct RefusedLine {
    /// From 1.
    pub line: usize,
    pub reason: String,
    pub text: String,
}

/// The result for a batch.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Taken {
    /// Whether the batch was new; otherwise nothing was counted again.
    pub counted: bool,
    /// The number of requests examined.
    pub requests: u64,
    /// Requests of listed clients behind proxies: each client raised a `Malicious IP Match (via
    /// proxy)`, which the host's firewall can't block.
    pub matched: u64,
    /// Requests of clients that connected to the server directly: the host's firewall sees those itself.
    pub direct: u64,
    /// The number of rejected lines.
    pub refused: u64,
    /// The first of them.
    pub samples: Vec<RefusedLine>,
}
