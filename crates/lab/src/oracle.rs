//! The expected result of a flow from the policy alone: the compiler's rulesets of both ends, evaluated by
//! `decide`, the specification that the kernel is tested against.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use xshield_policy::document::Policy;
use xshield_policy::facts::Listener;
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::packet::Transport;
use xshield_policy::{
    AssetId, Bound, Compiler, Direction, Facts, Packet, ProcessMatch, Protocol, Revision, Verdict,
    decide,
};

use crate::lab::Lab;
use crate::matrix::{Expectation, Family, Flow};
use crate::probe::Port;
use crate::service::Service;

/// The bound rulesets of a lab's assets under one policy.
#[derive(Debug)]
pub struct Oracle {
    hosts: BTreeMap<String, OracleHost>,
}

#[derive(Debug)]
struct OracleHost {
    addresses: [IpAddr; 2],
    bound: Bound,
}

/// What the oracle needs to know of a host besides its addresses.
#[derive(Debug, Clone)]
pub struct Described<'a> {
    /// Host and asset name.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
}

impl Oracle {
    /// Compiles and binds for every described host. All of them run `services`.
    ///
    /// # Errors
    /// When a host is missing in the lab, a tag is malformed, or the policy does not compile.
    pub fn new(
        lab: &Lab,
        policy: &Policy,
        hosts: &[Described<'_>],
        services: &[Service],
        platform: &[SocketAddr],
    ) -> Result<Self> {
        let assets: Result<Vec<Asset>> = hosts.iter().map(|host| asset(lab, host)).collect();
        let inventory = Inventory { assets: assets? };
        let compiler = Compiler::new(policy, &inventory, Revision(1), platform);
        let facts = facts(services, platform)?;
        let bound = inventory.assets.iter().map(|asset| {
            let ruleset = compiler.ruleset(&asset.id)?;
            let (bound, _) = ruleset.bind(&facts);
            let name = asset.name.to_string();
            let addresses = lab.host(&name)?.addresses();
            Ok((name, OracleHost { addresses, bound }))
        });
        Ok(Self { hosts: bound.collect::<Result<_>>()? })
    }

    /// The expected result of a flow between two hosts; a host that was not described lets everything pass.
    #[must_use]
    pub fn expect(&self, flow: &Flow) -> Expectation {
        let ends = [
            (&flow.from, &flow.to, Direction::Outbound),
            (&flow.to, &flow.from, Direction::Inbound),
        ];
        let mut reasons = Vec::new();
        for (at, peer, direction) in ends {
            let (Some(host), Some(peer)) = (self.hosts.get(at), self.hosts.get(peer)) else {
                continue;
            };
            let address = match flow.family {
                Family::V4 => peer.addresses[0],
                Family::V6 => peer.addresses[1],
            };
            let decision = decide(&host.bound, &first_packet(direction, address, flow.port));
            let reason = format!("{direction} at {at}: {:?}", decision.reason);
            if decision.verdict == Verdict::Deny {
                return Expectation::drops(&reason);
            }
            reasons.push(reason);
        }
        Expectation::passes(&reasons.join(", "))
    }
}

fn asset(lab: &Lab, host: &Described<'_>) -> Result<Asset> {
    let tags = host.tags.iter().map(|(key, value)| Ok((key.parse()?, value.parse()?)));
    Ok(Asset {
        id: host.name.parse::<AssetId>()?,
        name: host.name.parse()?,
        tags: tags
            .collect::<Result<_>>()
            .with_context(|| format!("a tag of host {} is malformed", host.name))?,
        addresses: lab.host(host.name)?.addresses().to_vec(),
        os: "lab".to_owned(),
        source: Source::Spark,
    })
}

fn facts(services: &[Service], platform: &[SocketAddr]) -> Result<Facts> {
    let mut facts = Facts { endpoints: platform.to_vec(), ..Facts::default() };
    for service in services {
        let process = ProcessMatch::try_from(service.process.to_owned())?;
        let tcp = service.tcp.iter().map(|&port| Listener { protocol: Protocol::Tcp, port });
        let udp = service.udp.iter().map(|&port| Listener { protocol: Protocol::Udp, port });
        facts.listeners.entry(process.into()).or_default().extend(tcp.chain(udp));
    }
    Ok(facts)
}

/// The first packet of a probe's flow. No rule names its source port.
#[must_use]
pub fn first_packet(direction: Direction, peer: IpAddr, port: Port) -> Packet {
    const EPHEMERAL: u16 = 50_000;
    let transport = match (port, peer) {
        (Port::Tcp(port), _) => Transport::Tcp(EPHEMERAL, port),
        (Port::Udp(port), _) => Transport::Udp(EPHEMERAL, port),
        (Port::Ping, IpAddr::V4(_)) => Transport::Icmp(8),
        (Port::Ping, IpAddr::V6(_)) => Transport::Icmp(128),
    };
    Packet { direction, peer, local: None, transport, loopback: false, owners: Vec::new() }
}
