//! The plan's verdict on every packet equals that of `policy::decide`, in every rendering.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "common/mod.rs"]
mod common;

use common::{bound, crowd, packet, passage, retain};
use proptest::prelude::*;
use xshield_firewall::plan::State;
use xshield_firewall::plan::eval::{eval, eval_forwarded, eval_in};
use xshield_firewall::{Capabilities, LiveGroup, Plan, plan, plan_with};
use xshield_policy::decide::FailsafeKind;
use xshield_policy::packet::Transport;
use xshield_policy::{
    Bound, BoundDirection, BoundForwarded, BoundRule, BoundStance, Direction, ForwardedPacket,
    Owner, Packet, Reason, RuleId, decide, decide_forwarded, decide_unplaced,
};

const NO_CGROUPS: Capabilities = Capabilities { cgroups: false, ..Capabilities::FULL };

/// The specification without what the plan omits because the kernel can't express it.
fn expressible(mut bound: Bound, capabilities: &Capabilities) -> Bound {
    if !capabilities.cgroups {
        retain(&mut bound.outbound, |rule| !matches!(rule.owner, Some(Owner::Cgroup(_))));
    }
    if !capabilities.forwarded {
        bound.forwarded = BoundForwarded::default();
    }
    bound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn the_plan_agrees_with_decide(bound in bound(), packets in proptest::collection::vec(packet(), 40)) {
        for capabilities in [Capabilities::FULL, Capabilities::PLAIN, NO_CGROUPS] {
            let plan = plan(&bound, &capabilities);
            let bound = expressible(bound.clone(), &capabilities);
            for packet in &packets {
                let wanted = decide(&bound, packet);
                let got = eval(&plan.sets, &plan.chains, packet);
                prop_assert_eq!(
                    got.verdict, wanted.verdict,
                    "{:?} {}: want {:?}\n{}\n{:#?}", capabilities, packet, wanted, plan, got.steps
                );
                unplaced(&bound, &plan, packet)?;
                if capabilities == Capabilities::FULL {
                    same_rule(&bound, packet, &wanted.reason, got.decided_by().map(|label| &**label))?;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn plans_of_many_rules_agree_with_decide((bound, packets) in crowd()) {
        let plan = plan(&bound, &Capabilities::FULL);
        for packet in &packets {
            let wanted = decide(&bound, packet);
            let got = eval(&plan.sets, &plan.chains, packet);
            prop_assert_eq!(got.verdict, wanted.verdict, "{}: {:#?}", packet, got.steps);
            unplaced(&bound, &plan, packet)?;
            same_rule(&bound, packet, &wanted.reason, got.decided_by().map(|label| &**label))?;
        }
    }
}

/// What connection tracking can't assign to a flow passes as an answer if the specification says so.
fn unplaced(bound: &Bound, plan: &Plan, packet: &Packet) -> Result<(), TestCaseError> {
    let wanted = decide_unplaced(bound, packet);
    let mut states = vec![State::Untracked];
    if matches!(packet.transport, Transport::Tcp(..)) {
        states.push(State::Invalid);
    }
    for state in states {
        let got = eval_in(state, &plan.sets, &plan.chains, packet);
        prop_assert_eq!(
            got.verdict,
            wanted.verdict,
            "{:?} {}: want {:?}\n{}\n{:#?}",
            state,
            packet,
            wanted,
            plan,
            got.steps
        );
    }
    Ok(())
}

/// The minimal rendering that judges forwarded packets.
const PLAIN_FORWARDED: Capabilities = Capabilities { forwarded: true, ..Capabilities::PLAIN };

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
    #[test]
    fn the_plan_agrees_with_decide_for_forwarded_packets(
        bound in bound(),
        packets in proptest::collection::vec((packet(), passage()), 40),
    ) {
        for capabilities in [Capabilities::FULL, Capabilities::PLAIN, NO_CGROUPS, PLAIN_FORWARDED] {
            let plan = plan(&bound, &capabilities);
            let bound = expressible(bound.clone(), &capabilities);
            prop_assert_eq!(plan.judges_forwarded(), bound.forwarded.rules.judges());
            for (packet, passage) in &packets {
                let packet = ForwardedPacket { packet: packet.clone(), passage: *passage };
                let wanted = decide_forwarded(&bound, &packet);
                let got = eval_forwarded(&plan.sets, &plan.chains, &packet);
                prop_assert_eq!(
                    got.verdict, wanted.verdict,
                    "{:?} {}: want {:?}\n{}\n{:#?}", capabilities, packet, wanted, plan, got.steps
                );
                // Without a chain at the hook, there is no label.
                let label = got.decided_by().map_or("default/left-alone", |label| &**label);
                let left_alone = label == "default/left-alone";
                prop_assert_eq!(
                    left_alone, wanted.reason == Reason::LeftAlone,
                    "{}: {:?}\n{:#?}\n{}", packet, wanted, got.steps, plan
                );
            }
        }
    }
}

/// The kernel names a matching rule; if there are several, not always the one that `decide` names.
fn same_rule(
    bound: &Bound,
    packet: &Packet,
    reason: &Reason,
    label: Option<&str>,
) -> Result<(), TestCaseError> {
    let label = label.unwrap_or("none");
    let fits = match reason {
        // Checked last: if a rule or the level accepts it, that is named.
        Reason::Failsafe(FailsafeKind::Platform) if packet.direction == Direction::Inbound => {
            label != "default/closed"
        }
        Reason::Failsafe(_) => label.starts_with("failsafe/"),
        Reason::NotSubject => matches!(label, "default/open" | "default/intranet"),
        Reason::NoRule => label == "default/closed",
        Reason::LeftAlone => label == "default/left-alone",
        Reason::Block(_) | Reason::Allow(_) => {
            let id: RuleId =
                label.parse().map_err(|e| TestCaseError::fail(format!("{label}: {e}")))?;
            let named = |rules: &[BoundRule]| -> Vec<BoundRule> {
                rules.iter().filter(|rule| rule.id == id).cloned().collect()
            };
            // The rule matches in one of the stances on its own.
            bound.direction(packet.direction).stances().any(|stance| {
                let alone = match reason {
                    Reason::Block(_) => {
                        BoundStance { blocks: named(&stance.blocks), ..BoundStance::open() }
                    }
                    _ => BoundStance { allows: named(&stance.allows), ..BoundStance::closed() },
                };
                let alone = BoundDirection::enforcing(alone);
                let bound = Bound { inbound: alone.clone(), outbound: alone, ..bound.clone() };
                matches!(decide(&bound, packet).reason, Reason::Block(_) | Reason::Allow(_))
            })
        }
    };
    prop_assert!(fits, "{packet}: decide says {reason:?}, the plan names {label}");
    Ok(())
}

/// The lines that are only in `new`, each with the one before it; fails if one of `old` is missing.
fn beside(old: &str, new: &str) -> String {
    let mut rest = old.lines().peekable();
    let mut before = "";
    let mut text = String::new();
    for line in new.lines() {
        if rest.next_if_eq(&line).is_none() {
            text.push_str(&format!("after: {}\n  new: {}\n", before.trim(), line.trim()));
        }
        before = line;
    }
    assert_eq!(rest.next(), None);
    text
}

/// A small policy as it appears in the kernel; the recorder, the same for all, is only in the first one.
#[test]
fn a_small_policy_renders_for_both_kernels() {
    let text = r#"{
        "revision": 3,
        "failsafe": {"endpoints": ["192.0.2.1:443"], "resolvers": "any", "management": []},
        "intranet": {"v4": [[167772160, 184549375]], "v6": []},
        "inbound": {"tested": null, "enforced": {
            "subject": "everything",
            "blocks": [{"id": "guests/none", "owner": null, "services": ["any"],
                        "peers": {"only": {"v4": [[167837696, 167837951]], "v6": []}}}],
            "allows": [{"id": "web/https", "owner": null, "services": ["tcp/443", "icmp/echo-request"], "peers": "any"},
                       {"id": "web/db", "owner": null, "services": ["tcp/5432", "udp/500-600"],
                        "peers": {"only": {"v4": [[167772165, 167772165], [167772170, 167772180]], "v6": []}}}]}},
        "outbound": {"enforced": {"subject": "nothing", "blocks": [], "allows": []}, "tested": {
            "subject": "internet", "blocks": [],
            "allows": [{"id": "out/mirror", "owner": {"uid": 42}, "services": ["tcp/80", "tcp/443"], "peers": "any"}]}}
    }"#;
    let bound: Bound = serde_json::from_str(text).unwrap();
    let full = plan(&bound, &Capabilities::FULL);
    insta::assert_snapshot!("full", full);
    insta::assert_snapshot!("plain", plan(&bound, &Capabilities::PLAIN));
    let live = plan_with(&bound, &Capabilities::FULL, Some(LiveGroup::DEFAULT));
    insta::assert_snapshot!("live", beside(&full.to_string(), &live.to_string()));
    assert_ne!(full.digest(), live.digest());
    assert_eq!(full.digest(), plan_with(&bound, &Capabilities::FULL, None).digest());
    assert_eq!(full.digest(), plan(&bound, &Capabilities::FULL).digest());
    assert_ne!(full.digest(), plan(&bound, &Capabilities::PLAIN).digest());
    assert_eq!(full.digest().to_string().parse(), Ok(full.digest()));
}

/// What a test above an enforced stance adds, and that rules of both stances are looked up once.
#[test]
fn a_tested_stance_above_an_enforced_one_renders() {
    let text = r#"{
        "revision": 3,
        "failsafe": {"endpoints": [], "resolvers": {"only": {"v4": [], "v6": []}}, "management": []},
        "intranet": {"v4": [[167772160, 184549375]], "v6": []},
        "inbound": {
            "enforced": {"subject": "internet", "blocks": [], "allows": [
                {"id": "web/https", "owner": null, "services": ["tcp/443"], "peers": "any"}]},
            "tested": null},
        "outbound": {"enforced": {"subject": "nothing", "blocks": [], "allows": []}, "tested": null}
    }"#;
    let mut bound: Bound = serde_json::from_str(text).unwrap();
    let enforced = plan(&bound, &Capabilities::FULL).to_string();
    let tested = r#"{"subject": "everything",
        "blocks": [{"id": "old/tls", "owner": null, "services": ["tcp/443"],
                    "peers": {"only": {"v4": [[167837696, 167837951]], "v6": []}}}],
        "allows": [{"id": "web/https", "owner": null, "services": ["tcp/443"], "peers": "any"},
                   {"id": "db/app", "owner": null, "services": ["tcp/5432"],
                    "peers": {"only": {"v4": [[167772165, 167772165]], "v6": []}}}]}"#;
    bound.inbound.tested = Some(serde_json::from_str(tested).unwrap());
    let both = plan(&bound, &Capabilities::FULL).to_string();
    let https = |plan: &str| plan.matches("comment \"web/https\"").count();
    assert!(https(&both) > 0 && https(&both) == https(&enforced), "{both}");
    let added: Vec<&str> = both.lines().filter(|line| !enforced.contains(line.trim())).collect();
    insta::assert_snapshot!("tested", added.join("\n"));
}
