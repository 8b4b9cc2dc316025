//! Packets at the corners of what filters match, and of the intersections of two filters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xshield_policy::packet::Transport;
use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{Direction, Packet};

use super::model::{Filter, MatchType, Value};
use super::names::{FilterField, LOOPBACK, Layer};
use crate::plan::Family;

/// Values of some fields.
pub(super) type Corner = BTreeMap<FilterField, u128>;

/// The first and the last values of the same fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Span {
    pub(super) low: Corner,
    pub(super) high: Corner,
}

/// What a filter matches, for fields that are numbers.
pub(super) fn span(filter: &Filter) -> Span {
    let mut span = Span::default();
    for condition in &filter.conditions {
        let (low, high) = match (condition.match_type, &condition.value) {
            (MatchType::Equal | MatchType::FlagsAllSet | MatchType::FlagsAnySet, value) => {
                match (value, value.number()) {
                    (Value::V4Mask { address, mask }, _) => {
                        ((address & mask).into(), (address | !mask).into())
                    }
                    (Value::V6Mask { address, length }, _) => {
                        let host = u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
                        (address & !host, address | host)
                    }
                    (_, Some(number)) => (number, number),
                    (_, None) => continue,
                }
            }
            (MatchType::Range, Value::Range(ends)) => match (ends.0.number(), ends.1.number()) {
                (Some(first), Some(last)) => (first, last),
                _ => continue,
            },
            _ => continue,
        };
        span.low.insert(condition.field.clone(), low);
        span.high.insert(condition.field.clone(), high);
    }
    span
}

/// The intersection, as far as they overlap.
pub(super) fn common(one: &Span, other: &Span) -> Span {
    let with = |one: &Corner, other: &Corner, choose: fn(u128, u128) -> u128| {
        let mut both = one.clone();
        for (field, &value) in other {
            both.entry(field.clone()).and_modify(|own| *own = choose(*own, value)).or_insert(value);
        }
        both
    };
    Span {
        low: with(&one.low, &other.low, u128::max),
        high: with(&one.high, &other.high, u128::min),
    }
}

/// The packet with these values and ordinary ones for all other fields. `None` at layers that no packet of
/// policy reaches, and for invalid values.
pub(super) fn packet(layer: &Layer, corner: &Corner) -> Option<Packet> {
    let family = layer.family()?;
    let direction = match layer {
        Layer::RecvAccept(_) | Layer::InboundIcmpError(_) => Direction::Inbound,
        Layer::Connect(_) | Layer::OutboundIcmpError(_) => Direction::Outbound,
        Layer::Other(_) => return None,
    };
    let is_error = matches!(layer, Layer::InboundIcmpError(_) | Layer::OutboundIcmpError(_));
    let address = |number: u128| -> Option<IpAddr> {
        match family {
            Family::V4 => Some(Ipv4Addr::from(u32::try_from(number).ok()?).into()),
            Family::V6 => Some(Ipv6Addr::from(number).into()),
        }
    };
    let number = |field: &FilterField| corner.get(field).copied();
    let usual_peer = match family {
        Family::V4 => 0xc000_0207,
        Family::V6 => 0x2001_0db8 << 96 | 7,
    };
    let peer = address(number(&FilterField::RemoteAddress).unwrap_or(usual_peer))?;
    let local = match number(&FilterField::LocalAddress) {
        Some(number) => Some(address(number)?),
        None => None,
    };
    let port = |field, usual| u16::try_from(number(&field).unwrap_or(usual)).ok();
    let usual = if is_error { family.icmp() } else { TCP };
    let protocol = u8::try_from(number(&FilterField::Protocol).unwrap_or(usual.into())).ok()?;
    let (source, destination) = match direction {
        Direction::Inbound => {
            (port(FilterField::RemotePort, 50_001)?, port(FilterField::LocalPort, 50_002)?)
        }
        Direction::Outbound => {
            (port(FilterField::LocalPort, 50_001)?, port(FilterField::RemotePort, 50_002)?)
        }
    };
    let transport = match protocol {
        TCP => Transport::Tcp(source, destination),
        UDP => Transport::Udp(source, destination),
        SCTP => Transport::Sctp(source, destination),
        icmp if icmp == family.icmp() => {
            Transport::Icmp(u8::try_from(number(&FilterField::LocalPort).unwrap_or(8)).ok()?)
        }
        1 | 58 => return None,
        other => Transport::Other(other),
    };
    let loopback =
        number(&FilterField::Flags).is_some_and(|flags| flags & u128::from(LOOPBACK) != 0);
    Some(Packet { direction, peer, local, transport, loopback, owners: Vec::new() })
}
