//! Refuses block rules that would match failsafe flows. The kernel accepts these flows first in any case; the
//! refusal informs the operator that such a rule would have no effect.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::CompileError;
use crate::names::{Name, RuleId};
use crate::range::{AddressRange, RangeSet};
use crate::ruleset::{Failsafe, Peer, Peers, Rule};
use crate::service::{IcmpType, PortRange, Ports, Service};

/// Checks that an inbound block rule does not match management.
pub(super) fn check_inbound(
    rule: &Rule,
    failsafe: &Failsafe,
    intranet: &[IpNet],
) -> Result<(), CompileError> {
    let intranet: RangeSet = intranet.iter().copied().collect();
    for management in &failsafe.management {
        if reaches(rule, &intranet, management.from) && serves(rule, &management.services) {
            return Err(cuts(rule, format!("management from {}", management.from)));
        }
    }
    Ok(())
}

/// Checks that an outbound block rule does not match the platform.
pub(super) fn check_outbound(
    rule: &Rule,
    failsafe: &Failsafe,
    intranet: &[IpNet],
) -> Result<(), CompileError> {
    let intranet: RangeSet = intranet.iter().copied().collect();
    for endpoint in &failsafe.platform {
        let port = Service::Tcp(Ports::Range(PortRange::single(endpoint.port())));
        if reaches(rule, &intranet, IpNet::from(endpoint.ip())) && serves(rule, &[port]) {
            return Err(cuts(rule, format!("the platform at {endpoint}")));
        }
    }
    Ok(())
}

/// Checks that an inbound block rule does not match what the platform serves on its own host, for any peer:
/// hosts may be anywhere.
pub(super) fn check_served(
    rule: &RuleId,
    services: &[Service],
    endpoint: SocketAddr,
    asset: &Name,
) -> Result<(), CompileError> {
    let port = Service::Tcp(Ports::Range(PortRange::single(endpoint.port())));
    if services.iter().any(|&service| overlap(service, port)) {
        let what = format!("the platform at {endpoint}, which runs on asset {asset}");
        return Err(CompileError::CutsFailsafe { rule: rule.clone(), what });
    }
    Ok(())
}

fn cuts(rule: &Rule, what: String) -> CompileError {
    CompileError::CutsFailsafe { rule: rule.id.clone(), what }
}

/// Whether the rule's peers and `net` overlap. Domains are resolved on the host, where the failsafe comes
/// first in any case.
fn reaches(rule: &Rule, intranet: &RangeSet, net: IpNet) -> bool {
    let wanted: RangeSet = [AddressRange::from(net)].into_iter().collect();
    let Peers::Listed(listed) = &rule.peers else { return true };
    listed.iter().any(|peer| {
        let peer = match peer {
            Peer::Net(net) => [AddressRange::from(*net)].into_iter().collect(),
            Peer::Intranet => intranet.clone(),
            Peer::Internet => intranet.complement(),
            Peer::Domain(_) => RangeSet::empty(),
        };
        !peer.intersection(&wanted).is_empty()
    })
}

/// Whether the rule and `services` overlap.
fn serves(rule: &Rule, services: &[Service]) -> bool {
    rule.services.iter().any(|&a| services.iter().any(|&b| overlap(a, b)))
}

fn overlap(a: Service, b: Service) -> bool {
    let ports = |a: Ports, b: Ports| {
        a.range().first() <= b.range().last() && b.range().first() <= a.range().last()
    };
    match (a, b) {
        (Service::Any, _) | (_, Service::Any) => true,
        (Service::Tcp(a), Service::Tcp(b))
        | (Service::Udp(a), Service::Udp(b))
        | (Service::Sctp(a), Service::Sctp(b)) => ports(a, b),
        (Service::Protocol(a), Service::Protocol(b)) => a == b,
        (Service::Icmp(a), Service::Icmp(b)) => {
            a == IcmpType::Any || b == IcmpType::Any || a.v4() == b.v4() || a.v6() == b.v6()
        }
        _ => false,
    }
}
