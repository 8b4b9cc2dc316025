//! Packets whose flow's opener is unknown to connection tracking.

use std::net::UdpSocket;

use xshield_firewall::{Capabilities, Firewall, plan};
use xshield_policy::Bound;

use crate::policies::{bound, closed, open, rules};
use crate::world::{Connection, Host, connect, datagram_arrives, in_namespace, sh};

/// Exempts these flows of this host from connection tracking, in both directions.
fn not_tracked(packets: &str) {
    sh(&format!(
        "nft add table inet raw
        nft add chain inet raw in '{{ type filter hook prerouting priority -300; }}'
        nft add chain inet raw out '{{ type filter hook output priority -300; }}'
        nft add rule inet raw in {packets} notrack
        nft add rule inet raw out {packets} notrack"
    ));
}

fn in_force(policy: &Bound, capabilities: Capabilities) -> Firewall {
    let mut firewall = Firewall::open_with(capabilities).unwrap();
    firewall.apply_now(&plan(policy, &capabilities)).unwrap();
    firewall
}

/// A server whose flows are not tracked, as is common for large name servers.
#[test]
fn an_untracked_server_answers_only_allowed_flows() {
    in_namespace(|| {
        let peer = Host::joined();
        not_tracked("meta l4proto udp");
        let (dns, other) = (udp("10.0.0.1:53"), udp("10.0.0.1:5353"));
        let client = peer.run(|| udp("10.0.0.2:40000"));
        assert!(datagram_arrives(&other, &client), "passes without policy");
        for capabilities in [Capabilities::FULL, Capabilities::PLAIN] {
            let mut policy = bound(1, closed(&["a/dns udp/53 any"]), closed(&[]));
            in_force(&policy, capabilities);
            assert!(datagram_arrives(&client, &dns), "a question");
            assert!(datagram_arrives(&dns, &client), "its answer");
            assert!(!datagram_arrives(&client, &other), "another question");
            assert!(!datagram_arrives(&other, &client), "what answers no question that is let in");

            policy.inbound.enforced.blocks = rules(&["b/peer udp/53 10.0.0.2/32"]);
            in_force(&policy, capabilities);
            assert!(!datagram_arrives(&dns, &client), "blocked in the direction of the flow");

            in_force(&bound(2, open(), closed(&[])), capabilities);
            assert!(!datagram_arrives(&dns, &client), "an open level names no flow");
        }
    });
}

#[test]
fn an_untracked_client_receives_only_answers_to_allowed_flows() {
    in_namespace(|| {
        let peer = Host::joined();
        not_tracked("meta l4proto udp");
        let client = udp("10.0.0.1:40000");
        let (resolver, ntp, other) =
            peer.run(|| (udp("10.0.0.2:53"), udp("10.0.0.2:123"), udp("10.0.0.2:124")));
        assert!(datagram_arrives(&other, &client), "passes without policy");
        let mut policy = bound(1, closed(&[]), closed(&["o/ntp udp/123 10.0.0.2/32"]));
        policy.failsafe.resolvers = rules(&["r/r udp 10.0.0.2/32"]).remove(0).peers;
        for capabilities in [Capabilities::FULL, Capabilities::PLAIN] {
            in_force(&policy, capabilities);
            assert!(datagram_arrives(&client, &resolver) && datagram_arrives(&resolver, &client));
            assert!(datagram_arrives(&client, &ntp) && datagram_arrives(&ntp, &client));
            assert!(!datagram_arrives(&other, &client), "no rule names it");
        }
    });
}

/// TCP: a denied connection is not kept open by the answers of another rule.
#[test]
fn untracked_connections_work_only_where_allowed() {
    in_namespace(|| {
        let peer = Host::joined();
        not_tracked("meta l4proto tcp");
        let listen = |at: &'static str| std::net::TcpListener::bind(at).unwrap();
        let (web, shell) = (listen("10.0.0.1:8001"), listen("10.0.0.1:8002"));
        let far = peer.run(move || listen("10.0.0.2:9001"));
        let inward = |listener| Connection::open(|to| peer.run(move || connect(to)), listener);
        let mut cut = inward(&shell).expect("passes without policy");
        let policy =
            bound(1, closed(&["a/web tcp/8001 any"]), closed(&["o/far tcp/9001,tcp/9003 any"]));
        in_force(&policy, Capabilities::FULL);
        assert!(inward(&web).expect("allowed in").works());
        assert!(Connection::open(connect, &far).expect("allowed out").works());
        assert!(!cut.works(), "denied");
        assert!(inward(&shell).is_none(), "denied");
        // A SYN opens, from any port.
        let from_service_port = peer.run(|| {
            let socket = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            )
            .unwrap();
            let from: std::net::SocketAddr = "10.0.0.2:9003".parse().unwrap();
            rustix::net::bind(&socket, &from).unwrap();
            rustix::net::sockopt::set_socket_timeout(
                &socket,
                rustix::net::sockopt::Timeout::Send,
                Some(crate::world::TIMEOUT),
            )
            .unwrap();
            let to: std::net::SocketAddr = "10.0.0.1:8002".parse().unwrap();
            rustix::net::connect(&socket, &to).is_ok()
        });
        assert!(!from_service_port);
    });
}

fn udp(at: &str) -> UdpSocket {
    UdpSocket::bind(at).unwrap()
}
