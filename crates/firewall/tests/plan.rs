//! The plan says about every packet what `policy::decide` says, in every rendering.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "common/mod.rs"]
mod common;

use common::{bound, crowd, packet};
use proptest::prelude::*;
use xshield_firewall::plan::eval::eval;
use xshield_firewall::{Capabilities, LiveGroup, plan, plan_with};
use xshield_policy::{Bound, Owner, Packet, Reason, RuleId, decide};

const NO_CGROUPS: Capabilities = Capabilities { cgroups: false, ..Capabilities::FULL };

/// What the plan leaves out because the kernel can't express it, left out of the specification, too.
fn expressible(mut bound: Bound, capabilities: &Capabilities) -> Bound {
    if !capabilities.cgroups {
        for rules in [&mut bound.outbound.blocks, &mut bound.outbound.allows] {
            rules.retain(|rule| !matches!(rule.owner, Some(Owner::Cgroup(_))));
        }
    }
    bound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn the_plan_is_what_decide_says(bound in bound(), packets in proptest::collection::vec(packet(), 40)) {
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
    fn many_rules_say_what_decide_says((bound, packets) in crowd()) {
        let plan = plan(&bound, &Capabilities::FULL);
        for packet in &packets {
            let wanted = decide(&bound, packet);
            let got = eval(&plan.sets, &plan.chains, packet);
            prop_assert_eq!(got.verdict, wanted.verdict, "{}: {:#?}", packet, got.steps);
            same_rule(&bound, packet, &wanted.reason, got.decided_by().map(|label| &**label))?;
        }
    }
}

/// The kernel names a rule that matches; when several do, not always the one that `decide` names.
fn same_rule(
    bound: &Bound,
    packet: &Packet,
    reason: &Reason,
    label: Option<&str>,
) -> Result<(), TestCaseError> {
    let label = label.unwrap_or("none");
    let fits = match reason {
        Reason::Failsafe(_) => label.starts_with("failsafe/"),
        Reason::NotSubject => matches!(label, "default/open" | "default/intranet"),
        Reason::NoRule => label == "default/closed",
        Reason::Block(_) | Reason::Allow(_) => {
            let mut alone = bound.clone();
            let id: RuleId =
                label.parse().map_err(|e| TestCaseError::fail(format!("{label}: {e}")))?;
            for direction in [&mut alone.inbound, &mut alone.outbound] {
                direction.blocks.retain(|rule| rule.id == id);
                direction.allows.retain(|rule| rule.id == id);
                if matches!(reason, Reason::Allow(_)) {
                    direction.blocks.clear();
                }
            }
            matches!(
                (decide(&alone, packet).reason, reason),
                (Reason::Block(_), Reason::Block(_)) | (Reason::Allow(_), Reason::Allow(_))
            )
        }
    };
    prop_assert!(fits, "{packet}: decide says {reason:?}, the plan names {label}");
    Ok(())
}

/// The lines that are in `new` alone, each with the one before it; fails when one of `old` is not there.
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

/// How a small policy looks in the kernel; the recorder, the same for all, is in the first one only.
#[test]
fn a_small_policy_in_both_renderings() {
    let text = r#"{
        "revision": 3,
        "failsafe": {"endpoints": ["192.0.2.1:443"], "resolvers": "any", "management": []},
        "intranet": {"v4": [[167772160, 184549375]], "v6": []},
        "inbound": {
            "subject": "everything", "mode": "enforce",
            "blocks": [{"id": "guests/none", "owner": null, "services": ["any"],
                        "peers": {"only": {"v4": [[167837696, 167837951]], "v6": []}}}],
            "allows": [{"id": "web/https", "owner": null, "services": ["tcp/443", "icmp/echo-request"], "peers": "any"},
                       {"id": "web/db", "owner": null, "services": ["tcp/5432", "udp/500-600"],
                        "peers": {"only": {"v4": [[167772165, 167772165], [167772170, 167772180]], "v6": []}}}]},
        "outbound": {
            "subject": "internet", "mode": "test", "blocks": [],
            "allows": [{"id": "out/mirror", "owner": {"uid": 42}, "services": ["tcp/80", "tcp/443"], "peers": "any"}]}
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
