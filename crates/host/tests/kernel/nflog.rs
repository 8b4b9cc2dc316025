use std::net::UdpSocket;
use std::time::Duration;

use xshield_host::linux::nflog::{Aggregate, Drained, Listener, NflogError, Read};

use super::world::{in_own_network, nft, until};

const GROUP: u16 = 5;
const SHORT: Duration = Duration::from_millis(50);

fn log_to(group: u16) {
    nft(&format!(
        r#"table inet t {{
            chain out {{
            type filter hook output priority 0;
            udp dport 7 log prefix "xshield: DENY out rule=web/https " group {group}
            udp dport 8 log prefix "xshield: THREAT out action=DROP " group {group}
            udp dport 9 log prefix "someone else " group {group}
            }}
        }}"#
    ));
}

/// Reads until this many packets are counted or lost.
fn read(listener: &mut Listener, aggregate: &mut Aggregate, packets: u64) -> Read {
    let mut total = Read::default();
    until("all packets", || {
        let read = listener.read(aggregate, SHORT, || 1_000).unwrap();
        total.packets += read.packets;
        total.lost += read.lost;
        total.overruns += read.overruns;
        (total.packets + total.lost >= packets).then_some(())
    });
    total
}

fn said(mut drained: Drained) -> Vec<String> {
    drained.flows.sort_by_key(|live| (live.flow.destination, live.flow.port));
    let text = |live: &xshield_host::linux::nflog::LiveFlow| {
        let flow = &live.flow;
        let what = match flow.threat() {
            Some(threat) => format!("{:?}", threat.action),
            None => format!("{:?}", flow.heading),
        };
        format!(
            "{what} {} {} {} x{} {}B uid={:?} if={:?}",
            flow.destination,
            flow.protocol,
            flow.port,
            flow.packets,
            flow.bytes,
            live.uid,
            live.interface
        )
    };
    drained.flows.iter().map(text).collect()
}

#[test]
fn logged_packets_arrive_as_flows() {
    in_own_network(|| {
        log_to(GROUP);
        let mut listener = Listener::open(&[GROUP]).unwrap();
        let mut aggregate = Aggregate::new(100);
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let v6 = UdpSocket::bind("[::1]:0").unwrap();
        for _ in 0..3 {
            v4.send_to(b"four", "127.0.0.2:7").unwrap();
        }
        v4.send_to(b"four", "127.0.0.2:8").unwrap();
        v4.send_to(b"four", "127.0.0.2:9").unwrap();
        v6.send_to(b"six", "[::1]:7").unwrap();
        let total = read(&mut listener, &mut aggregate, 6);
        assert_eq!(total, Read { packets: 6, lost: 0, overruns: 0 });
        let drained = aggregate.drain();
        assert_eq!(drained.foreign, 1, "{drained:?}");
        let port = v4.local_addr().unwrap().port();
        let from_v4 = drained.flows.iter().find(|live| live.flow.port == 8).unwrap();
        assert_eq!(from_v4.source_port, port);
        let policy =
            "Policy { kind: Denied, direction: Outbound, rule: Some(RuleId(\"web/https\")) }";
        let mut expected = [
            format!("{policy} 127.0.0.2 udp 7 x3 96B uid=Some(0) if=Some(1)"),
            "Blocked 127.0.0.2 udp 8 x1 32B uid=Some(0) if=Some(1)".to_owned(),
            format!("{policy} ::1 udp 7 x1 51B uid=Some(0) if=Some(1)"),
        ];
        let mut got = said(drained);
        got.sort();
        expected.sort();
        assert_eq!(got, expected);
    });
}

#[test]
fn an_unread_flood_is_counted_exactly_as_lost() {
    in_own_network(|| {
        log_to(GROUP);
        let mut listener = Listener::open(&[GROUP]).unwrap();
        let mut aggregate = Aggregate::new(100);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // More than the kernel keeps for a listener that does not read.
        const FLOOD: u64 = 300_000;
        for _ in 0..FLOOD {
            socket.send_to(b"", "127.0.0.2:7").unwrap();
        }
        let mut read_some = |total: &mut Read| {
            let read = listener.read(&mut aggregate, SHORT, || 1).unwrap();
            total.packets += read.packets;
            total.lost += read.lost;
            total.overruns += read.overruns;
            read
        };
        let mut total = Read::default();
        until("the queue is empty", || (read_some(&mut total) == Read::default()).then_some(()));
        assert!(total.overruns > 0, "the kernel said so: {total:?}");
        assert!(total.packets > 0 && total.packets < FLOOD, "{total:?}");
        // What was lost at the end is detected with the next packet.
        socket.send_to(b"", "127.0.0.2:7").unwrap();
        until("the last packet", || {
            read_some(&mut total);
            (total.packets + total.lost == FLOOD + 1).then_some(())
        });
        let drained = aggregate.drain();
        assert_eq!(drained.packets(), total.packets);
        assert_eq!(drained.flows.len(), 1);
    });
}

#[test]
fn a_group_has_one_listener() {
    in_own_network(|| {
        let held = Listener::open(&[GROUP]).unwrap();
        let error = Listener::open(&[GROUP]).unwrap_err();
        assert!(matches!(error, NflogError::Busy { group: GROUP, .. }), "{error:?}");
        drop(held);
        until("the group is free", || Listener::open(&[GROUP]).ok());
    });
}
