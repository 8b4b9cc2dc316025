//! The facts that only the host knows when a ruleset is bound: plain data, collected by the host program.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::bind::Owner;
use crate::forward::Interfaces;
use crate::names::DomainName;
use crate::program::LocalProgram;
use crate::service::{Protocol, Service};

/// The host's facts. Empty facts result in rules that match nothing, never in rules that match everything;
/// the exception is [`Facts::resolvers`], see there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Addresses of the platform and of the configured proxies, as this host resolves them.
    pub endpoints: Vec<SocketAddr>,
    /// The DNS servers that this host uses. If none is known, DNS to any server is failsafe.
    pub resolvers: Vec<IpAddr>,
    /// The configured time servers of this host. Unlike with DNS, if none is known, none is admitted.
    #[serde(default)]
    pub time_servers: TimeServers,
    /// The addresses of each domain in the ruleset. A missing or empty domain matches nothing.
    pub domains: BTreeMap<DomainName, Vec<IpAddr>>,
    /// The ports on which each program of an inbound rule listens.
    pub listeners: BTreeMap<LocalProgram, Vec<Listener>>,
    /// The programs of inbound rules that can't be identified on this host, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<LocalProgram, String>,
    /// How the kernel identifies each program of an outbound rule, or why it can't.
    #[serde(deserialize_with = "owners_of_any_version")]
    pub owners: BTreeMap<LocalProgram, Owners>,
    /// The interfaces, for rulesets that judge forwarded traffic.
    #[serde(default)]
    pub interfaces: Interfaces,
}

/// The owners that together identify a program, at least one; or why there is none.
pub type Owners = Result<Vec<Owner>, String>;

/// Reads facts stored by any version: earlier ones had one owner per program.
fn owners_of_any_version<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<LocalProgram, Owners>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        One(Owner),
        Several(Vec<Owner>),
    }
    let stored: BTreeMap<LocalProgram, Result<Stored, String>> =
        Deserialize::deserialize(deserializer)?;
    let owners = stored.into_iter().map(|(program, owners)| {
        let owners = owners.map(|owners| match owners {
            Stored::One(owner) => vec![owner],
            Stored::Several(owners) => owners,
        });
        (program, owners)
    });
    Ok(owners.collect())
}

/// The addresses of a host's time servers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeServers {
    /// All of them: NTP (RFC 5905).
    pub ntp: Vec<IpAddr>,
    /// Those from which the host fetches keys first: NTS (RFC 8915).
    pub nts: Vec<IpAddr>,
}

/// A port on which a program listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local port.
    pub port: u16,
}

impl Listener {
    /// Whether `service` covers it.
    #[must_use]
    pub fn is_within(self, service: Service) -> bool {
        match (service, self.protocol) {
            (Service::Any, _) => true,
            (Service::Tcp(ports), Protocol::Tcp) | (Service::Udp(ports), Protocol::Udp) => {
                ports.range().contains(self.port)
            }
            _ => false,
        }
    }
}
