//! Packets that the policy allows and Windows Firewall drops: its rules come in addition to the policy's. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xshield_host::log_line::LoggedThreat;
use xshield_host::windows_logs::{Detail, FirewallLine};
use xshield_policy::packet::Transport;
use xshield_policy::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use xshield_policy::{Bound, Direction, Packet, Protocol, Reason, RuleId, Verdict, decide};
use xshield_wire::message::{Problem, UnixSeconds};
use xshield_wire::threat::ThreatAction;

/// The most flows named in a problem; the others are counted.
const NAMED: usize = 3;
/// The most different flows of a run; more are not looked at.
const MOST: usize = 10_000;

/// Flows that were dropped although a rule allows them, with the number of their packets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowedButDropped(BTreeMap<Flow, u64>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    direction: Direction,
    local: IpAddr,
    remote: IpAddr,
    protocol: u8,
    /// The destination port, or the type of an ICMP message.
    port: u16,
    rule: RuleId,
}

impl AllowedButDropped {
    /// Of what Windows Firewall dropped, what a rule of the policy in force allows by name.
    ///
    /// What no rule allows is left out, since the policy may have dropped it; and outbound flows if the policy
    /// distinguishes programs, since the log does not name them.
    pub(crate) fn of(lines: &[FirewallLine], bound: &Bound) -> Self {
        let allows = &bound.outbound.enforced.allows;
        let knows_programs = allows.iter().any(|rule| rule.owner.is_some());
        let mut flows = BTreeMap::new();
        for line in lines {
            let Some(flow) = dropped(line, bound) else { continue };
            if knows_programs && flow.direction == Direction::Outbound {
                continue;
            }
            if flows.len() < MOST || flows.contains_key(&flow) {
                *flows.entry(flow).or_default() += 1;
            }
        }
        Self(flows)
    }

    /// The flows in the form in which they are compared with the threat list.
    pub(crate) fn as_blocked(&self, now: UnixSeconds) -> Vec<LoggedThreat> {
        let blocked = |(flow, packets): (&Flow, &u64)| {
            let (source, destination) = flow.ends();
            LoggedThreat {
                action: ThreatAction::Blocked,
                direction: flow.direction,
                source,
                destination,
                protocol: flow.protocol.into(),
                port: flow.port,
                packets: *packets,
                bytes: 0,
                first_seen: now,
                last_seen: now,
            }
        };
        self.0.iter().map(blocked).collect()
    }

    /// Without the flows whose peer is listed: the threat list may have blocked them.
    pub(crate) fn without(mut self, listed: &[LoggedThreat]) -> Self {
        self.0.retain(|flow, _| {
            !listed.iter().any(|listed| (listed.source, listed.destination) == flow.ends())
        });
        self
    }

    /// What is reported.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let packets: u64 = self.0.values().sum();
        let mut flows: Vec<(&Flow, &u64)> = self.0.iter().collect();
        flows.sort_by_key(|(_, packets)| std::cmp::Reverse(**packets));
        let named: Vec<String> = flows.iter().take(NAMED).map(|(flow, _)| flow.named()).collect();
        let more = match flows.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more flows"),
        };
        let text = format!(
            "Windows Firewall dropped {packets} packets that the policy allows: {}{more}. Its rules apply in \
             addition to the policy: allow these flows there as well (netsh advfirewall firewall add rule)",
            named.join(", ")
        );
        (packets > 0).then(|| Problem { code: "allowed-but-dropped".to_owned(), text })
    }
}

impl Flow {
    fn ends(&self) -> (IpAddr, IpAddr) {
        match self.direction {
            Direction::Inbound => (self.remote, self.local),
            Direction::Outbound => (self.local, self.remote),
        }
    }

    fn named(&self) -> String {
        let Self { direction, remote, port, rule, .. } = self;
        let protocol = Protocol::from(self.protocol);
        match direction {
            Direction::Inbound => format!("in {protocol} {remote} -> :{port} (rule {rule})"),
            Direction::Outbound => format!("out {protocol} -> {remote} {port} (rule {rule})"),
        }
    }
}

/// The flow of a dropped packet, if it could be the first of a flow and a rule allows it.
fn dropped(line: &FirewallLine, bound: &Bound) -> Option<Flow> {
    let FirewallLine::Flow {
        is_allowed: false,
        may_open: true,
        direction,
        protocol,
        local,
        remote,
        detail,
        ..
    } = line
    else {
        return None;
    };
    // Windows discards most multicast packets that no program asked for.
    if line.is_late_answer() || local.is_multicast() || remote.is_multicast() {
        return None;
    }
    let (source, destination) = match (detail, direction) {
        (Detail::Ports { local, remote }, Direction::Inbound) => (*remote, *local),
        (Detail::Ports { local, remote }, Direction::Outbound) => (*local, *remote),
        (Detail::Icmp { kind, .. }, _) => (0, *kind),
        (Detail::None, _) => (0, 0),
    };
    let transport = match *protocol {
        TCP => Transport::Tcp(source, destination),
        UDP => Transport::Udp(source, destination),
        SCTP => Transport::Sctp(source, destination),
        ICMP | ICMPV6 => Transport::Icmp(u8::try_from(destination).ok()?),
        other => Transport::Other(other),
    };
    let packet = Packet {
        direction: *direction,
        peer: *remote,
        local: Some(*local),
        transport,
        loopback: local == remote,
        owners: Vec::new(),
    };
    let decision = decide(bound, &packet);
    match (decision.verdict, decision.reason) {
        (Verdict::Allow, Reason::Allow(rule)) => Some(Flow {
            direction: *direction,
            local: *local,
            remote: *remote,
            protocol: *protocol,
            port: destination,
            rule,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
