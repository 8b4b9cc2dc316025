//! A packet as WFP sees it: the layers at which it is classified, and its fields.

use std::net::IpAddr;

use xshield_policy::packet::Transport;
use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{Direction, Packet};

use super::matching::{Fact, PacketFacts};
use super::names::{FilterField, LOOPBACK, Layer};
use super::program::{LocalProgram, Programs};
use crate::plan::Family;

/// The layers at which the first packet of a flow may be classified, with its known fields.
///
/// The ALE layers see "non-error ICMP messages", the ICMP error layers the rest. Which types count as errors
/// is not documented, so every ICMP message is evaluated in both forms, and policy must hold in both.
#[must_use]
pub fn classifications(packet: &Packet, programs: &Programs) -> Vec<(Layer, PacketFacts)> {
    let family = if packet.peer.is_ipv4() { Family::V4 } else { Family::V6 };
    let (ale, error) = match packet.direction {
        Direction::Inbound => (Layer::RecvAccept(family), Layer::InboundIcmpError(family)),
        Direction::Outbound => (Layer::Connect(family), Layer::OutboundIcmpError(family)),
    };
    let number = |number: u128| Fact::Number(number);
    let mut facts = PacketFacts::default();
    let mut put = |field: FilterField, fact: Fact| facts.0.insert(field, fact);
    put(FilterField::RemoteAddress, number(address(packet.peer)));
    put(
        FilterField::LocalAddress,
        packet.local.map_or(Fact::Empty, |local| number(address(local))),
    );
    put(FilterField::Flags, number(if packet.loopback { LOOPBACK.into() } else { 0 }));
    let (local, remote) = match (packet.transport, packet.transport.ports()) {
        (Transport::Icmp(kind), _) => (number(kind.into()), Fact::Empty),
        (_, None) => (Fact::Empty, Fact::Empty),
        (_, Some((source, destination))) => match packet.direction {
            Direction::Inbound => (number(destination.into()), number(source.into())),
            Direction::Outbound => (number(source.into()), number(destination.into())),
        },
    };
    put(FilterField::LocalPort, local);
    put(FilterField::RemotePort, remote);
    let at_error_layer = facts.clone();
    facts.0.insert(FilterField::Protocol, number(protocol(packet, family).into()));
    let owners = packet.owners.iter().filter_map(|owner| programs.get(owner));
    let app = owners.clone().find_map(LocalProgram::app).cloned();
    facts.0.insert(FilterField::AppId, app.map_or(Fact::Empty, Fact::App));
    let token = owners.filter_map(LocalProgram::identity).cloned().collect();
    facts.0.insert(FilterField::UserId, Fact::Token(token));
    let mut forms = vec![(ale, facts)];
    if matches!(packet.transport, Transport::Icmp(_)) && packet.owners.is_empty() {
        forms.push((error, at_error_layer));
    }
    forms
}

fn protocol(packet: &Packet, family: Family) -> u8 {
    match packet.transport {
        Transport::Tcp(..) => TCP,
        Transport::Udp(..) => UDP,
        Transport::Sctp(..) => SCTP,
        Transport::Icmp(_) => family.icmp(),
        Transport::Other(number) => number,
    }
}

fn address(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}
