//! Traffic with listed peers.

use serde::{Deserialize, Serialize};
use xshield_threat::{Confidence, FeedId, Prefix};

/// The source of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// The kernel's flow-recorder sets: exact.
    Recorder,
    /// A line of the kernel's log: rate-limited.
    KernelLog,
    /// An event of Windows' Security log.
    SecurityLog,
    /// Sent by an agent in real time; not counted.
    Live,
    /// The access log of a server behind a proxy.
    AccessLog,
}

/// A feed that lists an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListedBy {
    /// The feed.
    #[schema(value_type = String)]
    pub feed: FeedId,
    /// Its entry.
    #[schema(value_type = String)]
    pub entry: Prefix,
    /// Its confidence, in percent.
    #[schema(value_type = u8)]
    pub confidence: Confidence,
}

/// A filter for matches behind proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ViaProxy {
    /// Only those.
    Only,
    /// None of those.
    Never,
}
