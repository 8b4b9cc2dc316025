//! Each batch counts once, in whatever order and however often batches arrive.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{TestHost, TestPlatform, now};
use xshield_policy::{Direction, Protocol};
use xshield_wire::Bytes;
use xshield_wire::message::*;

/// Packets by port of one batch.
type Batch = Vec<(u16, u64)>;

fn batches() -> impl Strategy<Value = (Vec<Batch>, Vec<usize>)> {
    let batch = prop::collection::vec((0u16..4, 1u64..1000), 0..4);
    prop::collection::vec(batch, 1..6).prop_flat_map(|batches| {
        // Each at least once, then some again, in any order.
        let once: Vec<usize> = (0..batches.len()).collect();
        let again = prop::collection::vec(0..batches.len(), 0..6);
        let order =
            again.prop_flat_map(move |again| Just([once.clone(), again].concat()).prop_shuffle());
        (Just(batches), order)
    })
}

fn event(port: u16, packets: u64) -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port,
        rule: None,
        packets,
        bytes: packets,
        first_seen: now(),
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    }
}

#[test]
fn duplicated_and_reordered_batches_add_up_to_the_same() {
    let platform = TestPlatform::start_with(|settings| settings.sessions_per_second = 1000);
    let key = platform.new_key();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let number = std::cell::Cell::new(0);
    let outcome = runner.run(&batches(), |(batches, order)| {
        number.set(number.get() + 1);
        let name = format!("host-{}", number.get());
        let mut host = TestHost::new(&name, &key);
        host.sign_in(&platform);
        let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
        let reports: Vec<Report> = batches
            .iter()
            .map(|batch| {
                for &(port, packets) in batch {
                    *expected.entry(port.into()).or_default() += packets;
                }
                let events = batch.iter().map(|&(port, packets)| event(port, packets)).collect();
                Report {
                    version: VERSION,
                    batch: Bytes(support::random()),
                    created: now(),
                    body: ReportBody::Events(EventReport { events, lost: 1 }),
                }
            })
            .collect();
        for index in order {
            prop_assert_eq!(host.report(&platform, &reports[index]).status, 200);
        }
        let listed = platform.get(&format!("/api/v1/assets/{name}/events"));
        let counted: BTreeMap<u64, u64> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["port"].as_u64().unwrap(), item["packets"].as_u64().unwrap()))
            .collect();
        prop_assert_eq!(counted, expected);
        let lost = platform.get(&format!("/api/v1/assets/{name}"))["events_lost"].as_u64().unwrap();
        prop_assert_eq!(lost, batches.len() as u64);
        Ok(())
    });
    outcome.unwrap();
}
