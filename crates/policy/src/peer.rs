//! Peers in their text form: `segment:web`, `10.0.0.0/8`, `domain:repo.example.com`, `internet`.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::names::{DomainName, Name};

/// A peer of a rule in a template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PeerRef {
    /// Every address.
    Any,
    /// Private ranges and the named networks marked intranet.
    Intranet,
    /// Everything that is not intranet.
    Internet,
    /// The assets of a segment.
    Segment(Name),
    /// One asset, by name.
    Asset(Name),
    /// A named network.
    Network(Name),
    /// A domain, resolved on the host.
    Domain(DomainName),
    /// Addresses.
    Net(IpNet),
}

/// Why a peer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a peer: {reason} (examples: segment:web, asset:db-1, network:office, \
     domain:repo.example.com, 10.0.0.0/8, any, intranet, internet)"
)]
pub struct PeerError {
    text: String,
    reason: String,
}

impl FromStr for PeerRef {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let refuse = |reason: String| PeerError { text: text.to_owned(), reason };
        match text {
            "any" => return Ok(Self::Any),
            "intranet" => return Ok(Self::Intranet),
            "internet" => return Ok(Self::Internet),
            _ => {}
        }
        let name = |rest: &str| rest.parse::<Name>().map_err(|error| refuse(error.to_string()));
        if let Some(rest) = text.strip_prefix("segment:") {
            return name(rest).map(Self::Segment);
        }
        if let Some(rest) = text.strip_prefix("asset:") {
            return name(rest).map(Self::Asset);
        }
        if let Some(rest) = text.strip_prefix("network:") {
            return name(rest).map(Self::Network);
        }
        if let Some(rest) = text.strip_prefix("domain:") {
            let domain = rest.parse::<DomainName>().map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::Domain(domain));
        }
        parse_net(text).map(Self::Net).map_err(refuse)
    }
}

/// Parses an address or a prefix. A prefix with host bits is refused.
///
/// # Errors
/// The reason, if the text is neither, or if the prefix has host bits set.
pub fn parse_net(text: &str) -> Result<IpNet, String> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => text
            .parse::<std::net::IpAddr>()
            .map(IpNet::from)
            .map_err(|_| "neither a keyword nor an address or prefix".to_owned())?,
    };
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("the prefix has host bits set, did you mean {}?", net.trunc()))
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Intranet => f.write_str("intranet"),
            Self::Internet => f.write_str("internet"),
            Self::Segment(name) => write!(f, "segment:{name}"),
            Self::Asset(name) => write!(f, "asset:{name}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Domain(name) => write!(f, "domain:{name}"),
            Self::Net(net) => write!(f, "{net}"),
        }
    }
}

impl TryFrom<String> for PeerRef {
    type Error = PeerError;

    fn try_from(text: String) -> Result<Self, PeerError> {
        text.parse()
    }
}

impl From<PeerRef> for String {
    fn from(peer: PeerRef) -> String {
        peer.to_string()
    }
}
