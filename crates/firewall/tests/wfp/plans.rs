//! The plan's verdict on every packet equals that of `policy::decide`, under every reading.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use xshield_firewall::plan::Family;
use xshield_firewall::wfp::eval::EnginePhase;
use xshield_firewall::wfp::model::{
    EngineState, FilterAction, Flags, MatchType, ObjectKey, Weight,
};
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::ours::Tier;
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::{Omission, Plan, PlannedFilter, plan, traffic};
use xshield_policy::packet::Transport;
use xshield_policy::{
    Bound, BoundRule, BoundStance, Direction, Owner, Packet, Reason, Subject, Verdict, decide,
};

use crate::common::{bound, crowd, packet, retain};
use crate::world::{difference, holding, outcomes, programs, state, wanted};

/// A plan, and the filter engine that holds it.
struct Held<'a> {
    bound: &'a Bound,
    plan: &'a Plan,
    state: EngineState,
    planned: HashMap<ObjectKey, &'a PlannedFilter>,
}

impl<'a> Held<'a> {
    fn new(bound: &'a Bound, plan: &'a Plan) -> Self {
        let state = holding(plan);
        let planned = plan.filters_in(Tier::Kept).map(|filter| filter.key);
        let planned = planned.zip(plan.filters.iter().cycle()).collect();
        Self { bound, plan, state, planned }
    }

    /// The verdict, and the rule that is named for it.
    fn agree(&self, packet: &Packet) -> Result<(), TestCaseError> {
        let Self { bound, plan, state, planned } = self;
        let decision = decide(bound, packet);
        difference(state, packet, EnginePhase::Running, wanted(bound, packet))
            .map_err(|text| TestCaseError::fail(format!("{text}\n{plan}")))?;
        for form in traffic::classifications(packet, &programs()) {
            let outcomes = outcomes(state, &form, EnginePhase::Running);
            let keys: HashSet<_> = outcomes.iter().map(|(_, o)| &o.by.unwrap().key).collect();
            prop_assert_eq!(keys.len(), 1, "{}: {:?}", packet, keys);
            for key in keys {
                let named = planned[key];
                let (verdict, label) = (named.verdict, &named.label);
                prop_assert_eq!(verdict, decision.verdict, "{}: {:?}\n{}", packet, decision, plan);
                let fits = match &decision.reason {
                    Reason::Failsafe(_) => label.starts_with("failsafe/"),
                    Reason::Block(_) => label.starts_with("t/"),
                    Reason::NoRule => &**label == "default/closed",
                    Reason::Allow(_) | Reason::NotSubject | Reason::LeftAlone => true,
                };
                prop_assert!(fits, "{}: {:?}, but {} is named", packet, decision, label);
                if verdict == Verdict::WouldDeny && matches!(packet.transport, Transport::Tcp(..)) {
                    prop_assert!(named.is_named_in_events_of_tcp(), "{}: {:?}", packet, named);
                }
            }
        }
        Ok(())
    }
}

/// Properties that make readings irrelevant: distinct weights, one comparison per field, none of them
/// negative, and a filter in every layer that matches everything.
fn no_reading_matters(plan: &Plan) -> Result<(), TestCaseError> {
    let mut weights = HashSet::new();
    let mut keys = HashSet::new();
    for slot in [Tier::Kept, Tier::Trial] {
        for filter in plan.filters_in(slot) {
            let fields: HashSet<_> = filter.conditions.iter().map(|c| &c.field).collect();
            prop_assert_eq!(fields.len(), filter.conditions.len(), "{:?}", filter);
            let is_negative = |kind: MatchType| kind.is_negative();
            prop_assert!(
                !filter.conditions.iter().any(|c| is_negative(c.match_type)),
                "{:?}",
                filter
            );
            prop_assert!(matches!(filter.action, FilterAction::Permit | FilterAction::Block));
            prop_assert!(!filter.flags.contains(Flags::CLEAR_ACTION_RIGHT));
            let Weight::Exact(weight) = filter.weight else {
                return Err(TestCaseError::fail("a weight that Windows chooses"));
            };
            // A persistent filter and its boot-time counterpart do the same.
            let twin = filter.flags.contains(Flags::BOOT_TIME);
            prop_assert!(weights.insert((filter.layer.clone(), twin, weight)), "{:?}", filter);
            prop_assert!(keys.insert(filter.key.clone()), "{:?}", filter);
        }
        for layer in Layer::planned() {
            let mut at_layer = plan.filters.iter().filter(|filter| filter.layer == layer);
            prop_assert!(at_layer.any(|filter| filter.conditions.is_empty()), "{}", layer);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]
    #[test]
    fn the_plan_agrees_with_decide(bound in bound(), packets in proptest::collection::vec(packet(), 30)) {
        let all = plan(&bound, &programs()).unwrap();
        no_reading_matters(&all)?;
        let held = Held::new(&bound, &all);
        for packet in &packets {
            held.agree(packet)?;
        }
    }

    #[test]
    fn unsupported_conditions_are_omitted_and_reported(
        bound in bound(),
        packets in proptest::collection::vec(packet(), 10),
    ) {
        let plan = plan(&bound, &Programs::new()).unwrap();
        let owned = |rule: &BoundRule| rule.owner.is_some();
        let named: HashSet<_> = bound.outbound.stances()
            .flat_map(|stance| stance.blocks.iter().chain(&stance.allows))
            .filter(|rule| owned(rule))
            .map(|rule| rule.id.clone())
            .collect();
        let told: HashSet<_> = plan.unenforceable.iter().map(|told| told.rule.clone()).collect();
        prop_assert_eq!(told, named);
        let mut expressible = bound.clone();
        retain(&mut expressible.outbound, |rule| !owned(rule));
        let held = Held::new(&expressible, &plan);
        for packet in &packets {
            held.agree(packet)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn plans_of_many_rules_agree_with_decide((bound, packets) in crowd()) {
        let plan = plan(&bound, &programs()).unwrap();
        no_reading_matters(&plan)?;
        let held = Held::new(&bound, &plan);
        for packet in packets.iter().take(20) {
            held.agree(packet)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// From the start of the driver on, the policy holds: with boot-time filters only, with some of the
    /// persistent ones in addition while the filter engine starts, and without boot-time ones.
    #[test]
    fn boot_in_any_order_enforces_the_policy(
        bound in bound(),
        packets in proptest::collection::vec(packet(), 10),
        present in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let plan = plan(&bound, &programs()).unwrap();
        let whole = holding(&plan);
        let starting = state(plan.filters_in(Tier::Kept).enumerate().filter(|(at, filter)| {
            filter.flags.contains(Flags::BOOT_TIME) || present[at % 64]
        }).map(|(_, filter)| filter));
        for packet in &packets {
            let wanted = wanted(&bound, packet);
            for (state, phase) in
                [(&whole, EnginePhase::Boot), (&starting, EnginePhase::Starting), (&whole, EnginePhase::Running)]
            {
                difference(state, packet, phase, wanted).map_err(TestCaseError::fail)?;
            }
        }
    }
}

fn example() -> Bound {
    let text = r#"{
        "revision": 7,
        "failsafe": {
            "endpoints": ["192.0.2.1:8443"],
            "resolvers": {"only": {"v4": [[167772213, 167772213]], "v6": []}},
            "management": [{"from": "10.0.0.1/32", "services": ["tcp/3389"]}],
            "served": []},
        "intranet": {"v4": [[167772160, 184549375]], "v6": []},
        "inbound": {
            "enforced": {"subject": "everything",
                "blocks": [{"id": "bad/net", "owner": null, "services": ["any"],
                            "peers": {"only": {"v4": [[167837696, 167837951]], "v6": []}}}],
                "allows": [
                    {"id": "web/https", "owner": null, "services": ["tcp/443"], "peers": "any"},
                    {"id": "ops/ping", "owner": null, "services": ["icmp/echo-request"], "peers": "any"}]},
            "tested": {"subject": "everything", "blocks": [], "allows": [
                {"id": "web/https", "owner": null, "services": ["tcp/443"],
                 "peers": {"only": {"v4": [[167772160, 167772415]], "v6": []}}}]}},
        "outbound": {
            "enforced": {"subject": "nothing", "blocks": [], "allows": []},
            "tested": {"subject": "internet", "blocks": [], "allows": [
                {"id": "update/https", "owner": {"uid": 1}, "services": ["tcp/443"], "peers": "any"}]}}
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn plans_render_as_expected() {
    insta::assert_snapshot!(plan(&example(), &programs()).unwrap());
}

#[test]
fn the_same_rules_have_the_same_digest_and_keys() {
    let bound = example();
    let one = plan(&bound, &programs()).unwrap();
    let mut later = bound.clone();
    later.revision.0 += 1;
    let next = plan(&later, &programs()).unwrap();
    assert_eq!(one.digest(), next.digest());
    let keys = |plan: &Plan| plan.filters_in(Tier::Kept).map(|f| f.key).collect::<HashSet<_>>();
    assert_eq!(keys(&one), keys(&next));
    later.inbound.enforced.allows.pop();
    assert_ne!(plan(&later, &programs()).unwrap().digest(), one.digest());
}

#[test]
fn one_more_rule_adds_its_filters_only() {
    let mut bound = example();
    bound.inbound.tested = None;
    let before = plan(&bound, &programs()).unwrap();
    let rule =
        BoundRule { id: "web/http".parse().unwrap(), ..bound.inbound.enforced.allows[0].clone() };
    let services = vec!["tcp/80".parse().unwrap()];
    bound.inbound.enforced.allows.insert(0, BoundRule { services, ..rule });
    let after = plan(&bound, &programs()).unwrap();
    let known: HashSet<_> = before.filters.iter().map(|f| (&f.layer, &f.conditions)).collect();
    let added: Vec<_> =
        after.filters.iter().filter(|f| !known.contains(&(&f.layer, &f.conditions))).collect();
    let layers: Vec<&Layer> = added.iter().map(|filter| &filter.layer).collect();
    assert_eq!(layers, [&Layer::RecvAccept(Family::V4), &Layer::RecvAccept(Family::V6)]);
}

#[test]
fn inexpressible_rules_are_named() {
    let mut bound = example();
    assert_eq!(plan(&bound, &programs()).unwrap().omissions, []);
    bound.forwarded.rules.inbound.enforced = xshield_policy::Forwarded::Everything;
    assert_eq!(plan(&bound, &programs()).unwrap().omissions, [Omission::Forwarded]);

    // 300 networks by 300 others, which only have their ports in common.
    bound = example();
    let rule = |n: u32, ports: &str| BoundRule {
        id: format!("many/r{n}").parse().unwrap(),
        peers: xshield_policy::AddressMatch::Any,
        services: vec![format!("tcp/{ports}").parse().unwrap()],
        owner: None,
    };
    let blocks = (0..300).map(|n| rule(n, &format!("{}-60000", n + 1))).collect();
    let allows = (0..300).map(|n| rule(n, &format!("{}-61000", n + 1))).collect();
    bound.inbound.enforced = BoundStance { allows, ..BoundStance::closed() };
    bound.inbound.tested = Some(BoundStance { blocks, subject: Subject::Nothing, allows: vec![] });
    let plan = plan(&bound, &programs()).unwrap();
    assert_eq!(plan.omissions, [Omission::Tested(Direction::Inbound)]);
    // What is enforced holds nevertheless.
    bound.inbound.tested = None;
    for text in ["in tcp 10.0.0.9:1 -> :300", "in tcp 10.0.0.9:1 -> :61001"] {
        let packet: Packet = text.parse().unwrap();
        difference(&holding(&plan), &packet, EnginePhase::Running, wanted(&bound, &packet))
            .unwrap();
    }
}

/// A rule for `networks` of IPv4 that can't be merged, each with `services` of TCP.
fn wide(networks: u32, services: u32) -> BoundRule {
    let network = |n: u32| -> ipnet::IpNet {
        ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(0x0a00_0000 + 2 * n), 32).unwrap().into()
    };
    BoundRule {
        id: format!("wide/r{networks}").parse().unwrap(),
        peers: xshield_policy::AddressMatch::Only((0..networks).map(network).collect()),
        services: (1..=services).map(|n| format!("tcp/{}", 2 * n).parse().unwrap()).collect(),
        owner: None,
    }
}

#[test]
fn a_ruleset_with_too_many_filters_is_refused_and_its_largest_rule_is_named() {
    let mut bound = example();
    bound.inbound.tested = None;
    bound.outbound.enforced = BoundStance::open();
    let mut planned = |blocks: Vec<BoundRule>, allows: Vec<BoundRule>| {
        bound.inbound.enforced = BoundStance { blocks, allows, ..BoundStance::closed() };
        plan(&bound, &programs()).map(|plan| plan.filters.len())
    };
    let most = planned(vec![wide(249, 100)], vec![wide(251, 100)]).unwrap();
    assert!((50_000..51_000).contains(&most), "{most}");
    for (blocks, allows, named) in [
        (vec![], vec![wide(501, 100)], "need 50100 filters"),
        (vec![wide(250, 100)], vec![wide(251, 100)], "Rule wide/r251 alone needs 25100"),
        (vec![wide(60_000, 30_000)], vec![], "need 1800000000 filters"),
    ] {
        let error = planned(blocks, allows).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_tested_stance_with_too_many_filters_is_omitted() {
    let mut bound = example();
    for (services, omissions) in [(100, vec![]), (101, vec![Omission::Tested(Direction::Inbound)])]
    {
        bound.inbound.enforced = BoundStance::open();
        let allows = vec![wide(499, services)];
        bound.inbound.tested = Some(BoundStance { allows, ..BoundStance::closed() });
        assert_eq!(plan(&bound, &programs()).unwrap().omissions, omissions);
    }
}

#[test]
fn two_services_at_once_are_reported() {
    let mut bound = example();
    let rule = |id: &str, uid: u32| BoundRule {
        id: id.parse().unwrap(),
        peers: xshield_policy::AddressMatch::Any,
        services: vec!["any".parse().unwrap()],
        owner: Some(Owner::Uid(uid)),
    };
    bound.outbound.enforced =
        BoundStance { allows: vec![rule("a/one", 0)], ..BoundStance::closed() };
    bound.outbound.tested =
        Some(BoundStance { blocks: vec![rule("a/two", 1)], ..BoundStance::open() });
    let told = plan(&bound, &programs()).unwrap().unenforceable;
    let told: Vec<&str> = told.iter().map(|told| told.rule.as_str()).collect();
    assert_eq!(told, ["a/two"]);
}
