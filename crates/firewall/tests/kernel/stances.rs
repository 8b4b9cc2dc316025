//! A tested stance above an enforced one drops nothing, and records what it would deny.

use std::net::UdpSocket;

use xshield_firewall::{Capabilities, Firewall, FlowKind, explain, plan};
use xshield_policy::{BoundDirection, BoundStance, Direction};

use crate::policies::{bound, closed, open, rules};
use crate::world::{Host, address, datagram_arrives, in_namespace};

#[test]
fn a_tested_level_drops_nothing_and_opens_nothing() {
    for capabilities in [Capabilities::FULL, Capabilities::PLAIN] {
        in_namespace(|| {
            let peer = Host::joined();
            let mut firewall = Firewall::open_with(capabilities).unwrap();
            let there = peer.run(|| UdpSocket::bind("10.0.0.2:6000").unwrap());
            let here: Vec<UdpSocket> =
                (5001..=5004).map(|port| UdpSocket::bind(("10.0.0.1", port)).unwrap()).collect();
            let arrives =
                || here.iter().map(|here| datagram_arrives(&there, here)).collect::<Vec<bool>>();
            assert_eq!(arrives(), [true; 4], "passes without policy");

            let enforced = closed(&["e/one udp/5001 any", "e/two udp/5002 any"]).enforced;
            let tested = BoundStance {
                // One in both, one that the enforced stance does not have.
                allows: rules(&["e/one udp/5001 any", "e/three udp/5003 any"]),
                blocks: rules(&["old/peer udp/5001 10.0.0.2/32"]),
                ..BoundStance::closed()
            };
            let inbound = BoundDirection { enforced, tested: Some(tested) };
            let plan = plan(&bound(1, inbound, open()), &capabilities);
            firewall.apply_now(&plan).unwrap();
            assert_eq!(arrives(), [true, true, false, false], "{capabilities}");

            let programmed = firewall.read_back().unwrap();
            assert_eq!(programmed.differences(&plan), vec![]);
            let why = |port: u16| {
                let packet = format!("in udp 10.0.0.2:6000 -> :{port}").parse().unwrap();
                let why = explain(&programmed, &packet);
                (format!("{:?}", why.verdict), why.rule.unwrap())
            };
            assert_eq!(why(5003), ("Deny".to_owned(), "default/closed".to_owned()));
            if !capabilities.recorder {
                return;
            }
            assert_eq!(why(5001), ("WouldDeny".to_owned(), "old/peer".to_owned()));
            assert_eq!(why(5002), ("WouldDeny".to_owned(), "default/closed".to_owned()));

            let mut seen: Vec<(FlowKind, u16, u64)> = Vec::new();
            for flow in firewall.flows().unwrap().flows {
                assert_eq!(flow.source, address("10.0.0.2"));
                assert_eq!(flow.direction, Direction::Inbound);
                seen.push((flow.kind, flow.port, flow.packets));
            }
            seen.sort_unstable_by_key(|&(_, port, _)| port);
            let (would, denied) = (FlowKind::WouldDeny, FlowKind::Denied);
            assert_eq!(
                seen,
                [(would, 5001, 1), (would, 5002, 1), (denied, 5003, 1), (denied, 5004, 1)]
            );
            let hits = |rule: &str| -> u64 {
                programmed.hits.iter().filter(|hit| hit.rule == rule).map(|hit| hit.packets).sum()
            };
            // Each packet is counted once for a rule, although the rule is in both stances.
            assert_eq!(["e/one", "e/two", "old/peer", "e/three"].map(hits), [1, 1, 1, 0]);
        });
    }
}
