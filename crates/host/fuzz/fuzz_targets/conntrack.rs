//! Any datagram of the kernel results in events or nothing, and paths within their limits.
#![no_main]

mod netlink;

use libfuzzer_sys::fuzz_target;
use netlink::Datagram;
use xshield_host::linux::conntrack::{ConnectionDirection, Event, Limits, PathKey, Paths, events};

/// `NFNL_SUBSYS_CTNETLINK << 8`, of a new and of a deleted one; the end of a list.
const KINDS: [u16; 3] = [1 << 8, 1 << 8 | 2, 3];

fuzz_target!(|datagrams: Vec<Datagram>| {
    let limits = Limits { paths: 4, connections: 6, followed: 3 };
    let mut paths = Paths::new(limits);
    let datagrams: Vec<_> = datagrams.iter().map(|datagram| datagram.bytes(&KINDS)).collect();
    for event in datagrams.iter().flat_map(|datagram| events(datagram)) {
        let (Event::New(connection) | Event::Seen(connection) | Event::Ended(connection)) = event;
        let tuple = connection.original;
        let key = PathKey {
            way: ConnectionDirection::Inbound,
            source: tuple.source,
            destination: tuple.destination,
            protocol: tuple.protocol,
            port: tuple.port,
            program: None,
        };
        match event {
            Event::New(_) => paths.begin(&connection, key, 1),
            Event::Seen(_) => paths.follow(&connection, 2),
            Event::Ended(_) => paths.end(&connection, || Some(key), 3),
        }
        assert!(paths.live() <= limits.connections);
    }
    assert!(paths.drain().paths.len() <= limits.paths);
});
