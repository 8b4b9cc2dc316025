//! How long a domain's addresses stay: from documents to rulesets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use xshield_policy::document::{self, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{Compiler, Revision, Ruleset};

const SEGMENT: &str = "
segment: { name: web, criteria: \"role = 'web'\", templates: [t],
           outbound: { level: secure-intranet-paths, mode: enforce } }
---
template:
  name: t
  action: allow
  outbound:
    - { to: ['domain:one.example'], services: [tcp/443] }
    - { to: ['network:cdn'], services: [tcp/443] }
";

/// The compiled ruleset and the warnings of a policy with these documents in addition to [`SEGMENT`].
fn compile(more: &str) -> (Ruleset, Vec<String>) {
    let text = format!("{SEGMENT}---\n{more}");
    let policy = Policy::build(document::parse(&text, "test.yaml").unwrap()).unwrap();
    let asset = Asset {
        id: "id-web".to_owned().try_into().unwrap(),
        name: "web".parse().unwrap(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        tags: [("role".parse().unwrap(), "web".to_owned().try_into().unwrap())].into(),
        os: String::new(),
        source: Source::Spark,
    };
    let inventory = Inventory { assets: vec![asset] };
    let compiler = Compiler::new(&policy, &inventory, Revision(1), &[]);
    let warnings = compiler.warnings().iter().map(ToString::to_string).collect();
    (compiler.ruleset(&"id-web".to_owned().try_into().unwrap()).unwrap(), warnings)
}

#[test]
fn the_settings_of_a_domain_reach_its_ruleset() {
    // Documents; the ruleset's graces of one.example and two.example; whether there is a warning.
    let table = [
        ("network: { name: cdn, domains: [two.example] }", "", ""),
        ("network: { name: cdn, domains: [two.example], grace: 30m }", "", ""),
        ("network: { name: cdn, domains: [two.example], grace: 0s }", "two 0s", ""),
        ("network: { name: cdn, domains: [two.example], while-connected: true }", "two 30m+", ""),
        (
            "network: { name: cdn, domains: [two.example] }\n---\nsettings: { domain-grace: 2h }",
            "one 2h, two 2h",
            "",
        ),
        (
            "network: { name: cdn, domains: [two.example], grace: 5m }\n---\n\
             settings: { domain-grace: 2h, domains: [{ name: one.example, grace: 30m }] }",
            "two 5m",
            "",
        ),
        (
            "network: { name: cdn, domains: [two.example], grace: 5m, while-connected: true }\n---\n\
             settings: { domains: [{ name: Two.Example., grace: 0s }] }",
            "two 0s+",
            "different graces are set for domain two.example; the shortest applies: 0s, longer while \
             connected",
        ),
        (
            "network: { name: cdn, domains: [two.example], grace: 5m, while-connected: true }\n---\n\
             network: { name: other, domains: [two.example], grace: 300s, while-connected: false }",
            "two 5m",
            "different graces are set for domain two.example; the shortest applies: 5m",
        ),
        (
            // A ruleset has no grace of a domain that it does not name.
            "network: { name: cdn, domains: [two.example] }\n---\n\
             network: { name: other, domains: [three.example], grace: 0s }",
            "",
            "",
        ),
        (
            // An intranet network counts on every host.
            "network: { name: cdn, domains: [two.example] }\n---\n\
             network: { name: vpn, domains: [three.example], grace: 1d, intranet: true }",
            "three 1d",
            "",
        ),
    ];
    for (documents, said, warning) in table {
        let (ruleset, warnings) = compile(documents);
        let got = ruleset.grace.iter().map(|(domain, grace)| {
            let connected = if grace.while_connected { "+" } else { "" };
            format!("{} {}{connected}", domain.as_str().trim_end_matches(".example"), grace.span)
        });
        let got = got.collect::<Vec<_>>().join(", ");
        assert_eq!((got.as_str(), warnings.join("; ").as_str()), (said, warning), "{documents}");
        let json = serde_json::to_string(&ruleset).unwrap();
        // A default is not in the JSON, so that a host that does not know the field accepts it.
        assert_eq!(json.contains("\"grace\""), !said.is_empty(), "{json}");
        assert_eq!(serde_json::from_str::<Ruleset>(&json).unwrap(), ruleset);
    }
}

#[test]
fn a_grace_without_effect_is_refused() {
    for (documents, reason) in [
        ("network: { name: n, cidrs: [10.0.0.0/8], grace: 5m }", "it names none"),
        ("network: { name: n, cidrs: [10.0.0.0/8], while-connected: true }", "it names none"),
        ("settings: { domains: [{ name: a.example }] }", "says neither"),
        (
            "settings: { domains: [{ name: a.example, grace: 1m }, { name: A.example, grace: 2m }] }",
            "a.example is given twice",
        ),
    ] {
        let errors = Policy::build(document::parse(documents, "test.yaml").unwrap()).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(reason), "{documents}: {text}");
    }
    for documents in [
        "network: { name: n, domains: [a.example], grace: 5 }",
        "network: { name: n, domains: [a.example], grace: 31d }",
        "network: { name: n, domains: [a.example], while-connected: yes please }",
        "settings: { domain-grace: forever }",
    ] {
        document::parse(documents, "test.yaml").unwrap_err();
    }
}
