//! What Windows writes to its Security log about a flow, as far as it is documented.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xshield_policy::packet::Transport;
use xshield_policy::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use xshield_policy::{Direction, Packet};
use xshield_wfp_double::security_log::SecurityLog;

use super::queue::Fate;
use super::verdict::Judged;

/// "The Windows Filtering Platform has permitted a connection."
const PERMITTED: u32 = 5156;
/// "The Windows Filtering Platform has blocked a connection."
const BLOCKED: u32 = 5157;
/// "The Windows Filtering Platform has blocked a packet."
const DROPPED: u32 = 5152;

/// Adds the events of a verdict to the log: a permitted flow has one, a blocked one two.
pub(super) fn write(judged: &Judged, fate: Fate, directory: &Path) -> Result<()> {
    let mut log = SecurityLog::load(directory)?;
    let kinds = match fate {
        Fate::Accept => &[PERMITTED][..],
        Fate::Drop => &[DROPPED, BLOCKED],
    };
    for kind in kinds {
        log.records.push(record(*kind, judged)?);
    }
    log.save(directory).context("could not write the Security log")
}

fn record(kind: u32, judged: &Judged) -> Result<String> {
    let at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let direction = match judged.packet.direction {
        Direction::Inbound => "%%14592",
        Direction::Outbound => "%%14593",
    };
    let (source, destination) = ends(&judged.packet)?;
    // An event of a verdict without a filter has the number 0.
    let filter = judged.id.unwrap_or_default();
    Ok(format!(
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
         <Provider Name='Microsoft-Windows-Security-Auditing'/><EventID>{kind}</EventID>\
         <TimeCreated SystemTime='{at}'/></System><EventData>\
         <Data Name='ProcessID'>4</Data><Data Name='Application'>System</Data>\
         <Data Name='Direction'>{direction}</Data><Data Name='SourceAddress'>{}</Data>\
         <Data Name='SourcePort'>{}</Data><Data Name='DestAddress'>{}</Data>\
         <Data Name='DestPort'>{}</Data><Data Name='Protocol'>{}</Data>\
         <Data Name='FilterRTID'>{filter}</Data></EventData></Event>",
        source.ip(),
        source.port(),
        destination.ip(),
        destination.port(),
        protocol(&judged.packet),
    ))
}

/// What an event calls source and destination. Of inbound flows, builds of Windows differ in which end is the
/// source: here it is the peer with IPv4, and this host with IPv6.
fn ends(packet: &Packet) -> Result<(SocketAddr, SocketAddr)> {
    let local = packet.local.context("a packet without a local address")?;
    let (from, to) = match packet.transport {
        Transport::Tcp(from, to) | Transport::Udp(from, to) | Transport::Sctp(from, to) => {
            (from, to)
        }
        // The ports of such an event are the type and the code.
        Transport::Icmp(kind) => (kind.into(), 0),
        Transport::Other(_) => (0, 0),
    };
    let end = |address: IpAddr, port: u16| SocketAddr::new(address, port);
    Ok(match (packet.direction, packet.peer) {
        (Direction::Outbound, peer) => (end(local, from), end(peer, to)),
        (Direction::Inbound, peer @ IpAddr::V4(_)) => (end(peer, from), end(local, to)),
        (Direction::Inbound, peer @ IpAddr::V6(_)) => (end(local, to), end(peer, from)),
    })
}

fn protocol(packet: &Packet) -> u8 {
    match (packet.transport, packet.peer) {
        (Transport::Tcp(..), _) => TCP,
        (Transport::Udp(..), _) => UDP,
        (Transport::Sctp(..), _) => SCTP,
        (Transport::Icmp(_), IpAddr::V4(_)) => ICMP,
        (Transport::Icmp(_), IpAddr::V6(_)) => ICMPV6,
        (Transport::Other(other), _) => other,
    }
}
