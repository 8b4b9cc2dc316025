use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use xshield_host::linux::conntrack::{
    Accounting, ConnectionDirection, Monitor, Path, Report, Settings,
};
use xshield_policy::Protocol;

use super::world::{Peer, in_own_network, nft, run, until};

const SHORT: Duration = Duration::from_millis(20);

/// Two hosts; this one's kernel tracks and counts connections.
fn tracked() -> Peer {
    let peer = Peer::joined();
    nft("table inet t {
        chain in { type filter hook input priority 0; ct state new accept; }
    }");
    Accounting::switch_on().unwrap();
    assert_eq!(Accounting::read(), Accounting::On);
    peer
}

fn monitor() -> Monitor {
    Monitor::open(Settings::default(), 1).unwrap()
}

/// Reads until this many connections have begun and ended.
fn read(monitor: &mut Monitor, began: u64, ended: u64) {
    let mut total = (0, 0);
    until("connections begin and end", || {
        let activity = monitor.read(SHORT, 1_000).unwrap();
        total = (total.0 + activity.began, total.1 + activity.ended);
        (total.0 >= began && total.1 >= ended).then_some(())
    });
}

/// Opens a connection, sends and receives, and closes it.
fn talk(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
}

fn echo(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    // Until the other side has closed.
    let _ = stream.read(&mut bytes);
}

/// Whether a connection to this port of this host is still closing.
fn is_closing(port: u16) -> bool {
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] != LISTEN
    })
}

/// Drains until `is_enough` of all paths so far.
fn drained(monitor: &mut Monitor, is_enough: impl Fn(&Paths) -> bool) -> Paths {
    let mut paths = Paths::new();
    until("the paths are there", || {
        monitor.read(SHORT, 1_000).unwrap();
        for path in monitor.drain(1_001).unwrap().drained.paths {
            match paths.entry(path.key.port) {
                Entry::Vacant(entry) => {
                    entry.insert(path);
                }
                Entry::Occupied(mut entry) => {
                    let sum = entry.get_mut();
                    sum.connections += path.connections;
                    sum.counters.add(path.counters);
                    (sum.key, sum.live) = (path.key, path.live);
                }
            }
        }
        is_enough(&paths).then_some(())
    });
    paths
}

type Paths = BTreeMap<u16, Path>;

fn by_port(report: &Report) -> Paths {
    report.drained.paths.iter().map(|path| (path.key.port, path.clone())).collect()
}

#[test]
fn short_connections_become_paths_with_bytes_and_programs() {
    in_own_network(|| {
        let peer = tracked();
        let mut monitor = monitor();
        assert_eq!(monitor.drain(1).unwrap().drained.paths, []);

        let here = TcpListener::bind("10.0.0.1:7001").unwrap();
        peer.run(|| {
            let there = TcpListener::bind("[fd00::2]:7002").unwrap();
            std::thread::spawn(move || (0..3).for_each(|_| echo(&there)));
        });
        // Kept open until the first search for programs.
        let held = TcpStream::connect("[fd00::2]:7002").unwrap();
        let from_there = std::thread::spawn(move || {
            peer.run(|| (0..2).for_each(|_| talk("10.0.0.1:7001".parse().unwrap())));
            peer
        });
        (0..2).for_each(|_| echo(&here));
        let peer = from_there.join().unwrap();
        read(&mut monitor, 3, 0);
        let paths = drained(&mut monitor, |paths| {
            let of = |port| paths.get(&port);
            of(7001).is_some_and(|path| path.connections == 2)
                && of(7002).is_some_and(|path| path.counters.bytes_sent > 0)
        });
        let inbound = &paths[&7001];
        assert_eq!((inbound.key.way, inbound.connections), (ConnectionDirection::Inbound, 2));
        assert_eq!(inbound.key.source.to_string(), "10.0.0.2");
        let outbound = &paths[&7002];
        assert_eq!((outbound.key.way, outbound.connections), (ConnectionDirection::Outbound, 1));
        assert_eq!(outbound.key.source.to_string(), "fd00::1");
        assert!(outbound.counters.packets_sent >= 2, "{outbound:?}");
        let me = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        for path in [inbound, outbound] {
            let program = path.key.program.as_deref().unwrap();
            assert_eq!(program.path.as_deref(), Some(me.as_str()), "{path:?}");
            assert_eq!((program.uid, program.user.as_deref()), (Some(0), Some("root")));
        }
        let early = inbound.counters;

        // A last packet that arrives after the flush would count as a new connection.
        until("the server has closed", || (!is_closing(7001)).then_some(()));
        drop((held, peer));
        // The kernel keeps closed connections for two minutes; this ends them now.
        run("conntrack", &["-F"]);
        read(&mut monitor, 0, 3);
        let paths = by_port(&monitor.drain(3).unwrap());
        let mut inbound = paths[&7001].clone();
        assert_eq!((inbound.connections, inbound.live), (0, 0));
        inbound.counters.add(early);
        // Five bytes in three packets at least, each with headers of 20 + 32 bytes.
        assert!(inbound.counters.bytes_sent > 2 * (5 + 3 * 52), "{inbound:?}");
        assert!(inbound.counters.bytes_received > 2 * (5 + 2 * 52), "{inbound:?}");
        assert_eq!(monitor.live(), 0);
    });
}

#[test]
fn datagrams_and_local_connections_become_paths() {
    in_own_network(|| {
        let peer = tracked();
        let mut monitor = monitor();
        let here = UdpSocket::bind("10.0.0.1:7003").unwrap();
        peer.run(|| {
            UdpSocket::bind("10.0.0.2:9000").unwrap().send_to(b"x", "10.0.0.1:7003").unwrap()
        });
        let out = UdpSocket::bind("0.0.0.0:0").unwrap();
        out.send_to(b"x", "10.0.0.2:7004").unwrap();
        out.send_to(b"x", "10.0.0.1:7005").unwrap();
        out.send_to(b"x", "127.0.0.1:7006").unwrap();
        read(&mut monitor, 4, 0);
        let paths = drained(&mut monitor, |paths| paths.len() == 2);
        let said: Vec<_> = paths
            .into_values()
            .map(|path| {
                let named = path.key.program.is_some_and(|program| program.path.is_some());
                (path.key.way, path.key.protocol, path.key.port, path.connections, named)
            })
            .collect();
        let expected = [
            (ConnectionDirection::Inbound, Protocol::Udp, 7003, 1, true),
            (ConnectionDirection::Outbound, Protocol::Udp, 7004, 1, true),
        ];
        assert_eq!(said, expected);
        drop(here);
    });
}

#[test]
fn connections_opened_before_are_known_and_not_counted_again() {
    in_own_network(|| {
        let peer = tracked();
        let listener = peer.run(|| TcpListener::bind("10.0.0.2:7007").unwrap());
        let mut stream = TcpStream::connect("10.0.0.2:7007").unwrap();
        let (mut far, _) = listener.accept().unwrap();
        stream.write_all(&[0; 10_000]).unwrap();
        far.read_exact(&mut [0; 10_000]).unwrap();
        let mut monitor = monitor();
        let before = by_port(&monitor.drain(1).unwrap());
        let before = &before[&7007];
        assert_eq!((before.connections, before.live), (0, 1));
        assert!(before.counters.bytes_sent < 10_000, "{before:?}");
        stream.write_all(&[0; 3_000]).unwrap();
        far.read_exact(&mut [0; 3_000]).unwrap();
        let after = by_port(&monitor.drain(2).unwrap());
        let sent = after[&7007].counters.bytes_sent;
        assert!((3_000..10_000).contains(&sent), "{after:?}");
    });
}

#[test]
fn an_unread_flood_is_counted_and_recovered_from_a_dump() {
    in_own_network(|| {
        let _peer = tracked();
        // So few that a slow machine has no time to ask for all of them.
        let settings = Settings { lookups_per_second: 50, ..Settings::default() };
        let mut monitor = Monitor::open(settings, 0).unwrap();
        const FLOOD: u64 = 40_000;
        let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
        for port in 1..=FLOOD {
            let port = u16::try_from(port).unwrap();
            let to = SocketAddr::from(([10, 0, 0, 2], port));
            // The error that no program listens there is returned by the next call.
            let _ = socket.send_to(b"x", to).or_else(|_| socket.send_to(b"x", to)).unwrap();
        }
        until("the queue is empty", || {
            (monitor.read(SHORT, 2).unwrap() == Default::default()).then_some(())
        });
        let (mut counted, mut lost, mut unasked, mut missed) = (0, 0, 0, 0);
        until("all are counted", || {
            monitor.read(SHORT, 3).unwrap();
            let report = monitor.drain(3).unwrap();
            counted += report.drained.paths.iter().map(|path| path.connections).sum::<u64>();
            lost += report.lost_events;
            unasked += report.unasked;
            missed += report.missed_ends;
            (counted >= FLOOD).then_some(())
        });
        assert!(lost > 0, "the kernel said so");
        assert!(unasked > 0, "no more look-ups than the budget");
        assert_eq!((counted, missed), (FLOOD, 0));
        assert_eq!(monitor.live() as u64, FLOOD);

        // All end at once, and most of the messages are lost.
        run("conntrack", &["-F"]);
        until("the queue is empty", || {
            (monitor.read(SHORT, 4).unwrap() == Default::default()).then_some(())
        });
        let report = monitor.drain(5).unwrap();
        assert!(report.lost_events > 0 && report.missed_ends > 0, "{}", report.lost_events);
        assert_eq!(report.lost_events, report.missed_ends, "each lost message was an end");
        assert_eq!(monitor.live(), 0);
    });
}
