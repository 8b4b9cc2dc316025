//! What the Security log of Windows says about flows, as reports: denials and would-be denials by our filters,
//! flows that passed, and how often each rule decided.
//!
//! Pure: the events and what the numbers of filters mean are given.
//!
//! - A flow that a filter of another product blocked is not reported as denied by the policy. If its peer is on
//!   the threat list, that list blocked it.
//! - Windows names the filter of a permitted TCP connection only under conditions, see
//!   [`xshield_firewall::wfp`]; without a name, the connection counts as accepted, without a rule.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xshield_firewall::wfp::attribution::{Attribution, FilterNumbers};
use xshield_host::log_line::LoggedThreat;
use xshield_host::windows_logs::{Detail, Ends, Event, FlowEvent, FlowOutcome, Repeats};
use xshield_policy::{Direction, Protocol, RuleId, Verdict};
use xshield_wire::message::{EventKind, EventSource, FirewallEvent, RuleHits, UnixSeconds};
use xshield_wire::telemetry::ActivePath;
use xshield_wire::threat::ThreatAction;

/// The most different flows of a run; more are counted as lost.
const MOST_FLOWS: usize = 50_000;

/// Flows of the Security log, counted.
#[derive(Default)]
pub(crate) struct FlowTally {
    flows: BTreeMap<Flow, Seen>,
    /// Flows that were blocked by a filter that is not the policy's.
    blocked_by_others: BTreeMap<Flow, Seen>,
    hits: BTreeMap<(RuleId, Direction), u64>,
    repeats: Repeats,
    /// Flows for which there was no room.
    pub(crate) lost: u64,
    /// Flows of our filters of which neither end is an address of this host.
    pub(crate) unplaced: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    kind: EventKind,
    direction: Direction,
    local: IpAddr,
    remote: IpAddr,
    protocol: u8,
    port: u16,
    rule: Option<RuleId>,
    application: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    times: u64,
    first: UnixSeconds,
    last: UnixSeconds,
}

impl FlowTally {
    /// Counts an event. `now` stands for the time of events that have none.
    pub(crate) fn add(&mut self, event: &Event, numbers: &FilterNumbers, now: UnixSeconds) {
        let Event::Flow(event) = event else { return };
        let (kind, rule, by) = judged(event, numbers);
        if event.is_late_answer() || self.repeats.is_repeat(event) {
            return;
        }
        let (local, remote) = match event.ends {
            Ends::Peer { local, remote } => (local, remote),
            Ends::ThisHost => return,
            Ends::Unplaced { .. } => {
                self.unplaced += u64::from(by == By::Policy);
                return;
            }
        };
        if let Some(rule) = rule.as_ref() {
            *self.hits.entry((rule.clone(), event.direction)).or_default() += 1;
        }
        let flow = Flow {
            kind,
            direction: event.direction,
            local: local.0,
            remote: remote.0,
            protocol: event.protocol,
            port: service_port(event),
            // The level, as no rule matched.
            rule: rule.filter(|rule| !rule.as_str().starts_with("default/")),
            application: event.application.clone(),
        };
        let at = event.time.and_then(|ms| u64::try_from(ms / 1000).ok()).unwrap_or(now);
        let flows = match (by, kind) {
            (By::Others, EventKind::Denied) => &mut self.blocked_by_others,
            _ => &mut self.flows,
        };
        if flows.len() >= MOST_FLOWS && !flows.contains_key(&flow) {
            self.lost += 1;
            return;
        }
        let seen = flows.entry(flow).or_insert(Seen { times: 0, first: at, last: at });
        seen.times += 1;
        seen.first = seen.first.min(at);
        seen.last = seen.last.max(at);
    }

    /// The flows as events. Windows does not tell their bytes.
    pub(crate) fn events(&self) -> Vec<FirewallEvent> {
        let event = |(flow, seen): (&Flow, &Seen)| {
            let (source, destination) = flow.ends();
            FirewallEvent {
                kind: flow.kind,
                direction: flow.direction,
                source,
                destination,
                protocol: flow.protocol.into(),
                port: flow.port,
                rule: flow.rule.clone(),
                packets: seen.times,
                bytes: 0,
                first_seen: seen.first,
                last_seen: seen.last,
                from: EventSource::SecurityLog,
                process: flow.application.as_deref().map(file_name),
            }
        };
        self.flows.iter().map(event).collect()
    }

    /// The flows that passed, as paths. `path`: an executable's path as programs write it.
    pub(crate) fn paths(&self, path: impl Fn(&str) -> Option<String>) -> Vec<ActivePath> {
        let passed = self.flows.iter().filter(|(flow, _)| flow.kind != EventKind::Denied);
        let mut paths: BTreeMap<_, ActivePath> = BTreeMap::new();
        for (flow, seen) in passed {
            let (source, destination) = flow.ends();
            let application = flow.application.as_deref();
            let key = (flow.direction, source, destination, flow.protocol, flow.port, application);
            let found = paths.entry(key).or_insert_with(|| ActivePath {
                direction: flow.direction,
                source,
                destination,
                protocol: flow.protocol.into(),
                port: flow.port,
                process: application.map(|it| path(it).unwrap_or_else(|| it.to_owned())),
                user: None,
                service: None,
                connections: 0,
                bytes_forth: 0,
                bytes_back: 0,
                first_seen: seen.first,
                last_seen: seen.last,
            });
            found.connections = found.connections.saturating_add(seen.times);
            found.first_seen = found.first_seen.min(seen.first);
            found.last_seen = found.last_seen.max(seen.last);
        }
        paths.into_values().collect()
    }

    /// All flows, as what they are if their peer is listed: blocked by the list, if no filter of the policy
    /// blocked them, or recorded.
    pub(crate) fn with_peers(&self) -> Vec<LoggedThreat> {
        let of = |action: ThreatAction| {
            move |(flow, seen): (&Flow, &Seen)| {
                let (source, destination) = flow.ends();
                LoggedThreat {
                    action,
                    direction: flow.direction,
                    source,
                    destination,
                    protocol: flow.protocol.into(),
                    port: flow.port,
                    packets: seen.times,
                    bytes: 0,
                    first_seen: seen.first,
                    last_seen: seen.last,
                }
            }
        };
        let recorded = self.flows.iter().map(of(ThreatAction::Recorded));
        recorded.chain(self.blocked_by_others.iter().map(of(ThreatAction::Blocked))).collect()
    }

    /// How many flows each rule decided.
    pub(crate) fn hits(&self) -> Vec<RuleHits> {
        let hits = |((rule, direction), times): (&(RuleId, Direction), &u64)| RuleHits {
            rule: rule.clone(),
            direction: *direction,
            packets: *times,
            bytes: 0,
        };
        self.hits.iter().map(hits).collect()
    }
}

/// Whose filter decided about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Policy,
    /// Another product's, the threat list's, or one that the event does not name.
    Others,
}

/// What became of a flow, the rule of the filter that decided, and whose filter it was.
fn judged(event: &FlowEvent, numbers: &FilterNumbers) -> (EventKind, Option<RuleId>, By) {
    let is_permitted = event.outcome == FlowOutcome::Permitted;
    match numbers.of(event.filter) {
        Attribution::Rule { rule, verdict } => {
            let kind = match (is_permitted, verdict) {
                (false, _) => EventKind::Denied,
                (true, Verdict::WouldDeny) => EventKind::WouldDeny,
                (true, Verdict::Allow | Verdict::Deny) => EventKind::Accepted,
            };
            (kind, RuleId::try_from(rule.to_owned()).ok(), By::Policy)
        }
        Attribution::Unknown(_) | Attribution::Unnamed => {
            let kind = if is_permitted { EventKind::Accepted } else { EventKind::Denied };
            (kind, None, By::Others)
        }
    }
}

/// The destination port, or the type of an ICMP message.
fn service_port(event: &FlowEvent) -> u16 {
    match (event.detail(), event.direction) {
        (Detail::Ports { local, .. }, Direction::Inbound) => local,
        (Detail::Ports { remote, .. }, Direction::Outbound) => remote,
        (Detail::Icmp { kind, .. }, _) => kind,
        (Detail::None, _) => 0,
    }
}

/// The last part of a path.
fn file_name(path: &str) -> String {
    path.rsplit('\\').next().unwrap_or(path).to_owned()
}

impl Flow {
    /// Source and destination.
    fn ends(&self) -> (IpAddr, IpAddr) {
        match self.direction {
            Direction::Inbound => (self.remote, self.local),
            Direction::Outbound => (self.local, self.remote),
        }
    }
}

#[cfg(test)]
mod tests;
