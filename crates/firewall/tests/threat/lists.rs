//! Lists, and operations on them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use xshield_firewall::plan::Digest;
use xshield_firewall::threat::{Counts, ListName, Posture, ThreatMode, ThreatTable};
use xshield_policy::{AddressMatch, BoundFailsafe, RangeSet};

pub(crate) fn nets(texts: &[&str]) -> Vec<IpNet> {
    let parse =
        |text: &&str| text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    texts.iter().map(|text| parse(text).unwrap()).collect()
}

/// A name for these entries; tests distinguish lists by revision.
pub(crate) fn name(revision: u64, entries: &[IpNet]) -> ListName {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&revision.to_be_bytes());
    let counts = Counts::count(entries.iter().copied());
    ListName { revision, digest: Digest(digest), counts }
}

/// Without any failsafe except the fixed one.
pub(crate) fn posture(inbound: ThreatMode, outbound: ThreatMode) -> Posture {
    let failsafe = BoundFailsafe {
        endpoints: Vec::new(),
        resolvers: AddressMatch::Only(RangeSet::empty()),
        time_servers: xshield_policy::RangeSet::empty(),
        time_key_servers: xshield_policy::RangeSet::empty(),
        management: Vec::new(),
        served: Vec::new(),
    };
    Posture { inbound, outbound, failsafe, live: None }
}

pub(crate) fn block() -> Posture {
    posture(ThreatMode::Block, ThreatMode::Block)
}

/// Opens the table of this namespace with a list in force.
pub(crate) fn loaded(revision: u64, entries: &[IpNet], posture: &Posture) -> ThreatTable {
    let mut table = ThreatTable::open().unwrap();
    table.load(&name(revision, entries), posture, entries.iter().copied()).unwrap();
    table
}

/// Changes from one list to another by their difference.
pub(crate) fn delta(
    table: &mut ThreatTable,
    (from, old): (u64, &[IpNet]),
    (to, new): (u64, &[IpNet]),
    posture: &Posture,
) -> Result<(), xshield_firewall::threat::ThreatError> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
    let adds: Vec<IpNet> = after.difference(&before).map(|net| **net).collect();
    let removes: Vec<IpNet> = before.difference(&after).map(|net| **net).collect();
    table.apply_delta(name(from, old).digest, &name(to, new), &adds, &removes, posture)
}

/// Many addresses and some prefixes of both families, all disjoint; the same for the same seed.
pub(crate) fn many(count: u32, seed: u32) -> Vec<IpNet> {
    let mut entries = Vec::new();
    for n in 0..count {
        // An odd factor visits every number once.
        let address = n.wrapping_add(seed).wrapping_mul(0x9e37_79b1) & 0x7fff_ffff;
        entries.push(IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from(address))));
    }
    for n in 0..count / 100 {
        let net = Ipv4Addr::from(0x8000_0000 | (n + seed) << 12);
        entries.push(Ipv4Net::new(net, 22).unwrap().into());
        let host = Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n + seed) << 64 | 1);
        entries.push(IpNet::from(std::net::IpAddr::V6(host)));
    }
    entries
}
