//! What only the host knows when a ruleset is bound: plain data, gathered by the host program.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::bind::Owner;
use crate::forward::Interfaces;
use crate::names::DomainName;
use crate::program::LocalProgram;
use crate::service::{Protocol, Service};

/// The host's answers. Empty facts bind to rules that match nothing, never to rules that match
/// everything; the exception is [`Facts::resolvers`], see there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Addresses of the platform and of the configured proxies, as this host reaches them.
    pub endpoints: Vec<SocketAddr>,
    /// The DNS servers this host asks. When none is known, DNS to any server is failsafe.
    pub resolvers: Vec<IpAddr>,
    /// The time servers this host is configured with. Other than with DNS, none is none.
    #[serde(default)]
    pub time_servers: TimeServers,
    /// What each domain of the ruleset resolves to. A domain that is missing or empty matches nothing.
    pub domains: BTreeMap<DomainName, Vec<IpAddr>>,
    /// Which ports each program of an inbound rule listens on, as services to open.
    pub listeners: BTreeMap<LocalProgram, Vec<Listener>>,
    /// The programs of inbound rules that this host can't recognise at all, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<LocalProgram, String>,
    /// How each program of an outbound rule is recognised in the kernel, or why it can't be.
    #[serde(deserialize_with = "owners_of_any_version")]
    pub owners: BTreeMap<LocalProgram, Owners>,
    /// Where forwarded packets come from, for rulesets that judge any.
    #[serde(default)]
    pub interfaces: Interfaces,
}

/// The owners that stand for a program together, one at least; or why none does.
pub type Owners = Result<Vec<Owner>, String>;

/// Hosts store facts, and those of earlier versions knew one owner of each program.
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

/// Where the time servers of a host are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeServers {
    /// All of them: NTP (RFC 5905).
    pub ntp: Vec<IpAddr>,
    /// Those from which the host gets keys first: NTS (RFC 8915).
    pub nts: Vec<IpAddr>,
}

/// A port that a program listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The local port.
    pub port: u16,
}

impl Listener {
    /// Whether `service` covers the listener.
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
