//! The list's effect on packets.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use xshield_firewall::FlowKind;
use xshield_firewall::threat::ThreatMode;
use xshield_policy::{AddressMatch, Direction, Protocol};

use crate::lists::{block, delta, loaded, name, nets, posture};
use crate::world::{
    Connection, Host, address, connect, datagram_arrives, eventually, in_namespace, ping,
};

/// Whether a packet arrives from an address of the other host at a port here.
fn arrives(host: &Host, from: &'static str, socket: &Arc<UdpSocket>) -> bool {
    let socket = Arc::clone(socket);
    host.run(move || datagram_arrives(&UdpSocket::bind((address(from), 0)).unwrap(), &socket))
}

fn socket_at(at: &str) -> Arc<UdpSocket> {
    Arc::new(UdpSocket::bind((address(at), 0)).unwrap())
}

#[test]
fn listed_peers_are_blocked_recorded_or_ignored_by_mode() {
    in_namespace(|| {
        let host = Host::joined();
        let (v4, v6) = (socket_at("10.0.0.1"), socket_at("fd00::1"));
        let all_arrive = |expected: [bool; 3], what: &str| {
            let got = [("10.0.0.2", &v4), ("10.0.0.3", &v4), ("fd00::2", &v6)]
                .map(|(from, to)| arrives(&host, from, to));
            assert_eq!(got, expected, "{what}");
        };
        all_arrive([true; 3], "without a list");
        let old = nets(&["10.0.0.2"]);
        let mut table = loaded(1, &old, &block());
        all_arrive([false, true, true], "one is listed");
        let new = nets(&["10.0.0.3", "fd00::/112"]);
        delta(&mut table, (1, &old), (2, &new), &block()).unwrap();
        all_arrive([true, false, false], "the others are listed");
        table.set_posture(&posture(ThreatMode::EventOnly, ThreatMode::Block)).unwrap();
        all_arrive([true; 3], "events only");
        table.set_posture(&posture(ThreatMode::Off, ThreatMode::Block)).unwrap();
        all_arrive([true; 3], "off");
        assert!(!ping(address("10.0.0.3")) && ping(address("10.0.0.2")), "outbound is blocked");

        let dump = table.matches().unwrap();
        let port = v4.local_addr().unwrap().port();
        let count = |kind, source: &str, port| {
            let source: IpAddr = address(source);
            let flows = dump.flows.iter().filter(|flow| {
                (flow.kind, flow.direction, flow.source) == (kind, Direction::Inbound, source)
                    && (flow.protocol, flow.port) == (Protocol::Udp, port)
            });
            flows.map(|flow| flow.packets).sum::<u64>()
        };
        assert_eq!(count(FlowKind::Denied, "10.0.0.2", port), 1, "{dump:?}");
        assert_eq!(count(FlowKind::Denied, "10.0.0.3", port), 1);
        assert_eq!(count(FlowKind::WouldDeny, "10.0.0.3", port), 1);
        assert_eq!(count(FlowKind::WouldDeny, "fd00::2", v6.local_addr().unwrap().port()), 1);
        let outbound =
            dump.flows.iter().find(|flow| flow.direction == Direction::Outbound).unwrap();
        assert_eq!((outbound.kind, outbound.destination), (FlowKind::Denied, address("10.0.0.3")));
        table.remove().unwrap();
        all_arrive([true; 3], "the table is gone");
    });
}

#[test]
fn established_connections_of_a_newly_listed_peer_end() {
    in_namespace(|| {
        let host = Host::joined();
        let here = TcpListener::bind("10.0.0.1:0").unwrap();
        let to_here = here.try_clone().unwrap();
        let mut inbound = host.run(move || Connection::open(connect, &to_here)).unwrap();
        let there = host.run(|| TcpListener::bind("10.0.0.2:0").unwrap());
        let mut outbound = Connection::open(connect, &there).unwrap();
        let none = nets(&["192.0.2.1"]);
        let mut table = loaded(1, &none, &block());
        assert!(inbound.works() && outbound.works());
        let new = nets(&["10.0.0.2"]);
        delta(&mut table, (1, &none), (2, &new), &block()).unwrap();
        assert!(!inbound.works() && !outbound.works());
        let directions: Vec<_> =
            table.matches().unwrap().flows.iter().map(|flow| flow.direction).collect();
        assert!(directions.contains(&Direction::Outbound), "{directions:?}");
    });
}

#[test]
fn the_failsafe_comes_first() {
    in_namespace(|| {
        let host = Host::joined();
        let platform = host.run(|| TcpListener::bind("10.0.0.2:0").unwrap());
        let other = host.run(|| TcpListener::bind("10.0.0.2:0").unwrap());
        let mut safe = block();
        safe.failsafe.endpoints = vec![platform.local_addr().unwrap()];
        safe.failsafe.resolvers = AddressMatch::Any;
        let entries = nets(&["10.0.0.0/24", "127.0.0.0/8"]);
        let mut table = loaded(1, &entries, &safe);
        assert!(connect(platform.local_addr().unwrap()).is_ok());
        assert!(connect(other.local_addr().unwrap()).is_err());
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(connect(own.local_addr().unwrap()).is_ok(), "loopback");
        table.set_posture(&block()).unwrap();
        assert!(connect(platform.local_addr().unwrap()).is_err());
    });
}

/// The policy admits everyone to what the platform serves, but not listed peers.
#[test]
fn a_listed_peer_does_not_reach_what_the_platform_serves() {
    in_namespace(|| {
        let host = Host::joined();
        let served = TcpListener::bind("10.0.0.1:0").unwrap();
        let to = served.local_addr().unwrap();
        assert!(host.run(move || connect(to)).is_ok(), "nobody is listed");
        let mut safe = block();
        safe.failsafe.served = vec![to];
        let _table = loaded(1, &nets(&["10.0.0.2"]), &safe);
        assert!(host.run(move || connect(to)).is_err());
    });
}

/// One peer is listed before and after every change, the other never: none of the first one's packets
/// passes and none of the other's is lost.
/// Datagrams that found no room in a socket's buffer (the last column of proc(5)'s net/udp).
fn overflowed(socket: &UdpSocket) -> u32 {
    let port = format!(":{:04X}", socket.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let own = columns.into_iter().find(|columns| columns[1].ends_with(&port)).unwrap();
    own.last().unwrap().parse().unwrap()
}

#[test]
fn changes_under_traffic_neither_drop_nor_leak_packets() {
    in_namespace(|| {
        let host = Host::joined();
        let (good, bad) = (socket_at("10.0.0.1"), socket_at("10.0.0.1"));
        let to = [good.local_addr().unwrap(), bad.local_addr().unwrap()];
        let lists = [nets(&["10.0.0.3", "192.0.2.1"]), nets(&["10.0.0.3", "198.51.100.0/24"])];
        let mut table = loaded(0, &lists[0], &block());
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let received = std::thread::spawn({
            let (good, over, sent) = (Arc::clone(&good), Arc::clone(&over), Arc::clone(&sent));
            move || {
                good.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let mut received = 0;
                // As many as were sent, or no more arrive.
                while !over.load(Ordering::Acquire) || received < sent.load(Ordering::Acquire) {
                    match good.recv(&mut [0; 16]) {
                        Ok(_) => received += 1,
                        Err(_) if over.load(Ordering::Acquire) => break,
                        Err(_) => {}
                    }
                }
                received
            }
        });
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
                host.run(move || {
                    let [from, listed] = ["10.0.0.2", "10.0.0.3"]
                        .map(|from| UdpSocket::bind((address(from), 0)).unwrap());
                    while !over.load(Ordering::Acquire) {
                        from.send_to(b"x", to[0]).unwrap();
                        sent.fetch_add(1, Ordering::AcqRel);
                        listed.send_to(b"x", to[1]).unwrap();
                        std::thread::park_timeout(Duration::from_micros(50));
                    }
                });
            });
            for n in 0..200u64 {
                let (old, new) = (&lists[(n % 2) as usize], &lists[((n + 1) % 2) as usize]);
                if n % 50 == 49 {
                    let new_name = name(n + 1, new);
                    table.load(&new_name, &block(), new.iter().copied()).unwrap();
                } else {
                    delta(&mut table, (n, old), (n + 1, new), &block()).unwrap();
                }
            }
            eventually("packets were sent", Duration::from_secs(5), || {
                sent.load(Ordering::Acquire) > 100
            });
            over.store(true, Ordering::Release);
            sender.join().unwrap();
        });
        // Packets that found a full buffer had passed the firewall.
        let received = received.join().unwrap() + overflowed(&good);
        assert_eq!(received, sent.load(Ordering::Acquire), "lost");
        bad.set_nonblocking(true).unwrap();
        assert!(bad.recv(&mut [0; 16]).is_err(), "leaked");
    });
}
