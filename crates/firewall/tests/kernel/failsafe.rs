//! Failsafe flows that are the same everywhere, with rules that close everything.

use std::net::{Ipv4Addr, SocketAddrV6, TcpListener, UdpSocket};

use xshield_firewall::{Capabilities, Firewall, plan};
use xshield_policy::{BoundDirection, BoundStance};

use crate::policies::{bound, closed, rules};
use crate::world::{
    Connection, Host, RawSocket, TIMEOUT, address, connect, datagram_arrives, firewall,
    in_each_rendering, in_namespace, sh,
};

/// Closes everything, after `before` has shown what passes without a policy.
fn close(before: impl FnOnce()) -> Firewall {
    before();
    let mut firewall = Firewall::open().unwrap();
    let everything = plan(&bound(1, closed(&[]), closed(&[])), firewall.capabilities());
    firewall.apply_now(&everything).unwrap();
    firewall
}

fn hits(firewall: &mut Firewall, rule: &str) -> u64 {
    let hits = firewall.read_back().unwrap().hits;
    hits.iter().filter(|hit| hit.rule == rule).map(|hit| hit.packets).sum()
}

#[test]
fn loopback_is_open_with_any_address() {
    in_namespace(|| {
        let peer = Host::joined();
        let far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        close(|| assert!(Connection::open(connect, &far).is_some(), "passes without policy"));
        assert!(Connection::open(connect, &far).is_none(), "the rest is closed");
        for own in ["127.0.0.1:0", "10.0.0.1:0", "[::1]:0", "[fd00::1]:0"] {
            let listener = TcpListener::bind(own).unwrap();
            let mut connection = Connection::open(connect, &listener).expect(own);
            assert!(connection.works(), "{own}");
        }
    });
}

#[test]
fn dhcp_passes_and_neighbouring_ports_do_not() {
    in_namespace(|| {
        let peer = Host::joined();
        let (here, there) = (udp("10.0.0.1:68"), peer.run(|| udp("10.0.0.2:67")));
        let other = peer.run(|| udp("10.0.0.2:4067"));
        let mut firewall = close(|| assert!(datagram_arrives(&other, &here)));
        assert!(datagram_arrives(&there, &here), "a server's answer");
        assert!(datagram_arrives(&here, &there), "a client's question");
        assert!(!datagram_arrives(&other, &here), "from another port");
        assert!(hits(&mut firewall, "failsafe/dhcp") >= 2);
    });
}

#[test]
fn only_time_servers_are_reachable_by_ntp() {
    in_namespace(|| {
        let peer = Host::joined();
        let here = udp("10.0.0.1:40123");
        let (server, stranger) = peer.run(|| (udp("10.0.0.2:123"), udp("10.0.0.3:123")));
        let keys = peer.run(|| TcpListener::bind("10.0.0.2:4460").unwrap());
        assert!(datagram_arrives(&here, &server) && datagram_arrives(&here, &stranger));
        let mut everything = bound(1, closed(&[]), closed(&[]));
        let mut firewall = Firewall::open().unwrap();
        firewall.apply_now(&plan(&everything, firewall.capabilities())).unwrap();
        assert!(!datagram_arrives(&here, &server), "none is configured");
        let configured: std::net::IpAddr = "10.0.0.2".parse().unwrap();
        everything.failsafe.time_servers = [configured].into_iter().collect();
        firewall.apply_now(&plan(&everything, firewall.capabilities())).unwrap();
        assert!(datagram_arrives(&here, &server), "the configured one");
        assert!(!datagram_arrives(&here, &stranger), "another one");
        assert!(Connection::open(connect, &keys).is_none(), "without NTS, no keys");
        everything.failsafe.time_key_servers = [configured].into_iter().collect();
        firewall.apply_now(&plan(&everything, firewall.capabilities())).unwrap();
        assert!(Connection::open(connect, &keys).is_some(), "with NTS");
        assert!(hits(&mut firewall, "failsafe/ntp") >= 1);
    });
}

/// The platform is reachable on its own host by address and port, whatever the rules; and so are its answers.
#[test]
fn on_its_own_host_only_the_platforms_port_is_open() {
    in_each_rendering(|| {
        let peer = Host::joined();
        sh("ip addr add 10.0.0.9/24 dev v0");
        let at = |own: &str| TcpListener::bind(own).unwrap();
        let platform = [at("10.0.0.1:8443"), at("[fd00::1]:8443")];
        let beside = [at("10.0.0.1:8444"), at("10.0.0.9:8443")];
        let open = |listener: &TcpListener| {
            let to = listener.local_addr().unwrap();
            let near = peer.run(move || connect(to)).ok()?;
            Some(Connection::between(near, listener.accept().unwrap().0))
        };
        let reaches = |listener: &TcpListener| open(listener).is_some_and(|mut way| way.works());
        assert!(platform.iter().chain(&beside).all(reaches), "without a policy");
        let mut held: Vec<Connection> = platform.iter().filter_map(open).collect();

        let blocking = || BoundStance {
            blocks: rules(&["bad/net any 10.0.0.0/24,fd00::/64"]),
            ..BoundStance::open()
        };
        let shut = || closed(&[]).enforced;
        let mut firewall = firewall();
        for (name, inbound) in [
            ("a closed level", closed(&[])),
            ("a block rule", BoundDirection::enforcing(blocking())),
            (
                "a block rule that is tested above a level",
                BoundDirection { enforced: shut(), tested: Some(blocking()) },
            ),
            (
                "a level that is tested above a block rule",
                BoundDirection { enforced: blocking(), tested: Some(shut()) },
            ),
        ] {
            let mut everything = bound(1, inbound, closed(&[]));
            let served = platform.iter().map(|listener| listener.local_addr().unwrap());
            everything.failsafe.served = served.collect();
            firewall.apply_now(&plan(&everything, firewall.capabilities())).unwrap();
            assert!(platform.iter().all(reaches), "{name}");
            assert!(!beside.iter().any(reaches), "{name}");
            assert!(held.iter_mut().all(Connection::works), "{name}: what was open stays so");
            assert!(hits(&mut firewall, "failsafe/platform") >= 2, "{name}");
        }
    });
}

/// Some servers and relay agents answer from another port.
#[test]
fn dhcpv6_answers_from_any_port_on_the_link_and_from_547_elsewhere() {
    in_namespace(|| {
        let peer = Host::joined();
        sh("ip addr add fe80::1/64 dev v0 nodad");
        peer.run(|| sh("ip addr add fe80::2/64 dev v1 nodad"));
        let client = on_link("v0", "fe80::1", 546);
        let routed_client = udp("[fd00::1]:546");
        let (server, relay) =
            peer.run(|| (on_link("v1", "fe80::2", 547), on_link("v1", "fe80::2", 49_152)));
        let (routed, stranger) = peer.run(|| (udp("[fd00::2]:547"), udp("[fd00::2]:49152")));
        let answers = |from: &UdpSocket| {
            // Without a scope: that of the socket applies.
            from.send_to(b"hello", "[fe80::1]:546").unwrap();
            client.set_read_timeout(Some(TIMEOUT)).unwrap();
            client.recv(&mut [0; 16]).is_ok()
        };
        close(|| assert!(answers(&relay) && datagram_arrives(&stranger, &routed_client)));
        assert!(answers(&server), "from the server's port");
        assert!(answers(&relay), "from another port on the link");
        assert!(datagram_arrives(&routed, &routed_client), "from the server's port, routed");
        assert!(!datagram_arrives(&stranger, &routed_client), "from another port, routed");
    });
}

#[test]
fn igmp_passes_both_ways_and_other_protocols_do_not() {
    in_namespace(|| {
        let peer = Host::joined();
        // Without a checksum, so that the kernel itself does not take it for a router of the first version.
        let query = [0x11, 0, 0, 0, 0, 0, 0, 0];
        let (igmp, vrrp) = (RawSocket::v4(2), RawSocket::v4(112));
        let say = |protocol: u8| {
            peer.run(move || RawSocket::v4(protocol).send(&query, address("10.0.0.1")));
        };
        let mut firewall = close(|| {
            say(112);
            assert!(vrrp.hears(address("10.0.0.2")), "passes without policy");
        });
        say(2);
        assert!(igmp.hears(address("10.0.0.2")), "a router's query");
        say(112);
        assert!(!vrrp.hears(address("10.0.0.2")), "another protocol");

        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        let join = |group: [u8; 4], on: [u8; 4]| {
            member.join_multicast_v4(&Ipv4Addr::from(group), &Ipv4Addr::from(on)).unwrap();
        };
        let router = peer.run(|| {
            let router = UdpSocket::bind("0.0.0.0:0").unwrap();
            let reports = Ipv4Addr::new(224, 0, 0, 22);
            router.join_multicast_v4(&reports, &Ipv4Addr::new(10, 0, 0, 2)).unwrap();
            (router, RawSocket::v4(2))
        });
        join([239, 1, 2, 3], [10, 0, 0, 1]);
        assert!(router.1.hears(address("10.0.0.1")), "joining a group");
        assert!(hits(&mut firewall, "failsafe/igmp") >= 2);
    });
}

/// What the host's own rules redirect to the host never leaves it.
#[test]
fn a_redirected_connection_to_the_host_itself_is_loopback() {
    in_namespace(|| {
        let peer = Host::joined();
        let far = peer.run(|| TcpListener::bind("10.0.0.2:9001").unwrap());
        let proxy = TcpListener::bind("0.0.0.0:8081").unwrap();
        sh("nft add table ip nat
            nft add chain ip nat output '{ type nat hook output priority -100; }'
            nft add rule ip nat output tcp dport 9002 redirect to :8081
            nft add rule ip nat output tcp dport 9003 dnat to 10.0.0.1:8081");
        let arrives = |to: &str| {
            let connected = connect(to.parse().unwrap()).is_ok();
            if connected {
                proxy.accept().unwrap();
            }
            connected
        };
        let mut firewall = close(|| {
            assert!(Connection::open(connect, &far).is_some());
            assert!(arrives("10.0.0.2:9002") && arrives("10.0.0.2:9003"));
        });
        assert!(Connection::open(connect, &far).is_none(), "what leaves the host is closed");
        assert!(arrives("10.0.0.2:9002"), "redirected to a loopback address");
        assert!(arrives("10.0.0.2:9003"), "translated to an own address");
        assert!(hits(&mut firewall, "failsafe/loopback") > 0);

        // A kernel without `fib` only knows the loopback addresses.
        let mut plain = Firewall::open_with(Capabilities::PLAIN).unwrap();
        plain.apply_now(&plan(&bound(2, closed(&[]), closed(&[])), &Capabilities::PLAIN)).unwrap();
        assert!(arrives("10.0.0.2:9002"));
        assert!(!arrives("10.0.0.2:9003"));
    });
}

fn udp(at: impl std::net::ToSocketAddrs) -> UdpSocket {
    UdpSocket::bind(at).unwrap()
}

/// A socket at a link-local address.
fn on_link(link: &str, at: &str, port: u16) -> UdpSocket {
    let index = sh(&format!("ip -o link show dev {link}"));
    let index = index.split(':').next().unwrap().parse().unwrap();
    udp(SocketAddrV6::new(at.parse().unwrap(), port, 0, index))
}
