use super::*;
use proptest::prelude::*;

use super::super::message::Tuple;

fn connection(source_port: u16, id: u32, bytes: u64) -> Connection {
    let [source, destination]: [IpAddr; 2] = ["10.0.0.5", "10.0.0.9"].map(|ip| ip.parse().unwrap());
    let protocol = Protocol::Tcp;
    let original = Tuple { source, destination, protocol, source_port, port: 443 };
    let reply = Tuple {
        source: destination,
        destination: source,
        protocol,
        source_port: 443,
        port: source_port,
    };
    let counters =
        Some(Counters { packets_sent: bytes / 10, bytes_sent: bytes, ..Counters::default() });
    Connection { original, reply, id, counters, phase: Phase::Open }
}

fn key(port: u16) -> PathKey {
    PathKey {
        way: ConnectionDirection::Outbound,
        source: "10.0.0.5".parse().unwrap(),
        destination: "10.0.0.9".parse().unwrap(),
        protocol: Protocol::Tcp,
        port,
        program: None,
    }
}

fn said(drained: &Drained) -> Vec<(u16, u64, u64, u64)> {
    let mut rows: Vec<_> = drained
        .paths
        .iter()
        .map(|path| (path.key.port, path.connections, path.live, path.counters.bytes_sent))
        .collect();
    rows.sort_unstable();
    rows
}

#[test]
fn a_connection_is_counted_once_and_its_bytes_incrementally() {
    let mut paths = Paths::new(Limits::default());
    paths.begin(&connection(1, 7, 0), key(443), 100);
    paths.begin(&connection(1, 7, 0), key(443), 101);
    assert_eq!(said(&paths.drain()), [(443, 1, 1, 0)]);
    assert_eq!(said(&paths.drain()), [], "nothing new");
    paths.follow(&connection(1, 7, 50), 110);
    paths.follow(&connection(1, 7, 80), 120);
    let drained = paths.drain();
    assert_eq!(said(&drained), [(443, 0, 1, 80)]);
    assert_eq!(drained.paths[0].last_seen, 120);
    paths.end(&connection(1, 7, 95), || None, 130);
    assert_eq!(said(&paths.drain()), [(443, 0, 0, 15)]);
    assert_eq!((paths.live(), paths.numbers.len(), paths.followed.len()), (0, 0, 0));
}

#[test]
fn a_connection_with_a_missed_start_is_counted_at_its_end() {
    let mut paths = Paths::new(Limits::default());
    paths.end(&connection(1, 7, 95), || Some(key(443)), 130);
    paths.end(&connection(2, 8, 95), || None, 130);
    assert_eq!(said(&paths.drain()), [(443, 1, 0, 95)]);
}

#[test]
fn the_same_endpoints_with_another_id_are_another_connection() {
    let mut paths = Paths::new(Limits::default());
    paths.begin(&connection(1, 7, 0), key(443), 1);
    paths.begin(&connection(1, 8, 0), key(443), 1);
    assert_eq!(said(&paths.drain()), [(443, 2, 2, 0)]);
}

#[test]
fn earlier_connections_are_listed_and_not_counted() {
    let mut paths = Paths::new(Limits::default());
    paths.adopt(&connection(1, 7, 1_000), key(443), 5);
    assert_eq!(said(&paths.drain()), [(443, 0, 1, 0)]);
    paths.end(&connection(1, 7, 1_005), || None, 9);
    assert_eq!(said(&paths.drain()), [(443, 0, 0, 5)]);
}

#[test]
fn a_dump_finds_missed_ends() {
    let mut paths = Paths::new(Limits::default());
    for port in 1..=3 {
        paths.begin(&connection(port, 7, 0), key(port), 1);
    }
    paths.begin_list();
    paths.begin(&connection(1, 7, 0), key(1), 2);
    paths.follow(&connection(1, 7, 30), 2);
    paths.begin(&connection(9, 7, 0), key(9), 2);
    assert_eq!(paths.end_list(), 2);
    let live: Vec<_> = said(&paths.drain()).into_iter().map(|row| (row.0, row.2)).collect();
    assert_eq!(live, [(1, 1), (2, 0), (3, 0), (9, 1)]);
    assert_eq!(paths.live(), 2);
}

#[test]
fn at_the_limit_everything_is_still_counted_once() {
    let limits = Limits { paths: 2, connections: 2, followed: 1 };
    let mut paths = Paths::new(limits);
    for port in 1..=5 {
        paths.begin(&connection(port, 7, 0), key(port), 1);
        paths.follow(&connection(port, 7, 10), 1);
    }
    for port in 1..=5 {
        paths.end(&connection(port, 7, 30), || Some(key(port)), 2);
    }
    let drained = paths.drain();
    assert_eq!(said(&drained), [(1, 1, 0, 30), (2, 1, 0, 30)]);
    assert_eq!((drained.overflow_connections, drained.overflow.bytes_sent), (3, 90));
    assert_eq!(paths.slots.len(), 2, "no more than the limit");
}

proptest! {
    /// For any sequence of begins, updates, ends and drains, and any limits: each connection and each byte is
    /// counted once, on a path or as overflow.
    #[test]
    fn packets_are_neither_lost_nor_counted_twice(
        steps in prop::collection::vec((0_u16..12, 0_u8..8, 0_u64..50), 0..300),
        paths_kept in 1_usize..6,
        connections in 1_usize..10,
        followed in 0_usize..6,
    ) {
        let mut paths = Paths::new(Limits { paths: paths_kept, connections, followed });
        let mut open: HashMap<u16, (u32, u64)> = HashMap::new();
        let (mut began, mut moved) = (0_u64, 0_u64);
        let (mut counted, mut bytes) = (0_u64, 0_u64);
        let mut tally = |drained: Drained| {
            counted += drained.overflow_connections;
            counted += drained.paths.iter().map(|path| path.connections).sum::<u64>();
            bytes += drained.overflow.bytes_sent;
            bytes += drained.paths.iter().map(|path| path.counters.bytes_sent).sum::<u64>();
        };
        let mut id = 0;
        for (port, step, more) in steps {
            let path = key(port % 4);
            match (step, open.get(&port).copied()) {
                (0..=3, None) => {
                    id += 1;
                    began += 1;
                    open.insert(port, (id, 0));
                    paths.begin(&connection(port, id, 0), path, 1);
                }
                (0..=4, Some((id, before))) => {
                    moved += more;
                    open.insert(port, (id, before + more));
                    paths.follow(&connection(port, id, before + more), 2);
                }
                (5..=6, Some((id, before))) => {
                    moved += more;
                    open.remove(&port);
                    paths.end(&connection(port, id, before + more), || Some(path), 3);
                }
                _ => tally(paths.drain()),
            }
            prop_assert!(paths.live.len() <= connections && paths.numbers.len() <= paths_kept);
            prop_assert!(paths.followed.len() <= followed);
        }
        for (port, (id, total)) in open {
            paths.end(&connection(port, id, total), || Some(key(port % 4)), 4);
        }
        tally(paths.drain());
        prop_assert_eq!((counted, bytes), (began, moved));
        prop_assert_eq!((paths.live.len(), paths.numbers.len(), paths.followed.len()), (0, 0, 0));
    }
}
