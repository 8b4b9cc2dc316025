//! Accepted and refused documents, and their error messages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use xshield_policy::document::{self, Policy};

#[test]
fn bad_text_is_refused_with_line_and_column() {
    for (text, place, reason) in [
        ("segment:\n  name: web\n", "f.yaml:2:3", "missing field `criteria`"),
        ("segment:\n  name: web\n  criteria: role ~ 'x'\n", "f.yaml:3:13", "did you mean '='"),
        ("segment:\n  name: -web\n  criteria: a = 'b'\n", "f.yaml:2:9", "is not a valid name"),
        ("segment:\n  name: web\n  criteria: a = 'b'\n  colour: red\n", "f.yaml:4:3", "colour"),
        ("gizmo:\n  name: web\n", "f.yaml:1:1", "gizmo"),
        ("network:\n  name: n\n  cidrs: [10.0.0.1/8]\n", "f.yaml:3:11", "did you mean 10.0.0.0/8?"),
        ("network:\n  name: n\n  domains: ['*.example.com']\n", "f.yaml:3:13", "no wildcard"),
        (
            "template:\n  name: t\n  action: allow\n  inbound:\n    - { from: [any], services: [tcp/70000] }\n",
            "f.yaml:5:33",
            "not a port from 0 to 65535",
        ),
        (
            "template:\n  name: t\n  action: allow\n  inbound:\n    - { from: [segmnt:a], services: [tcp] }\n",
            "f.yaml:5:16",
            "is not a peer",
        ),
        ("template:\n  name: t\n  action: permit\n", "f.yaml:3:11", "permit"),
        (
            "segment:\n  name: s\n  criteria: a = 'b'\n  inbound: { level: secure-everything, mode: test }\n",
            "f.yaml:4:21",
            "secure-everything",
        ),
        (
            "segment:\n  name: s\n  criteria: a = 'b'\n  inbound: { level: unsecured }\n",
            "f.yaml:4:14",
            "mode",
        ),
        ("segment: [\n", "f.yaml:1:10", "expected a mapping"),
        ("segment:\n  name: s\n  criteria: a = web\n", "f.yaml:3:13", "did you mean 'web'?"),
        (
            "segment:\n  name: s\n  criteria: a = 'b' && c = 'd'\n",
            "f.yaml:3:13",
            "did you mean 'and'?",
        ),
        ("segment:\n  name: s\n  criteria: a => 'b'\n", "f.yaml:3:13", "did you mean '='?"),
        ("segment:\n  name: s\n  criteria: a == 'b' || !c\n", "f.yaml:3:13", "did you mean '='?"),
    ] {
        let error = document::parse(text, "f.yaml").unwrap_err().to_string();
        assert!(error.starts_with(place), "{text:?}\n got {error}\nwant {place}");
        assert!(error.contains(reason), "{text:?}\n got {error}\nwant {reason}");
    }
}

/// Every example of the manual is accepted.
#[test]
fn every_example_of_the_documentation_is_parsed() {
    let manual = include_str!("../../../docs/operations/policy.md");
    let blocks: Vec<&str> =
        manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.iter().any(|block| block.contains("tftp-client")));
    for block in blocks {
        let documents = document::parse(block, "policy.md").unwrap_or_else(|error| {
            panic!("{block}\n{error:?}");
        });
        assert!(!documents.is_empty());
    }
}

#[test]
fn yaml_bombs_are_refused_before_expansion() {
    let mut laughs = String::from("segment:\n  name: a\n  criteria: &a0 x\n");
    for level in 1..30 {
        let references = format!("*a{}, ", level - 1).repeat(9);
        laughs.push_str(&format!("  f{level}: &a{level} [{references}]\n"));
    }
    let deep = format!("segment: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("segment:\n  name: {}\n", "a".repeat(document::MAX_TEXT));
    for text in [laughs, deep, large] {
        document::parse(&text, "bomb.yaml").unwrap_err();
    }
}

#[test]
fn references_are_checked_and_every_error_is_named() {
    let text = "
segment:
  name: web
  criteria: role = 'web'
  templates: [nope]
---
template:
  name: t
  action: allow
  inbound:
    - { name: a, from: [segment:gone], services: [tcp/1] }
    - { name: a, from: [], services: [tcp/1] }
    - { from: [network:gone], services: [] }
---
template: { name: empty, action: block }
---
template: { name: failsafe, action: block, ports: [ { from: [any], services: [tcp/1] } ] }
---
network: { name: hollow }
---
segment: { name: web, criteria: role = 'x' }
---
settings: {}
---
settings: {}
";
    let documents = document::parse(text, "p.yaml").unwrap();
    let errors = Policy::build(documents).unwrap_err();
    let got: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for expected in [
        "p.yaml:5:15: segment web, templates[0]: there is no template \"nope\"",
        "p.yaml:11:25: template t, inbound[0].from[0]: there is no segment gone",
        "p.yaml:12:15: template t, inbound[1].name: already the name of template t, inbound[0].name",
        "p.yaml:12:15: template t, inbound[1].from: empty",
        "p.yaml:13:16: template t, inbound[2].services: empty",
        "p.yaml:13:16: template t, inbound[2].from[0]: there is no network gone",
        "template empty: has no rules",
        "template failsafe: this name is reserved",
        "network hollow: names neither",
        "p.yaml:21:18: segment web: given twice; the first is at p.yaml:3:9",
        "settings: given twice; the first is document 7 of the set",
    ] {
        assert!(got.iter().any(|error| error.contains(expected)), "{expected}\n{got:#?}");
    }
    assert_eq!(got.len(), 11, "{got:#?}");
}

#[test]
fn json_and_yaml_are_the_same_documents() {
    let yaml = "
template:
  name: t
  action: block
  ports:
    - { name: ssh, from: [any, 10.0.0.0/8], services: [tcp/22, icmp/echo-request, udp/1-5], process: sshd }
  outbound:
    - { to: ['domain:repo.example.com', internet], services: [any], user: _apt, unit: app@1.service }
---
settings: { management: [ { from: [10.0.0.1], services: [tcp/22] } ] }
";
    let documents = document::parse(yaml, "t.yaml").unwrap();
    let json = serde_json::to_string(&documents).unwrap();
    let again: Vec<document::Document> = serde_json::from_str(&json).unwrap();
    assert_eq!(again, documents);
    assert_eq!(document::parse(&json_lines(&documents), "t.json").unwrap(), documents);
}

/// JSON is YAML: one document per line.
fn json_lines(documents: &[document::Document]) -> String {
    let lines = documents.iter().map(|document| serde_json::to_string(document).unwrap());
    lines.collect::<Vec<_>>().join("\n---\n")
}

proptest::proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "([a-z]{1,8}: |- |\\{|\\}|\\[|\\]|[&*!|>'\"]|\n|  |[a-z0-9/.]{1,6}){0,40}") {
        let _ = document::parse(&text, "any");
    }
}
