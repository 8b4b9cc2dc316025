//! Settings for forwarded traffic, and their effect on packets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use xshield_policy::document::{self, Policy};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::{
    Bound, Compiler, Facts, Forwarded, ForwardedPacket, ForwardedRules, ForwardedStance, Revision,
    Ruleset, Verdict, decide_forwarded,
};

/// One asset, `host`, with the tag `role=docker`.
fn ruleset(yaml: &str) -> Ruleset {
    let documents = document::parse(yaml, "test.yaml").unwrap();
    let policy = Policy::build(documents).unwrap();
    let asset = Asset {
        id: "host".parse().unwrap(),
        name: "host".parse().unwrap(),
        tags: [("role".parse().unwrap(), "docker".parse().unwrap())].into(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        os: "debian 12".to_owned(),
        source: Source::Spark,
    };
    let inventory = Inventory { assets: vec![asset] };
    let compiler = Compiler::new(&policy, &inventory, Revision(1), &[]);
    compiler.ruleset(&"host".parse().unwrap()).unwrap()
}

fn segment(name: &str, rest: &str) -> String {
    format!("---\nsegment:\n  name: {name}\n  criteria: role = 'docker'\n{rest}")
}

#[test]
fn absent_settings_are_omitted_from_the_ruleset() {
    let said_nothing = ruleset(&segment("a", ""));
    assert_eq!(said_nothing.forwarded, None);
    assert!(!serde_json::to_string(&said_nothing).unwrap().contains("forwarded"));
    let left_alone = ruleset(&segment("a", "  forwarded: leave-alone\n"));
    assert_eq!(left_alone.forwarded, Some(ForwardedRules::default()));
    assert!(!left_alone.forwarded.unwrap().judges());
    let text = serde_json::to_string(&left_alone).unwrap();
    assert_eq!(serde_json::from_str::<Ruleset>(&text).unwrap(), left_alone);
}

/// The setting of each stance: enforced and tested inbound, enforced and tested outbound.
fn settings(yaml: &str) -> [Forwarded; 4] {
    let ForwardedRules { inbound, outbound } = ruleset(yaml).forwarded.unwrap();
    let pair = |stance: ForwardedStance| [stance.enforced, stance.tested()];
    let ([a, b], [c, d]) = (pair(inbound), pair(outbound));
    [a, b, c, d]
}

#[test]
fn forwarding_settings_of_several_documents_combine() {
    use Forwarded::{Everything as E, LeaveAlone as L, PublishedPorts as P};
    let enforce = "  inbound: { level: secure-all-ports, mode: enforce }\n";
    let test = "  inbound: { level: secure-all-ports, mode: test }\n";
    let test_out = "  outbound: { level: secure-intranet-paths, mode: test }\n";
    let setting = |setting: &str| format!("  forwarded: {setting}\n");
    let (published, everything) = (setting("published-ports"), setting("everything"));
    let asset = |rest: &str| format!("---\nasset:\n  name: host\n{rest}");
    for (yaml, wanted) in [
        // A segment without a stance enforces.
        (segment("a", &published), [P, P, P, P]),
        // The strictest of several.
        (segment("a", &published) + &segment("b", &everything), [E, E, E, E]),
        // Mode `test`, by direction.
        (segment("a", &(published.clone() + test)), [L, P, P, P]),
        (segment("a", &(everything.clone() + enforce + test_out)), [E, E, L, E]),
        // A test does not weaken what another segment enforces.
        (
            segment("a", &(published.clone() + enforce))
                + &segment("b", &(everything.clone() + test + test_out)),
            [P, E, P, E],
        ),
        // The asset's own document overrides, in mode `test` only what is tested.
        (segment("a", &everything) + &asset(&published), [P, P, P, P]),
        (segment("a", &everything) + &asset(&setting("leave-alone")), [L, L, L, L]),
        (segment("a", &published) + &asset(&(everything.clone() + test)), [P, E, E, E]),
        (segment("a", &everything) + &asset(&(published.clone() + test)), [E, E, P, P]),
    ] {
        assert_eq!(settings(&yaml), wanted, "{yaml}");
    }
}

#[test]
fn unknown_words_are_refused() {
    let yaml = segment("a", "  forwarded: published\n");
    let error = document::parse(&yaml, "test.yaml").unwrap_err().to_string();
    assert!(error.contains("test.yaml:5") && error.contains("published-ports"), "{error}");
}

const RULES: &str = "---
template:
  name: shop
  action: allow
  ports:
    - { name: web, from: [10.1.0.0/16], services: [tcp/18080] }
  outbound:
    - { name: api, to: [192.0.2.7], services: [tcp/443] }
    - { name: owned, to: [192.0.2.8], services: [tcp/443], process: curl }
---
template:
  name: never
  action: block
  ports:
    - { name: guests, from: [10.1.66.0/24], services: [any] }
---
settings:
  management:
    - { from: [10.9.0.1], services: [tcp/22] }
";

fn bound(segments: &str) -> Bound {
    let ruleset = ruleset(&format!("{segments}{RULES}"));
    let owner = Ok(vec![xshield_policy::Owner::Uid(7)]);
    let owners = [("curl".to_owned().try_into().unwrap(), owner)].into();
    ruleset.bind(&Facts { owners, ..Facts::default() }).0
}

#[test]
fn forwarded_packets_are_decided_by_the_settings() {
    use Verdict::{Allow, Deny, WouldDeny};
    let closed = "  templates: [shop, never]
  inbound: { level: secure-all-ports, mode: enforce }
  outbound: { level: secure-intranet-paths, mode: enforce }\n";
    let with = |setting: &str| bound(&segment("a", &format!("{closed}  forwarded: {setting}\n")));
    let (alone, published, everything) =
        (with("leave-alone"), with("published-ports"), with("everything"));
    // Enforced for published ports, tested for the rest.
    let stricter = "  forwarded: everything
  inbound: { level: secure-all-ports, mode: test }
  outbound: { level: secure-intranet-paths, mode: test }\n";
    let both = bound(
        &(segment("a", &format!("{closed}  forwarded: published-ports\n"))
            + &segment("b", stricter)),
    );
    for (packet, wanted) in [
        ("published tcp 10.1.0.9:4000 -> :18080", [Allow, Allow, Allow, Allow]),
        ("published tcp 10.2.0.9:4000 -> :18080", [Allow, Deny, Deny, Deny]),
        ("published tcp 10.1.66.9:4000 -> :18080", [Allow, Deny, Deny, Deny]),
        ("published tcp 10.1.0.9:4000 -> :18081", [Allow, Deny, Deny, Deny]),
        ("published tcp 10.9.0.1:4000 -> :22", [Allow, Allow, Allow, Allow]),
        ("published icmp 10.2.0.9 type 3", [Allow, Allow, Allow, Allow]),
        ("published icmp 10.2.0.9 type 8", [Allow, Deny, Deny, Deny]),
        ("in tcp 10.2.0.9:4000 -> :80", [Allow, Allow, Deny, WouldDeny]),
        ("in tcp 10.1.0.9:4000 -> :18080", [Allow, Allow, Allow, Allow]),
        ("in tcp 10.1.66.9:4000 -> :18080", [Allow, Allow, Deny, WouldDeny]),
        ("out tcp -> 192.0.2.7:443", [Allow, Allow, Allow, Allow]),
        ("out tcp -> 192.0.2.9:443", [Allow, Allow, Deny, WouldDeny]),
        // No program of this host opened it.
        ("out tcp -> 192.0.2.8:443", [Allow, Allow, Deny, WouldDeny]),
        // The host's own failsafe: DNS to any server, since none is known.
        ("out udp -> 192.0.2.53:53", [Allow, Allow, Deny, WouldDeny]),
    ] {
        let packet: ForwardedPacket = format!("forward {packet}").parse().unwrap();
        let verdicts = [&alone, &published, &everything, &both]
            .map(|bound| decide_forwarded(bound, &packet).verdict);
        assert_eq!(verdicts, wanted, "{packet}");
    }
}
