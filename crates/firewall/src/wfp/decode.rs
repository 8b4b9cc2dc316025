//! Converts what was read from the filter engine to a [`Programmed`] ruleset, so that rulesets are explained,
//! compared and reported by the same code on every OS.

use xshield_policy::Verdict;

use super::listing::ICMP_ERRORS;
use super::mark::read_mark;
use super::model::{EngineState, Filter, FilterAction, FilterCondition, Flags, MatchType, Value};
use super::names::{FilterField, LOOPBACK, Layer};
use super::ours::{CLOSED, Class, NAME, SUBLAYER, Tier, is_ours, tier_and_class};
use super::program::{AppId, LocalProgram, Programs, Sid};
use crate::Programmed;
use crate::plan::{Chain, Condition, ENTRY_IN, ENTRY_OUT, Field, Line, Next};
use crate::programmed::Notation;

/// Our filters that decide about packets while the filter engine runs; `None` if there are none. Slot `a` is
/// the plan that stays, slot `b` the one on trial. Filters become the lines of one chain for each direction,
/// in their order of evaluation.
#[must_use]
pub fn programmed(state: &EngineState, programs: &Programs) -> Option<Programmed> {
    let ours = |filter: &&Filter| {
        let at_boot = filter.flags.contains(Flags::BOOT_TIME);
        is_ours(filter.provider.as_ref()) && !at_boot && !filter.flags.contains(Flags::DISABLED)
    };
    let tiers: Vec<(&Filter, Tier, Class)> = state
        .filters
        .iter()
        .filter(ours)
        .filter_map(|filter| {
            let (tier, class) = tier_and_class(filter.rank())?;
            Some((filter, tier, class))
        })
        .collect();
    let tier = tiers.iter().map(|(_, tier, _)| *tier).max()?;
    let mut filters: Vec<(&Filter, Class)> = tiers
        .into_iter()
        .filter(|(_, of, _)| *of == tier)
        .map(|(filter, _, class)| (filter, class))
        .collect();
    filters.sort_by_key(|(filter, _)| std::cmp::Reverse(filter.rank()));
    let mark = filters.iter().find_map(|(filter, _)| read_mark(&filter.description));
    let (revision, digest) = mark.unwrap_or_default();
    let mut chains: Vec<Chain> = Vec::new();
    for (name, denied) in [
        (ENTRY_IN, "deny_in_tested"),
        (ENTRY_OUT, "deny_out_tested"),
        (ICMP_ERRORS[0], "deny_in_tested"),
        (ICMP_ERRORS[1], "deny_out_tested"),
    ] {
        let here = filters.iter().filter(|(filter, _)| chain_of(&filter.layer) == Some(name));
        let lines = here.map(|(filter, class)| line(filter, *class, denied, programs)).collect();
        chains.push(Chain { name: name.to_owned(), lines });
    }
    for name in ["deny_in_tested", "deny_out_tested"] {
        let accept = Line {
            conditions: Vec::new(),
            counted: false,
            effect: None,
            next: Some(Next::Accept),
            label: None,
        };
        chains.push(Chain { name: name.to_owned(), lines: vec![accept] });
    }
    let foreign = state
        .filters
        .iter()
        .filter(|filter| filter.sublayer == SUBLAYER.into() && !is_ours(filter.provider.as_ref()));
    Some(Programmed {
        notation: Notation::FilterEngine,
        slot: if tier == Tier::Kept { 'a' } else { 'b' },
        revision,
        digest,
        chains,
        foreign: foreign.map(|filter| format!("filter {:?}", filter.name)).collect(),
        ..Programmed::default()
    })
}

fn chain_of(layer: &Layer) -> Option<&'static str> {
    match layer {
        Layer::RecvAccept(_) => Some(ENTRY_IN),
        Layer::Connect(_) => Some(ENTRY_OUT),
        Layer::InboundIcmpError(_) => Some(ICMP_ERRORS[0]),
        Layer::OutboundIcmpError(_) => Some(ICMP_ERRORS[1]),
        Layer::Other(_) => None,
    }
}

/// The verdict on what a filter of ours matches.
pub(super) fn verdict(filter: &Filter, class: Class) -> Verdict {
    let label = filter.name.strip_prefix(NAME).unwrap_or(&filter.name);
    match (&filter.action, class) {
        (FilterAction::Block, _) => Verdict::Deny,
        (_, Class::TestedBlock | Class::WouldDeny) => Verdict::WouldDeny,
        // A default that permits what the tested level denies.
        (_, Class::Default) if label == CLOSED => Verdict::WouldDeny,
        _ => Verdict::Allow,
    }
}

fn line(filter: &Filter, class: Class, denied: &str, programs: &Programs) -> Line {
    let label = filter.name.strip_prefix(NAME).unwrap_or(&filter.name);
    let next = match verdict(filter, class) {
        Verdict::Deny => Next::Drop,
        Verdict::WouldDeny => Next::Goto(denied.to_owned()),
        Verdict::Allow => Next::Accept,
    };
    Line {
        conditions: conditions(filter, programs),
        counted: false,
        effect: None,
        next: Some(next),
        label: Some(label.into()),
    }
}

fn conditions(filter: &Filter, programs: &Programs) -> Vec<Condition> {
    let Some(family) = filter.layer.family() else { return Vec::new() };
    let is_inbound = matches!(filter.layer, Layer::RecvAccept(_) | Layer::InboundIcmpError(_));
    let is_error = matches!(filter.layer, Layer::InboundIcmpError(_) | Layer::OutboundIcmpError(_));
    let protocol = filter.conditions.iter().find(|c| c.field == FilterField::Protocol);
    let is_icmp =
        is_error || protocol.is_some_and(|c| c.value.number() == Some(family.icmp().into()));
    let (remote, local) = if is_inbound {
        (Field::Source(family), Field::Destination(family))
    } else {
        (Field::Destination(family), Field::Source(family))
    };
    let (remote_port, local_port) = match (is_icmp, is_inbound) {
        (true, _) => (Field::NoPort, Field::IcmpType(family)),
        (false, true) => (Field::SourcePort, Field::DestinationPort),
        (false, false) => (Field::DestinationPort, Field::SourcePort),
    };
    let mut read = vec![Condition::Family(family)];
    read.extend(owner(filter, programs));
    for compared in &filter.conditions {
        let condition = match &compared.field {
            // Together, above.
            FilterField::AppId | FilterField::UserId => continue,
            FilterField::Protocol => match compared.value {
                Value::U8(number) if compared.match_type == MatchType::Equal => {
                    Some(Condition::Protocol(number))
                }
                _ => None,
            },
            FilterField::Flags => is_loopback(compared).then_some(match is_inbound {
                true => Condition::InputLoopback,
                false => Condition::OutputLoopback,
            }),
            FilterField::RemoteAddress => within(remote, compared),
            FilterField::LocalAddress => within(local, compared),
            FilterField::RemotePort => within(remote_port, compared),
            FilterField::LocalPort => within(local_port, compared),
            FilterField::Other(_) => None,
        };
        read.push(condition.unwrap_or_else(|| Condition::Foreign(compared.to_string())));
    }
    // Families and protocols are checked before fields that only they have.
    read.sort_by_key(|condition| match condition {
        Condition::Family(_) => 0,
        Condition::Protocol(_) => 1,
        _ => 2,
    });
    read
}

fn is_loopback(compared: &FilterCondition) -> bool {
    compared.match_type == MatchType::FlagsAllSet && compared.value == Value::U32(LOOPBACK)
}

fn within(field: Field, compared: &FilterCondition) -> Option<Condition> {
    let (first, last) = match (&compared.match_type, &compared.value) {
        (MatchType::Equal, value) => (value.number()?, value.number()?),
        (MatchType::Range, Value::Range(ends)) => (ends.0.number()?, ends.1.number()?),
        _ => return None,
    };
    Some(Condition::Within { field, first, last })
}

/// The owner for which a filter checks executable and identity.
fn owner(filter: &Filter, programs: &Programs) -> Option<Condition> {
    let (mut app, mut identity) = (None, None);
    let mut text = Vec::new();
    let mut decoded = 0;
    for compared in &filter.conditions {
        let is_equal = compared.match_type == MatchType::Equal;
        match (&compared.field, &compared.value) {
            (FilterField::AppId, Value::Blob(bytes)) if is_equal => {
                app = AppId::from_blob(bytes).ok();
                decoded += usize::from(app.is_some());
            }
            (FilterField::UserId, Value::SecurityDescriptor(descriptor)) if is_equal => {
                let admitted = Sid::admitted(descriptor);
                identity = admitted.filter(|list| list.len() == 1).and_then(|mut list| list.pop());
                decoded += usize::from(identity.is_some());
            }
            (FilterField::AppId | FilterField::UserId, _) => {}
            _ => continue,
        }
        text.push(compared.to_string());
    }
    if text.is_empty() {
        return None;
    }
    let known = programs.iter().find(|(_, program)| {
        (program.app(), program.identity()) == (app.as_ref(), identity.as_ref())
    });
    if let Some((owner, _)) = known {
        return Some(Condition::Owner(owner.clone()));
    }
    let program = match (app, identity) {
        // Each is asked for once: otherwise the filter asks for more than an owner says.
        _ if decoded != text.len() || decoded > 2 => None,
        (Some(app), Some(sid)) if decoded == 2 => Some(LocalProgram::Both(app, sid)),
        (Some(app), None) if decoded == 1 => Some(LocalProgram::App(app)),
        (None, Some(sid)) if decoded == 1 => Some(LocalProgram::Identity(sid)),
        _ => None,
    };
    Some(match program {
        Some(program) => Condition::Owner(program.owner()),
        None => Condition::Foreign(text.join(", ")),
    })
}
