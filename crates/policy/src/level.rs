//! Direction, level and mode: how far an asset is closed, and whether that is enforced.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The direction of a flow as seen from the asset, determined by its opener and not by the sender of a
/// packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Opened by a peer towards this asset.
    Inbound,
    /// Opened by this asset towards a peer.
    Outbound,
}

impl Direction {
    /// Both, in the order in which reports list them.
    pub const BOTH: [Self; 2] = [Self::Inbound, Self::Outbound];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// How far inbound traffic is closed. Ordered from open to closed.
///
/// | level | denied unless allowed | allowed by |
/// |---|---|---|
/// | `unsecured` | nothing | |
/// | `secure-internet-ports` | flows from the internet | port rules, inbound path rules |
/// | `secure-all-ports` | every inbound flow | port rules, inbound path rules |
/// | `secure-inbound-paths` | every inbound flow | inbound path rules only |
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum InboundLevel {
    /// Traffic without a matching rule is allowed.
    #[default]
    Unsecured,
    /// Ports are closed to the internet unless a rule opens them.
    SecureInternetPorts,
    /// Ports are closed to everyone unless a rule opens them.
    SecureAllPorts,
    /// Only named paths exist; port rules have no effect.
    SecureInboundPaths,
}

/// How far outbound traffic is closed. Ordered from open to closed.
///
/// | level | denied unless allowed | allowed by |
/// |---|---|---|
/// | `unsecured` | nothing | |
/// | `secure-internet-paths` | flows to the internet | outbound path rules |
/// | `secure-intranet-paths` | every outbound flow | outbound path rules |
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum OutboundLevel {
    /// Traffic without a matching rule is allowed.
    #[default]
    Unsecured,
    /// Flows to the internet are denied unless a rule allows them.
    SecureInternetPaths,
    /// Every flow is denied unless a rule allows it.
    SecureIntranetPaths,
}

/// Which flows of one direction are denied unless a rule allows them.
///
/// The default is [`Subject::Everything`], so that a host without this value denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// No flow (`unsecured`).
    Nothing,
    /// Flows whose peer is outside the intranet.
    Internet,
    /// Every flow.
    #[default]
    Everything,
}

impl InboundLevel {
    /// Which flows this level denies unless a rule allows them.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::Unsecured => Subject::Nothing,
            Self::SecureInternetPorts => Subject::Internet,
            Self::SecureAllPorts | Self::SecureInboundPaths => Subject::Everything,
        }
    }
}

impl fmt::Display for InboundLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsecured => "unsecured",
            Self::SecureInternetPorts => "secure-internet-ports",
            Self::SecureAllPorts => "secure-all-ports",
            Self::SecureInboundPaths => "secure-inbound-paths",
        })
    }
}

impl fmt::Display for OutboundLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsecured => "unsecured",
            Self::SecureInternetPaths => "secure-internet-paths",
            Self::SecureIntranetPaths => "secure-intranet-paths",
        })
    }
}

impl OutboundLevel {
    /// Which flows this level denies unless a rule allows them.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::Unsecured => Subject::Nothing,
            Self::SecureInternetPaths => Subject::Internet,
            Self::SecureIntranetPaths => Subject::Everything,
        }
    }
}

/// Whether a denial drops the packet or is only recorded. Ordered: enforcing is stricter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Would-be denials are recorded; nothing is dropped.
    Test,
    /// Denied packets are dropped and recorded.
    #[default]
    Enforce,
}
