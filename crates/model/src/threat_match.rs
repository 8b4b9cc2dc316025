//! What is known of traffic with a listed peer.

use serde::{Deserialize, Serialize};
use xshield_threat::{Confidence, FeedId, Prefix};

/// Where a match was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// The kernel's flow-recorder sets: exact.
    Recorder,
    /// A line of the kernel's log: rate-limited.
    KernelLog,
    /// Told by an agent as it happened; adds nothing to the counts.
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
    /// How sure it is, in percent.
    #[schema(value_type = u8)]
    pub confidence: Confidence,
}

/// Whether matches came through proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ViaProxy {
    /// Only those that did.
    Only,
    /// Only those that did not.
    Never,
}
