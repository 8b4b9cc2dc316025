//! While other programs change their own rules continuously.

use xshield_firewall::threat::{ThreatMode, ThreatState};
use xshield_firewall::{Capabilities, Firewall};

use crate::lists::{block, delta, loaded, many, posture};
use crate::world::{beside_others, in_namespace};

/// For the threat list's table, the policy's is another program's.
fn stranger() -> impl FnMut() {
    let mut other = Firewall::open_with(Capabilities::FULL).unwrap();
    move || other.remove().unwrap()
}

#[test]
fn other_programs_can_change_their_rules_concurrently() {
    in_namespace(|| {
        let [first, second] = [1, 2].map(|seed| many(20_000, seed));
        beside_others(stranger, || {
            let mut table = loaded(1, &first, &block());
            delta(&mut table, (1, &first), (2, &second), &block()).unwrap();
            table.set_posture(&posture(ThreatMode::EventOnly, ThreatMode::Block)).unwrap();
            let state = table.state().unwrap();
            assert!(matches!(&state, ThreatState::InForce(_)), "{state:?}");
            assert_eq!(table.verify_full(second.iter().copied()).unwrap(), []);
        });
    });
}
