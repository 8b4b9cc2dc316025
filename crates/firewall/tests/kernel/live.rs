//! Rules that send packets to a log group.

use std::net::UdpSocket;
use std::time::Duration;

use xshield_firewall::{Capabilities, Firewall, LiveCounters, LiveGroup, Plan, plan_with};
use xshield_policy::{BoundDirection, BoundStance, Mode};

use crate::policies::{bound, closed, open, rules};
use crate::world::{Host, in_namespace, nft_objects, sh};

const MINUTE: Duration = Duration::from_secs(60);

fn a_plan(revision: u64, live: Option<LiveGroup>) -> Plan {
    let mut inbound = closed(&[]);
    inbound.enforced.blocks = rules(&["bad/net any 10.66.0.0/16"]);
    plan_with(&bound(revision, inbound, open()), &Capabilities::FULL, live)
}

fn logs_to_a_group() -> bool {
    sh("nft list ruleset").contains("group ")
}

/// Loopback is never denied, so it sends to the other host.
fn deny(packets: u32) {
    let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
    for _ in 0..packets {
        // The sender gets an error if the output hook drops a packet.
        let _ = socket.send_to(b"denied", "10.0.0.2:9");
    }
}

#[test]
fn live_events_can_be_switched_on_and_off() {
    in_namespace(|| {
        let mut firewall = Firewall::open().unwrap();
        let before = firewall.generation().unwrap();
        assert!(firewall.can_hand_over().unwrap());
        assert_eq!(firewall.generation().unwrap(), before, "asking changes nothing");
        let (off, on) = (a_plan(1, None), a_plan(1, Some(LiveGroup::DEFAULT)));
        let mut counters = LiveCounters::open().unwrap();
        for (step, plan) in [&off, &on, &off, &on].into_iter().enumerate() {
            let trial = firewall.try_apply(plan, MINUTE).unwrap();
            let programmed = firewall.keep(trial).unwrap();
            assert_eq!(programmed.differences(plan), [], "step {step}");
            assert_eq!(logs_to_a_group(), step % 2 == 1, "step {step}");
            assert_eq!(nft_objects("counter").len(), step % 2, "step {step}");
        }
        firewall.apply_now(&off).unwrap();
        assert!(!logs_to_a_group() && nft_objects("counter").is_empty());
        firewall.apply_now(&on).unwrap();
        assert!(logs_to_a_group());
        // Reverted: what was in force increments the counter again.
        let trial = firewall.try_apply(&off, MINUTE).unwrap();
        firewall.revert(trial).unwrap();
        assert_eq!(firewall.read_back().unwrap().differences(&on), []);
        assert_eq!(counters.read().unwrap(), 0);
        let slot = firewall.read_back().unwrap().slot;
        sh(&format!("nft add rule inet xshield deny_in_none_{slot} counter name live accept"));
        assert_ne!(firewall.read_back().unwrap().differences(&on), [], "seen as another's");
        firewall.apply_now(&on).unwrap();
        assert_eq!(firewall.read_back().unwrap().differences(&on), []);
    });
}

#[test]
fn the_live_counter_survives_rulesets_and_counts_unread_packets() {
    in_namespace(|| {
        let _host = Host::joined();
        let mut firewall = Firewall::open().unwrap();
        let live = Some(LiveGroup::DEFAULT);
        let outbound = |revision, mode| {
            let outbound = match mode {
                Mode::Enforce => closed(&[]),
                Mode::Test => BoundDirection::testing(BoundStance::closed()),
            };
            plan_with(&bound(revision, open(), outbound), &Capabilities::FULL, live)
        };
        firewall.apply_now(&outbound(1, Mode::Enforce)).unwrap();
        deny(3);
        let mut counters = LiveCounters::open().unwrap();
        assert_eq!(counters.read().unwrap(), 0, "what came before does not count");
        deny(5);
        assert_eq!(counters.read().unwrap(), 5);
        let trial = firewall.try_apply(&outbound(2, Mode::Test), MINUTE).unwrap();
        deny(7);
        firewall.keep(trial).unwrap();
        deny(1);
        assert_eq!(counters.read().unwrap(), 13);
        firewall.remove().unwrap();
        assert_eq!(counters.read().unwrap(), 13);
        firewall.apply_now(&outbound(3, Mode::Enforce)).unwrap();
        deny(2);
        assert_eq!(counters.read().unwrap(), 15);
    });
}
