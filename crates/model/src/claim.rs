//! Claims: what a host reports about itself that the platform does not accept automatically.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::Name;

use crate::timestamp::Timestamp;

/// A fact that a host reports about itself and that policy uses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// It has another name.
    Name(Name),
    /// It has an address.
    Address(IpAddr),
    /// It no longer has an address.
    Gone(IpAddr),
    /// It has another operating system.
    Os(String),
    /// Another program reports for it.
    Source(Source),
}

impl Fact {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Address(_) => "address",
            Self::Gone(_) => "address-gone",
            Self::Os(_) => "os",
            Self::Source(_) => "source",
        }
    }

    /// What is claimed.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Address(address) | Self::Gone(address) => address.to_string(),
            Self::Os(os) => os.clone(),
            Self::Source(source) => source_word(*source).to_owned(),
        }
    }

    /// The fact of this kind and value, if valid.
    #[must_use]
    pub fn of(kind: &str, value: &str) -> Option<Self> {
        Some(match kind {
            "name" => Self::Name(value.parse().ok()?),
            "address" => Self::Address(value.parse().ok()?),
            "address-gone" => Self::Gone(value.parse().ok()?),
            "os" => Self::Os(value.to_owned()),
            "source" => Self::Source(match value {
                "agent" => Source::Agent,
                "spark" => Source::Spark,
                "edr" => Source::Edr,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

fn source_word(source: Source) -> &'static str {
    match source {
        Source::Agent => "agent",
        Source::Spark => "spark",
        Source::Edr => "edr",
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.value())
    }
}

/// The state of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ClaimStanding)]
pub enum ClaimStanding {
    /// An operator has not decided.
    Waiting,
    /// An operator has accepted it: it applies as long as the host reports it.
    Accepted,
    /// An operator has rejected it: it does not apply, whatever the host reports.
    Refused,
}

/// Why a claim is not accepted automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The host has another name than the asset.
    Renamed,
    /// The host has another name than the asset, and policy refers to an asset of that name.
    NameInPolicy,
    /// The host has the name of another asset.
    NameTaken,
    /// The address is outside the networks in which claims of hosts are accepted, and no check-in of this
    /// host came from it.
    Outside,
    /// Hosts reach the platform at this address.
    Platform,
    /// The settings name this address as a management source.
    Management,
    /// Another asset has this address.
    OtherAsset,
    /// Other hosts claim this address, too, and no check-in of any came from it: typically the bridge of a
    /// container engine, the same on many hosts.
    Shared,
    /// The asset would be in other segments.
    Segments,
}

/// A claim that is not accepted automatically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is claimed.
    pub fact: Fact,
    /// Its state.
    pub standing: ClaimStanding,
    /// Why it is not accepted automatically.
    pub reason: Reason,
    /// The other asset that it is about.
    pub other: Option<AssetId>,
    /// Since when.
    pub since: Timestamp,
}

/// After this many seconds without a check-in, an address that an asset held goes to the host that checks in
/// from it.
pub const SILENT_AFTER: i64 = 2 * 60 * 60;

/// Another asset that holds an address which a host claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The asset.
    pub asset: AssetId,
    /// Whether a check-in of it ever came from this address, or an operator gave it the address.
    pub is_sure: bool,
    /// Whether its last check-in still reported the address.
    pub says_so: bool,
    /// Whether it has not checked in for [`SILENT_AFTER`].
    pub is_silent: bool,
    /// Whether it is decommissioned.
    pub is_out: bool,
}
