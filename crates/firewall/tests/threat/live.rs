//! Matches that are sent to a log group.

use xshield_firewall::threat::{ThreatMode, ThreatState};
use xshield_firewall::{LiveCounters, LiveGroup};

use crate::lists::{block, loaded, many, posture};
use crate::world::{Host, address, in_namespace, sh};

fn handed_over() -> Vec<String> {
    let text = sh("nft -s list table inet xshield_threat");
    let prefixes = text.lines().filter_map(|line| line.split("log prefix \"").nth(1));
    let handed = prefixes.filter(|rest| rest.contains("group 7733"));
    let mut handed: Vec<String> =
        handed.filter_map(|rest| rest.split('"').next()).map(|text| text.to_owned()).collect();
    handed.sort();
    handed
}

#[test]
fn switching_live_events_does_not_change_the_list() {
    in_namespace(|| {
        let entries = many(1_000, 0);
        let off = posture(ThreatMode::Block, ThreatMode::EventOnly);
        let on = || {
            let mut on = off.clone();
            on.live = Some(LiveGroup::DEFAULT);
            on
        };
        let mut table = loaded(1, &entries, &off);
        let set = || {
            sh("nft -j list sets | tr '{' '\\n' | grep -o '\"name\": \"hosts4_.*handle\": [0-9]*'")
        };
        let (before, none) = (set(), Vec::<String>::new());
        assert_eq!(handed_over(), none);
        for _ in 0..2 {
            table.set_posture(&on()).unwrap();
            assert!(matches!(table.state().unwrap(), ThreatState::InForce(_)));
            assert_eq!(
                handed_over(),
                [
                    "xshield: THREAT in action=DROP ",
                    "xshield: THREAT in action=DROP answer ",
                    "xshield: THREAT out action=PASS ",
                    "xshield: THREAT out action=PASS answer ",
                ]
            );
            table.set_posture(&off).unwrap();
            assert_eq!(handed_over(), none);
        }
        assert_eq!(set(), before, "the sets are the same ones");
        assert_eq!(table.verify_full(entries.clone()).unwrap(), []);
        let old: xshield_firewall::threat::Posture =
            serde_json::from_str(&serde_json::to_string(&block()).unwrap()).unwrap();
        assert_eq!((old.live, old), (None, block()));
        // A new list in the other slot keeps the counter.
        table.set_posture(&on()).unwrap();
        table.load(&crate::lists::name(2, &entries), &on(), entries.clone()).unwrap();
        assert_eq!(handed_over().len(), 4);
    });
}

#[test]
fn live_matches_are_counted() {
    in_namespace(|| {
        let _host = Host::joined();
        let mut live = block();
        live.live = Some(LiveGroup::DEFAULT);
        let _table = loaded(1, &[address("10.0.0.2").into()], &live);
        let mut counters = LiveCounters::open().unwrap();
        let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
        for _ in 0..4 {
            let _ = socket.send_to(b"listed", "10.0.0.2:9");
        }
        assert_eq!(counters.read().unwrap(), 4);
    });
}
