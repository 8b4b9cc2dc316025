//! Reads back the ruleset in a slot and the flow recorder.

use std::collections::HashMap;

use xshield_policy::protocol::{SCTP, TCP, UDP};
use xshield_policy::{Direction, Protocol};

use super::cgroups;
use super::constants::{chain, element, message as kind};
use super::decode::{self, ReadElement, ReadLine, ReadSet};
use super::encode::{Hook, PROBATION};
use super::hits::Counted;
use super::lists::{is_missing, sets, table_handle};
use super::slot;
use super::socket::Link;
use super::steady::{ConsistentRead, steady};
use super::wire::{Attributes, Writer};
use crate::error::FirewallError;
use crate::flows::{FlowCount, FlowDump, FlowKind, Losses, Traffic};
use crate::installed::InstalledRuleset;
use crate::plan::{
    Chain, Element, Family, FieldType, LOST, Line, TABLE, address, flow_set, is_shared,
};
use crate::programmed::Programmed;

/// The elements of a set, and the number of answers.
pub(crate) fn elements(
    link: &mut Link,
    table: &str,
    name: &str,
    types: &[FieldType],
    action: &'static str,
) -> Result<(Vec<ReadElement>, usize), FirewallError> {
    let of_set = |w: &mut Writer<'_>| w.text(element::LIST_SET, name);
    type Found = (Vec<ReadElement>, usize);
    link.list(kind::GET_ELEMENT, table, action, of_set, |found: &mut Found, answer| {
        for (_, item) in answer.nested(element::LIST_ELEMENTS).into_iter().flatten() {
            let item = Attributes(item);
            if item.be64(element::EXPIRATION) == Some(0) {
                continue;
            }
            found.1 += 1;
            found.0.extend(ReadElement::of(item, types));
        }
    })
}

/// All rules of a table, by chain.
pub(crate) fn rules(
    link: &mut Link,
    table: &str,
    action: &'static str,
) -> Result<Vec<ReadLine>, FirewallError> {
    let cgroups = cgroups::by_id();
    link.list(
        kind::GET_RULE,
        table,
        action,
        |_| {},
        |found: &mut Vec<_>, answer| {
            found.extend(decode::line(answer, &cgroups));
        },
    )
}

/// The names of all chains of a table.
pub(crate) fn chains(
    link: &mut Link,
    table: &str,
    action: &'static str,
) -> Result<Vec<String>, FirewallError> {
    link.list(
        kind::GET_CHAIN,
        table,
        action,
        |_| {},
        |found: &mut Vec<String>, answer| {
            found.extend(answer.text(chain::NAME).map(str::to_owned));
        },
    )
}

/// Reads one slot with the recorder's chains, consistently.
pub(crate) fn programmed(
    link: &mut Link,
    standing: InstalledRuleset,
) -> Result<Programmed, FirewallError> {
    let action = "reading the ruleset back";
    let once = |link: &mut Link| programmed_once(link, standing, action);
    let ConsistentRead { read, began: generation, .. } =
        steady(link, action, Link::generation, once, Programmed::is_same_ruleset)?;
    Ok(Programmed { generation, ..read })
}

fn programmed_once(
    link: &mut Link,
    standing: InstalledRuleset,
    action: &'static str,
) -> Result<Programmed, FirewallError> {
    let mut read = Programmed {
        slot: standing.slot.letter(),
        revision: standing.revision,
        digest: standing.digest,
        ..Programmed::default()
    };
    let mut counts: Vec<Counted> = Vec::new();
    for set in sets(link, TABLE, action)? {
        let plain = match slot::split(&set.name) {
            Some((slot, plain)) if slot == standing.slot => plain,
            Some(_) => continue,
            None if set.name == PROBATION => continue,
            None if is_shared(&set.name) => {
                read.recorder_sets.push(set.name);
                continue;
            }
            None => {
                read.foreign.push(format!("set {}", set.name));
                continue;
            }
        };
        let Some(mut known) = set.as_plan(plain) else {
            read.foreign.push(format!("set {}", set.name));
            continue;
        };
        for item in elements(link, TABLE, &set.name, &known.key, action)?.0 {
            if known.counted {
                counts.push(Counted::element(plain, &item.element, item.count));
            }
            known.elements.push(item.element);
        }
        known.elements.sort_unstable_by_key(|element: &Element| (element.first, element.last));
        read.sets.push(known);
    }
    let mut by_name: HashMap<String, Vec<Line>> = HashMap::new();
    read.losses.epoch = table_handle(link, TABLE, action)?;
    for found in rules(link, TABLE, action)? {
        read.losses.packets += lost(&found);
        let ReadLine { chain, line, count } = found;
        let plain = match slot::split(&chain) {
            Some((slot, plain)) if slot == standing.slot => plain,
            None => chain.as_str(),
            Some(_) => continue,
        };
        if line.counted {
            counts.push(Counted::line(plain, &line, count));
        }
        by_name.entry(plain.to_owned()).or_default().push(line);
    }
    for name in chains(link, TABLE, action)? {
        let (plain, list) = match slot::split(&name) {
            Some((slot, plain)) if slot == standing.slot => (plain, &mut read.chains),
            Some(_) => continue,
            None if is_shared(&name) => (name.as_str(), &mut read.recorder_chains),
            None if Hook::ALL.iter().any(|hook| hook.name() == name) => continue,
            None => {
                read.foreign.push(format!("chain {name}"));
                continue;
            }
        };
        let lines = by_name.remove(plain).unwrap_or_default();
        list.push(Chain { name: plain.to_owned(), lines });
    }
    read.hits = Counted::hits(counts);
    Ok(read)
}

/// Reads all flow sets of a table.
pub(crate) fn flows(link: &mut Link, table: &str) -> Result<FlowDump, FirewallError> {
    let action = "reading the flow recorder";
    let mut dump = FlowDump { epoch: table_handle(link, table, action)?, flows: Vec::new() };
    let present: HashMap<String, ReadSet> =
        sets(link, table, action)?.into_iter().map(|set| (set.name.clone(), set)).collect();
    for traffic in Traffic::BOTH {
        for direction in Direction::BOTH {
            for kind in FlowKind::ALL {
                for family in Family::BOTH {
                    let name = flow_set(kind, traffic, direction, family);
                    let Some(set) = present.get(&name) else { continue };
                    let types = set.key.clone().unwrap_or_default();
                    let (items, _) = elements(link, table, &name, &types, action)?;
                    let flow =
                        |item| flow((kind, traffic, direction), family, item, set.timeout_ms);
                    dump.flows.extend(items.iter().map(flow));
                }
            }
        }
    }
    Ok(dump)
}

/// Reads the recorder's losses in a table.
pub(crate) fn losses(link: &mut Link, table: &str) -> Result<Losses, FirewallError> {
    let action = "reading the flow recorder's losses";
    let epoch = table_handle(link, table, action)?;
    let rules = match rules(link, table, action) {
        Err(FirewallError::Refused { source, .. }) if is_missing(&source) => Vec::new(),
        other => other?,
    };
    Ok(Losses { epoch, packets: rules.iter().map(lost).sum() })
}

/// Packets that a rule counted as lost; most rules count something else.
fn lost(read: &ReadLine) -> u64 {
    if read.line.label.as_deref() == Some(LOST) { read.count.packets } else { 0 }
}

fn flow(
    (kind, traffic, direction): (FlowKind, Traffic, Direction),
    family: Family,
    item: &ReadElement,
    timeout_ms: Option<u64>,
) -> FlowCount {
    let [source, destination, protocol, port] = item.element.first;
    let protocol = u8::try_from(protocol).unwrap_or(u8::MAX);
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    let (protocol, port) = match protocol {
        TCP => (Protocol::Tcp, port),
        UDP => (Protocol::Udp, port),
        icmp if icmp == family.icmp() => (Protocol::Icmp, port >> 8),
        SCTP => (Protocol::Other(SCTP), port),
        other => (Protocol::Other(other), 0),
    };
    FlowCount {
        kind,
        traffic,
        direction,
        source: address(family, source),
        destination: address(family, destination),
        protocol,
        port,
        packets: item.count.packets,
        bytes: item.count.bytes,
        expires_in_ms: item.expires_ms.unwrap_or(u64::MAX),
        // Each packet resets the element's timeout.
        idle_ms: match (timeout_ms, item.expires_ms) {
            (Some(timeout), Some(left)) => timeout.saturating_sub(left),
            _ => 0,
        },
    }
}
