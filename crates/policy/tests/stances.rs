//! What is enforced and what is tested if an asset is in several segments.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use xshield_policy::compile::CompileWarning;
use xshield_policy::document::{self, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{
    Compiler, DirectionRules, Facts, Packet, Reason, Revision, Ruleset, Verdict, decide,
};

fn inventory() -> Inventory {
    let assets = ["web", "db"].map(|name| Asset {
        id: format!("id-{name}").try_into().unwrap(),
        name: name.parse().unwrap(),
        addresses: vec![format!("10.77.0.{}", name.len()).parse().unwrap()],
        tags: [("role".parse().unwrap(), name.to_owned().try_into().unwrap())].into(),
        os: "debian 12".to_owned(),
        source: Source::Spark,
    });
    Inventory { assets: assets.to_vec() }
}

fn policy(yaml: &str) -> Policy {
    Policy::build(document::parse(yaml, "test.yaml").unwrap()).unwrap()
}

fn ruleset(policy: &Policy) -> Ruleset {
    let inventory = inventory();
    let compiler = Compiler::new(policy, &inventory, Revision(1), &[]);
    compiler.ruleset(&"id-web".to_owned().try_into().unwrap()).unwrap()
}

/// A short notation for segments and asset documents, one per line, with fixed templates: `segment inbound`
/// or `asset inbound`, where `inbound` is `-` or `LEVEL MODE [LEVEL TESTED]`, then templates.
fn documents(lines: &str) -> String {
    let stance = |words: &[&str]| match words {
        ["-", ..] => String::new(),
        [level, mode, "test", tested] => {
            format!(", inbound: {{ level: {level}, mode: {mode}, test: {tested} }}")
        }
        [level, mode] => format!(", inbound: {{ level: {level}, mode: {mode} }}"),
        other => panic!("{other:?}"),
    };
    let mut yaml = String::from(
        "
template: { name: https, action: allow, ports: [ { name: any, from: [any], services: [tcp/443] } ] }
---
template: { name: ssh, action: allow, inbound: [ { name: any, from: [any], services: [tcp/22] } ] }
---
template: { name: quarantine, action: block, inbound: [ { name: all, from: [any], services: [tcp/443] } ] }
",
    );
    for (at, line) in lines.trim().lines().enumerate() {
        let (head, templates) = line.trim().split_once('[').unwrap();
        let words: Vec<&str> = head.split_whitespace().collect();
        let templates = templates.trim_end_matches(']');
        let who = match words[0] {
            "segment" => format!("segment: {{ name: s{at}, criteria: role = 'web'"),
            _ => "asset: { name: web".to_owned(),
        };
        yaml.push_str(&format!("---\n{who}, templates: [{templates}]{} }}\n", stance(&words[1..])));
    }
    yaml
}

fn verdict(policy: &Policy, port: u16) -> String {
    let (bound, _) = ruleset(policy).bind(&Facts::default());
    let packet: Packet = format!("in tcp 8.8.8.8:4000 -> :{port}").parse().unwrap();
    let got = decide(&bound, &packet);
    let verdict = match got.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::WouldDeny => "would",
    };
    match got.reason {
        Reason::Block(id) | Reason::Allow(id) => format!("{verdict} {id}"),
        Reason::NoRule | Reason::NotSubject => verdict.to_owned(),
        Reason::Failsafe(_) | Reason::LeftAlone => panic!("not asked for"),
    }
}

/// The lines of [`documents`], and the verdicts for ports 443, 22 and 80.
const TABLE: [(&str, [&str; 3]); 15] = [
    // What is enforced stays enforced; the strictest level of each mode counts.
    (
        "segment secure-internet-ports enforce [https]
         segment secure-inbound-paths test []",
        ["would", "deny", "deny"],
    ),
    (
        "segment secure-internet-ports enforce [https]
         segment secure-internet-ports test []",
        ["allow https/any", "deny", "deny"],
    ),
    (
        "segment secure-internet-ports enforce []
         segment secure-all-ports enforce [https]",
        ["allow https/any", "deny", "deny"],
    ),
    ("segment secure-all-ports test [https]", ["allow https/any", "would", "would"]),
    // A quarantine is enforced, whatever is tested beside it.
    (
        "segment unsecured enforce [quarantine]
         segment secure-all-ports test [ssh]",
        ["deny quarantine/all", "allow ssh/any", "would"],
    ),
    // A tested quarantine only reports.
    (
        "segment secure-all-ports enforce [https]
         segment unsecured test [quarantine]",
        ["would quarantine/all", "deny", "deny"],
    ),
    // What a tested segment allows is not enforced.
    (
        "segment secure-all-ports enforce [https]
         segment secure-all-ports test [ssh]",
        ["allow https/any", "deny", "deny"],
    ),
    // A document without a stance for the direction attaches to what is enforced.
    ("segment - [quarantine]", ["deny quarantine/all", "allow", "allow"]),
    (
        "segment secure-all-ports test []
         segment - [https]",
        ["allow https/any", "would", "would"],
    ),
    // One segment with both.
    (
        "segment secure-internet-ports enforce test secure-inbound-paths [https, ssh]",
        ["would", "allow ssh/any", "deny"],
    ),
    // An asset's own document overrides what is enforced with `enforce` ...
    (
        "segment secure-all-ports enforce [https]
         segment secure-inbound-paths test []
         asset unsecured enforce []",
        ["allow", "allow", "allow"],
    ),
    (
        "segment secure-all-ports enforce [https]
         asset unsecured enforce test secure-all-ports []",
        ["allow https/any", "would", "would"],
    ),
    // ... and what is tested with `test`, which opens nothing.
    (
        "segment secure-all-ports enforce [https]
         asset unsecured test []",
        ["allow https/any", "deny", "deny"],
    ),
    (
        "segment secure-internet-ports enforce [https, ssh]
         segment secure-all-ports test []
         asset secure-inbound-paths test []",
        ["would", "allow ssh/any", "deny"],
    ),
    (
        "segment secure-all-ports enforce [https]
         asset secure-all-ports test [quarantine]",
        ["would quarantine/all", "deny", "deny"],
    ),
];

#[test]
fn a_tested_level_only_concerns_the_difference_to_the_enforced_one() {
    for (lines, wanted) in TABLE {
        let policy = policy(&documents(lines));
        let got = [443, 22, 80].map(|port| verdict(&policy, port));
        assert_eq!(got, wanted, "\n{lines}");
    }
}

#[test]
fn a_ruleset_with_one_stance_keeps_the_old_format() {
    #[rustfmt::skip]
    let table = [
        ("segment secure-all-ports enforce [https]", "enforce", "everything", 1, false),
        ("segment secure-all-ports test [https]", "test", "everything", 1, false),
        ("segment - [quarantine]", "enforce", "nothing", 0, false),
        ("segment unsecured test []", "enforce", "nothing", 0, false),
        ("segment secure-internet-ports enforce test secure-all-ports []", "enforce", "internet", 0, true),
    ];
    for (lines, mode, subject, allows, two) in table {
        let ruleset = ruleset(&policy(&documents(lines)));
        let json = serde_json::to_value(&ruleset).unwrap();
        let inbound = &json["inbound"];
        assert_eq!(
            (&inbound["mode"], &inbound["subject"]),
            (&mode.into(), &subject.into()),
            "{lines}"
        );
        assert_eq!(inbound["allows"].as_array().unwrap().len(), allows, "{lines}");
        assert_eq!(inbound.get("tested").is_some(), two, "{lines}");
        assert_eq!(serde_json::from_value::<Ruleset>(json).unwrap(), ruleset, "{lines}");
    }
    let recorded = r#"{"subject":"internet","mode":"test","blocks":[],"allows":[]}"#;
    let rules: DirectionRules = serde_json::from_str(recorded).unwrap();
    assert_eq!(serde_json::to_string(&rules).unwrap(), recorded);
    let twice = r#"{"subject":"internet","mode":"test","blocks":[],"allows":[],
                    "tested":{"subject":"nothing","blocks":[],"allows":[]}}"#;
    let error = serde_json::from_str::<DirectionRules>(twice).unwrap_err().to_string();
    assert!(error.contains("expected mode 'enforce'"), "{error}");
}

#[test]
fn a_tested_level_is_stricter_than_the_enforced_one() {
    for inbound in [
        "{ level: secure-all-ports, mode: enforce, test: secure-internet-ports }",
        "{ level: secure-all-ports, mode: enforce, test: secure-all-ports }",
        "{ level: secure-internet-ports, mode: test, test: secure-all-ports }",
    ] {
        let yaml = format!("segment: {{ name: a, criteria: role = 'web', inbound: {inbound} }}");
        let error = document::parse(&yaml, "a.yaml").unwrap_err();
        assert!(error.reason.contains("a stricter level than in 'level'"), "{inbound}: {error}");
        assert!(error.line > 0, "{error}");
    }
}

#[test]
fn testing_less_than_is_enforced_causes_a_warning() {
    let lines = "segment secure-all-ports enforce []
                 asset secure-internet-ports test []";
    let policy = policy(&documents(lines));
    let warnings = Compiler::new(&policy, &inventory(), Revision(1), &[]).warnings();
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        matches!(
            &warnings[..],
            [CompileWarning::TestsLess { .. }, CompileWarning::Unmanaged { .. }]
        ),
        "{texts:?}"
    );
    assert!(texts[0].contains("asset web") && texts[0].contains("inbound"), "{texts:?}");
}
