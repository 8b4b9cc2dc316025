//! What platform and host say to each other about threat lists.
//!
//! | request | answer | authenticated by |
//! |---|---|---|
//! | `GET /host/v1/threat/order` | [`ThreatOrder`] in an envelope | session; the envelope by the pinned policy key |
//! | `GET /host/v1/threat/path?from=DIGEST` | [`ThreatPath`]: the cheapest files to the list of the order | session |
//! | `GET /host/v1/threat/files/DIGEST` | a file, by the SHA-256 of its bytes | by what it yields, see below |
//!
//! Files need no signature of their own and no session, so that any HTTP cache may keep them for
//! good: whoever follows a path ends at a list whose digest is in the signed order, or refuses it.
//! Digests are 64 lower-case hexadecimal digits in paths and base64 in messages.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Direction, Protocol, RuleId};
use xshield_threat::ThreatMode;

use crate::message::{Digest, EventSource, UnixSeconds};

/// What one host must do about threats, at one time. Signed, for this host alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatOrder {
    /// For whom.
    pub asset: AssetId,
    /// Grows with every order for this host; an older one is refused.
    pub sequence: u64,
    /// For flows that peers open.
    pub inbound: ThreatMode,
    /// For flows that this host opens.
    pub outbound: ThreatMode,
    /// Which list; `None` when there is none yet: then what is in force is taken out.
    pub list: Option<ListName>,
    /// Seconds between two comparisons of the kernel's list, entry by entry, with the list ordered;
    /// 0 never.
    pub verify_every: u32,
}

/// A list, or its most confident part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListName {
    /// The platform's threat revision that it belongs to.
    pub revision: u64,
    /// Digest of its normal form ([`xshield_threat::ThreatSet::digest`]).
    pub digest: Digest,
    /// Prefixes of its normal form.
    pub entries: u64,
    /// Entries below this confidence (percent) are left out; 0 for a whole list.
    pub least_confidence: u8,
    /// Prefixes of the whole list at this revision: more than `entries` when only a part fits the
    /// host's memory budget.
    pub whole_entries: u64,
}

impl ListName {
    /// Whether entries were left out for want of memory.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.least_confidence > 0
    }
}

/// What a check-in's answer says about threats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatWanted {
    /// The order's number.
    pub sequence: u64,
    /// The order's payload's digest: fetched when the host holds another one.
    pub order: Digest,
}

/// How a host stands about threats, in its check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatStanding {
    /// The order that is carried out, or was tried last.
    pub order: Option<ThreatWanted>,
    /// The list in the kernel, as the kernel names it.
    pub list: Option<ListName>,
    /// As in the kernel.
    pub inbound: ThreatMode,
    /// As in the kernel.
    pub outbound: ThreatMode,
    /// Elements in the kernel's sets.
    pub elements: u64,
    /// When the kernel's list was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// The host's memory in bytes, for the budget.
    pub memory: u64,
    /// The budget in bytes of the host's own configuration, when it sets one.
    pub budget: Option<u64>,
    /// Why the order is not carried out, when it is not.
    pub failure: Option<String>,
}

/// The files that lead to the ordered list, to be applied in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatPath {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// Empty when the host is there already.
    pub files: Vec<ThreatFile>,
}

/// A file of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatFile {
    /// What it is.
    pub kind: ThreatFileKind,
    /// SHA-256 of its bytes: its name under `/host/v1/threat/files/`.
    pub sha256: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// Digest of the list it yields.
    pub to: Digest,
}

/// What a file is, see [`xshield_threat::codec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThreatFileKind {
    /// A whole list.
    Snapshot,
    /// A change of the list that the path has come to.
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
    /// What became of it.
    pub action: ThreatAction,
    /// Who opened the flow.
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
    /// The rule that would have allowed the flow; `None`: no rule, the level does or nothing does.
    pub rule: Option<RuleId>,
    /// Whether policy would have let it pass.
    pub policy: PolicyVerdict,
    /// The local program, when known.
    pub process: Option<String>,
    /// The local service (systemd unit), when known.
    pub service: Option<String>,
    /// Packets since the last batch.
    pub packets: u64,
    /// Bytes since the last batch.
    pub bytes: u64,
    /// First seen; of what the recorder counted: not before this time, the end of the previous run.
    pub first_seen: UnixSeconds,
    /// Last seen; at the latest, where the host slept since.
    pub last_seen: UnixSeconds,
    /// Where it was read.
    pub from: EventSource,
    /// Revision of the list in force when it was read.
    pub revision: u64,
}

/// What became of a flow with a listed peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreatAction {
    /// Dropped.
    Blocked,
    /// Only recorded; the policy judged it.
    Recorded,
}

/// What policy alone would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyVerdict {
    /// Let it pass.
    Allowed,
    /// Denied it, too.
    Denied,
    /// There is no policy on the host.
    NoPolicy,
}
