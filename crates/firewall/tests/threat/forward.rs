//! Forwarded packets of listed peers, in three network namespaces; and established connections that are cut.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;

use xshield_firewall::threat::ThreatMode;

use crate::lists::{block, delta, loaded, name, nets, posture};
use crate::world::{
    Connection, Host, address, connect, datagram_arrives, eventually, in_namespace, sh,
};

/// Two hosts in networks 1 and 2, between which this thread's namespace forwards.
fn routed() -> [Host; 2] {
    let hosts = [1, 2].map(Host::joined_in);
    sh("echo 1 > /proc/sys/net/ipv4/ip_forward
        echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    // Without its link-local address, a router can't resolve its neighbours.
    let settled = || sh("ip -6 addr show tentative").trim().is_empty();
    eventually("own addresses are in use", Duration::from_secs(10), settled);
    for (host, n) in hosts.iter().zip([1, 2]) {
        host.run(move || {
            eventually("addresses are in use", Duration::from_secs(10), settled);
            sh(&format!(
                "ip route add default via 10.0.{n}.1; ip -6 route add default via fd0{n}::1"
            ))
        });
    }
    hosts
}

/// Whether packets pass from an address of one host to an address of the other, through this namespace.
fn passes([from, to]: [&Host; 2], ends: (&'static str, &'static str)) -> bool {
    let source = from.run(move || UdpSocket::bind((address(ends.0), 0)).unwrap());
    let target = to.run(move || UdpSocket::bind((address(ends.1), 0)).unwrap());
    datagram_arrives(&source, &target)
}

#[test]
fn forwarded_packets_from_and_to_listed_peers_are_dropped() {
    in_namespace(|| {
        let [one, other] = routed();
        let ways = [
            ([&one, &other], ("10.0.1.2", "10.0.2.2")),
            ([&one, &other], ("10.0.1.3", "10.0.2.2")),
            ([&one, &other], ("10.0.1.3", "10.0.2.3")),
            ([&other, &one], ("10.0.2.2", "10.0.1.2")),
            ([&one, &other], ("fd01::2", "fd02::2")),
        ];
        let expect = |expected: [bool; 5], what: &str| {
            let got = ways.map(|(hosts, ends)| passes(hosts, ends));
            assert_eq!(got, expected, "{what}");
        };
        expect([true; 5], "without a list");
        let old = nets(&["10.0.1.2", "fd01::2"]);
        let mut table = loaded(1, &old, &block());
        // As a source, and as a destination.
        expect([false, true, true, false, false], "one is listed");
        let new = nets(&["10.0.2.2", "fd02::/64"]);
        delta(&mut table, (1, &old), (2, &new), &block()).unwrap();
        expect([false, false, true, false, false], "the other is listed, IPv6 by a prefix");
        table.set_posture(&posture(ThreatMode::EventOnly, ThreatMode::EventOnly)).unwrap();
        let recorded = || -> u64 { table_matches(address("10.0.1.3"), address("10.0.2.2")) };
        let before = recorded();
        expect([true; 5], "events only");
        assert_eq!(recorded(), before + 1, "the packet that passed is counted");
        table.remove().unwrap();
        expect([true; 5], "the table is gone");
    });
}

/// Recorded packets of a flow.
fn table_matches(source: IpAddr, destination: IpAddr) -> u64 {
    let dump = xshield_firewall::threat::ThreatTable::open().unwrap().matches().unwrap();
    let flows = dump.flows.iter();
    flows
        .filter(|flow| (flow.source, flow.destination) == (source, destination))
        .map(|flow| flow.packets)
        .sum()
}

#[test]
fn established_connections_end_with_a_full_load() {
    in_namespace(|| {
        let [one, other] = routed();
        for (listed, listener_at, from) in
            [("10.0.1.2", "10.0.2.2", "10.0.1.2"), ("fd02::2", "fd02::2", "fd01::2")]
        {
            // Forwarded, and from a host to this one, in one table.
            let far = other.run(move || TcpListener::bind((address(listener_at), 0)).unwrap());
            let here_at = if from.contains(':') { "fd01::1" } else { "10.0.1.1" };
            let near = TcpListener::bind((address(here_at), 0)).unwrap();
            let near_copy = near.try_clone().unwrap();
            let mut table = loaded(1, &nets(&["192.0.2.1"]), &block());
            let mut through = one.run(move || Connection::open(connect, &far)).unwrap();
            let mut to_here = one.run(move || Connection::open(connect, &near_copy)).unwrap();
            assert!(through.works() && to_here.works());
            let new = nets(&[listed]);
            table.load(&name(2, &new), &block(), new.clone()).unwrap();
            assert!(!through.works(), "forwarded, {listed} is listed");
            let cut = listed == from;
            assert_eq!(to_here.works(), !cut, "to this host, {listed} is listed");
            table.remove().unwrap();
        }
    });
}

#[test]
fn established_ipv6_connections_end_with_a_delta_in_both_directions() {
    in_namespace(|| {
        let host = Host::joined();
        let here = TcpListener::bind("[fd00::1]:0").unwrap();
        let mut inbound = host.run(move || Connection::open(connect, &here)).unwrap();
        let there = host.run(|| TcpListener::bind("[fd00::2]:0").unwrap());
        let mut outbound = Connection::open(connect, &there).unwrap();
        let old = nets(&["2001:db8::1"]);
        let mut table = loaded(1, &old, &block());
        assert!(inbound.works() && outbound.works());
        let new = nets(&["2001:db8::1", "fd00::2"]);
        delta(&mut table, (1, &old), (2, &new), &block()).unwrap();
        assert!(!inbound.works() && !outbound.works());
    });
}
