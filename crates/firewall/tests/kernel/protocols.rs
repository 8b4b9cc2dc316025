//! SCTP by ports, and protocols of which only the number is known.

use xshield_firewall::{Firewall, FlowKind, explain, plan};
use xshield_policy::Protocol;

use crate::policies::{bound, closed, rules};
use crate::world::{Host, RawSocket, address, in_namespace, sh};

/// An SCTP packet to a port: the common header (RFC 9260) and an INIT chunk.
fn sctp(port: u16) -> Vec<u8> {
    let mut packet = Vec::from(4000_u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20]);
    packet.extend([0, 0, 0, 1, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet
}

#[test]
fn rules_match_sctp_by_port_and_other_protocols_by_number() {
    in_namespace(|| {
        let peer = Host::joined();
        // Handmade SCTP packets have no checksum.
        sh("echo 0 > /proc/sys/net/netfilter/nf_conntrack_checksum");
        let hears = |protocol: u8, content: Vec<u8>| {
            let socket = RawSocket::v4(protocol);
            peer.run(move || RawSocket::v4(protocol).send(&content, address("10.0.0.1")));
            socket.hears(address("10.0.0.2"))
        };
        let gre = vec![0, 0, 0x88, 0xbe, 0, 0, 0, 0];
        let passes = || {
            [
                hears(132, sctp(36_412)),
                hears(132, sctp(5)),
                hears(132, sctp(11)),
                hears(47, gre.clone()),
                hears(112, vec![0; 8]),
            ]
        };
        assert_eq!(passes(), [true; 5], "without a policy");
        let mut firewall = Firewall::open().unwrap();
        let allows = ["a/s1 sctp/36412 10.0.0.2/32", "a/more sctp/1-10 any", "a/tunnel gre any"];
        let mut policy = bound(1, closed(&allows), closed(&[]));
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        assert_eq!(passes(), [true, true, false, true, false]);

        let flows = firewall.flows().unwrap().flows;
        let mut denied: Vec<_> = flows
            .iter()
            .filter(|flow| flow.kind == FlowKind::Denied)
            .map(|flow| (flow.protocol.to_string(), flow.port, flow.packets))
            .collect();
        denied.sort_unstable();
        assert_eq!(denied, [("sctp".to_owned(), 11, 1), ("vrrp".to_owned(), 0, 1)]);
        let accepted = |protocol, port| {
            flows.iter().any(|flow| {
                (flow.kind, flow.protocol, flow.port) == (FlowKind::Accepted, protocol, port)
            })
        };
        assert!(accepted(Protocol::Other(132), 36_412) && accepted(Protocol::Other(47), 0));

        let programmed = firewall.read_back().unwrap();
        for (packet, rule) in [
            ("in sctp 10.0.0.2:4000 -> :36412", "a/s1"),
            ("in sctp 10.0.0.2:4000 -> :5", "a/more"),
            ("in sctp 10.0.0.2:4000 -> :11", "default/closed"),
            ("in proto gre 10.0.0.2", "a/tunnel"),
            ("in proto 112 10.0.0.2", "default/closed"),
            ("in proto igmp 10.0.0.2", "failsafe/igmp"),
        ] {
            let explained = explain(&programmed, &packet.parse().unwrap());
            assert_eq!(explained.rule.as_deref(), Some(rule), "{packet}");
        }

        policy.inbound.enforced.blocks = rules(&["b/tunnel gre 10.0.0.2/32"]);
        firewall.apply_now(&plan(&policy, firewall.capabilities())).unwrap();
        assert_eq!(passes(), [true, true, false, false, false], "a block rule comes first");
    });
}
