//! Inbound allow rules for a program of this host that open no port, and what was found instead.

use std::collections::{BTreeMap, BTreeSet};

use xshield_policy::facts::Listener;
use xshield_policy::{Facts, LocalProgram, Rule, Ruleset};
use xshield_wire::message::Problem;

/// The most rules reported in one run; the others are counted.
const MOST: usize = 20;

/// The inbound allow rules whose program listens on none of the rule's ports. `absent`: the reason for each
/// program that does not listen at all.
pub(crate) fn rules(
    ruleset: &Ruleset,
    facts: &Facts,
    absent: &BTreeMap<LocalProgram, String>,
) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let allows = ruleset.inbound.stances().flat_map(|stance| &stance.allows);
    let told = allows.filter(|rule| seen.insert(&rule.id)).filter_map(|rule| {
        let program = rule.program().filter(|program| !facts.unknown.contains_key(program))?;
        let listeners = facts.listeners.get(&program).map_or(&[][..], Vec::as_slice);
        let opens = listeners.iter().any(|port| rule.services.iter().any(|&s| port.is_within(s)));
        (!opens).then(|| text(rule, &program, listeners, absent.get(&program)))
    });
    let mut told: Vec<String> = told.collect();
    let more = told.len().saturating_sub(MOST);
    if more > 0 {
        told.truncate(MOST);
        told.push(format!("{more} more rules open nothing"));
    }
    let problem = |text| Problem { code: "rule-opens-nothing".to_owned(), text };
    told.into_iter().map(problem).collect()
}

fn text(
    rule: &Rule,
    program: &LocalProgram,
    listeners: &[Listener],
    absent: Option<&String>,
) -> String {
    let services: Vec<String> = rule.services.iter().map(ToString::to_string).collect();
    let found = match (listeners, absent) {
        ([], Some(found)) => found.clone(),
        ([], None) => "it listens on nothing".to_owned(),
        (ports, _) => {
            let ports: Vec<String> =
                ports.iter().map(|port| format!("{}/{}", port.protocol, port.port)).collect();
            format!("it listens on {}", ports.join(", "))
        }
    };
    format!(
        "rule {} (inbound) opens nothing: it is for {program} where that listens on {}; found: \
         {found}",
        rule.id,
        services.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use xshield_policy::document::{self, Policy};
    use xshield_policy::inventory::{Asset, Inventory, Source};
    use xshield_policy::{Protocol, Revision, compile};

    use super::*;

    fn ruleset(rules: &str) -> Ruleset {
        let yaml = format!(
            "segment: {{ name: all, criteria: app = 'shop', templates: [t], \
             inbound: {{ level: secure-all-ports, mode: enforce }} }}\n---\n\
             template: {{ name: t, action: allow, inbound: [ {rules} ] }}\n---\n\
             template: {{ name: never, action: block, inbound: [ {{ name: b, from: [any], \
             services: [tcp/1], process: absent }} ] }}\n"
        );
        let policy = Policy::build(document::parse(&yaml, "test.yaml").unwrap()).unwrap();
        let asset = Asset {
            id: "as-1".parse().unwrap(),
            name: "web".parse().unwrap(),
            tags: [("app".parse().unwrap(), "shop".to_owned().try_into().unwrap())].into(),
            addresses: Vec::new(),
            os: String::new(),
            source: Source::Spark,
        };
        let id = asset.id.clone();
        compile(&policy, &Inventory { assets: vec![asset] }, &id, Revision(1), &[]).unwrap()
    }

    #[test]
    fn a_rule_whose_program_listens_on_none_of_its_ports_is_reported() {
        let rule = |name: &str, services: &str, process: &str| {
            format!("{{ name: {name}, from: [any], services: [{services}], process: {process} }}")
        };
        let program = |name: &str| {
            LocalProgram::from(xshield_policy::ProcessMatch::try_from(name.to_owned()).unwrap())
        };
        let redis = Listener { protocol: Protocol::Tcp, port: 6380 };
        let facts = Facts {
            listeners: [(program("redis"), vec![redis])].into(),
            unknown: [(program("odd"), "no such user".to_owned())].into(),
            ..Facts::default()
        };
        let absent = BTreeMap::from([(program("/opt/db"), "there is no file /opt/db".to_owned())]);
        for (rule, expected) in [
            (rule("a", "tcp/6379-6390", "redis"), None),
            (rule("a", "any", "redis"), None),
            (
                rule("a", "tcp/6379, udp", "redis"),
                Some(
                    "for process redis where that listens on tcp/6379, udp; found: it listens on \
                     tcp/6380",
                ),
            ),
            (
                rule("a", "tcp", "/opt/db"),
                Some(
                    "rule t/a (inbound) opens nothing: it is for process /opt/db where that \
                     listens on tcp; found: there is no file /opt/db",
                ),
            ),
            // Reported as unenforceable.
            (rule("a", "tcp", "odd"), None),
            ("{ name: a, from: [any], services: [tcp/1] }".to_owned(), None),
        ] {
            let told = rules(&ruleset(&rule), &facts, &absent);
            match (expected, &told[..]) {
                (None, []) => {}
                (Some(expected), [problem]) if problem.text.contains(expected) => {
                    assert_eq!(problem.code, "rule-opens-nothing");
                }
                _ => panic!("{rule}: {told:?}, expected {expected:?}"),
            }
        }
        let many: Vec<String> =
            (0..MOST + 3).map(|n| rule(&format!("r{n}"), "tcp", "absent")).collect();
        let told = rules(&ruleset(&many.join(", ")), &facts, &absent);
        assert_eq!(told.len(), MOST + 1);
        assert_eq!(told[MOST].text, "3 more rules open nothing");
    }
}
