//! Messages about threat lists.
//!
//! | request | answer | authenticated by |
//! |---|---|---|
//! | `GET /host/v1/threat/order` | [`ThreatOrder`] in an envelope | session; the envelope by the pinned policy key |
//! | `GET /host/v1/threat/path?from=DIGEST` | [`ThreatPath`]: the smallest files that lead to the ordered list | session |
//! | `GET /host/v1/threat/files/DIGEST` | a file, by the SHA-256 of its bytes | by its result, see below |
//!
//! Files need no signature and no session, so that any HTTP cache may keep them permanently: following a path
//! must result in a list whose digest is in the signed order; otherwise the host refuses it. Digests are 64
//! lower-case hexadecimal digits in paths and base64 in messages.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Direction, Protocol, RuleId};
use xshield_threat::ThreatMode;

use crate::message::{Digest, EventSource, UnixSeconds};

/// The order of one host: its list and modes. Signed for this host only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatOrder {
    /// The asset for which it is.
    pub asset: AssetId,
    /// Increases with every order for this host; an older one is refused.
    pub sequence: u64,
    /// The mode for flows that peers open.
    pub inbound: ThreatMode,
    /// The mode for flows that this host opens.
    pub outbound: ThreatMode,
    /// The list; `None` if there is none: then the list in force is removed.
    pub list: Option<ListName>,
    /// Seconds between two comparisons of the kernel's list, entry by entry, with the ordered list; 0: never.
    pub verify_every: u32,
}

/// A list, or its most confident part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListName {
    /// Its revision on the platform.
    pub revision: u64,
    /// The digest of its normal form ([`xshield_threat::ThreatSet::digest`]).
    pub digest: Digest,
    /// The number of prefixes of its normal form.
    pub entries: u64,
    /// Entries below this confidence (percent) are omitted; 0 for a whole list.
    pub least_confidence: u8,
    /// The number of prefixes of the whole list at this revision: more than `entries` if only a part fits the
    /// host's memory budget.
    pub whole_entries: u64,
}

impl ListName {
    /// Whether entries were omitted because of the memory budget.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.least_confidence > 0
    }
}

/// The wanted order, in the answer to a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatWanted {
    /// The order's sequence number.
    pub sequence: u64,
    /// The digest of the order's payload: the host fetches it if it has another one.
    pub order: Digest,
}

/// The state of a host's threat list, in its check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatStanding {
    /// The order that is carried out, or was last tried.
    pub order: Option<ThreatWanted>,
    /// The list in the kernel.
    pub list: Option<ListName>,
    /// The mode in the kernel.
    pub inbound: ThreatMode,
    /// The mode in the kernel.
    pub outbound: ThreatMode,
    /// Elements in the kernel's sets.
    pub elements: u64,
    /// When the kernel's list was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// The host's memory in bytes, from which its budget is computed.
    pub memory: u64,
    /// The budget in the host's own configuration, in bytes, if it sets one.
    pub budget: Option<u64>,
    /// Why the order is not carried out, if it is not.
    pub failure: Option<String>,
}

/// The files that lead to the ordered list, to be applied in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatPath {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// The files; empty if the host already has the list.
    pub files: Vec<ThreatFile>,
}

/// A file of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatFile {
    /// Its kind.
    pub kind: ThreatFileKind,
    /// SHA-256 of its bytes: its name under `/host/v1/threat/files/`.
    pub sha256: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// The digest of the resulting list.
    pub to: Digest,
}

/// The kind of a file, see [`xshield_threat::codec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThreatFileKind {
    /// A whole list.
    Snapshot,
    /// A change of the list that results from the previous files.
    Delta,
}

/// Matches since the last batch of this kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreatReport {
    /// One per flow key.
    pub matches: Vec<ThreatMatch>,
    /// Matched packets that could not be recorded since the last batch.
    pub lost: u64,
}

/// A flow with a listed peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreatMatch {
    /// What happened to it.
    pub action: ThreatAction,
    /// The direction of the flow.
    pub direction: Direction,
    /// This host's address.
    pub local: IpAddr,
    /// The listed peer.
    pub remote: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port of the flow: the host's when inbound, the peer's when outbound; the type for
    /// ICMP; 0 for other protocols.
    pub port: u16,
    /// The rule that would have allowed the flow; `None`: the level would have, or nothing.
    pub rule: Option<RuleId>,
    /// What the policy alone would have decided.
    pub policy: PolicyVerdict,
    /// The local program, if known.
    pub process: Option<String>,
    /// The local service (systemd unit), if known.
    pub service: Option<String>,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
    /// When it was first seen; from the recorder: not before this time, the end of the previous run.
    pub first_seen: UnixSeconds,
    /// When it was last seen; at the latest, if the host slept since.
    pub last_seen: UnixSeconds,
    /// The source of the match.
    pub from: EventSource,
    /// The revision of the list in force when it was read.
    pub revision: u64,
}

/// What happened to a flow with a listed peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreatAction {
    /// Dropped.
    Blocked,
    /// Only recorded; the policy judged it.
    Recorded,
}

/// What the policy alone would have decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyVerdict {
    /// It would have accepted the flow.
    Allowed,
    /// It would have denied the flow, too.
    Denied,
    /// There is no policy on the host.
    NoPolicy,
}
