//! The platform is restored from a backup: hosts keep what they have, accept nothing older, and get the
//! restored policy under a higher number. Only what the platform signed raises its numbers.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::{Value, json};
use support::{TestHost, TestPlatform, eventually};
use xshield_policy::{Revision, Ruleset};
use xshield_threat::ThreatMode;
use xshield_wire::envelope::{self, EnvelopeError};
use xshield_wire::keys::PolicyKey;
use xshield_wire::message::{CheckInAnswer, CommandKind, Held, InForce};
use xshield_wire::threat::{ThreatOrder, ThreatStanding};
use xshield_wire::{Envelope, PolicyPublicKey, RulesetVersion, Verified};

fn policy(port: u16) -> String {
    format!(
        "segment:\n  name: all\n  criteria: asset.os = 'debian 12'\n  templates: [t]\n  \
         inbound: {{ level: secure-all-ports, mode: enforce }}\n---\n\
         template:\n  name: t\n  action: allow\n  \
         ports: [{{ name: open, from: ['segment:all'], services: [tcp/{port}] }}]\n"
    )
}

/// A host that accepts rulesets and orders by the rules of hosts.
struct SimulatedHost {
    host: TestHost,
    pinned: [PolicyPublicKey; 1],
    has: Option<Verified<Ruleset>>,
    floor: RulesetVersion,
}

impl SimulatedHost {
    fn new(platform: &TestPlatform, name: &str) -> Self {
        let mut host = TestHost::new(name, &platform.new_key());
        host.sign_in(platform);
        host.check_in(platform);
        let pinned = [platform.policy_key()];
        Self { host, pinned, has: None, floor: RulesetVersion::default() }
    }

    /// Fetches the ruleset, and accepts it if it may.
    fn take(&mut self, platform: &TestPlatform) -> Result<RulesetVersion, EnvelopeError> {
        let answer = self.host.send(platform, "GET", "/host/v1/ruleset", b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        let asset = self.host.session.as_ref().unwrap().asset.clone();
        let opened = envelope::open(&answer.body, &self.pinned, &asset, self.floor)?;
        self.floor = opened.version();
        self.has = Some(opened);
        Ok(self.floor)
    }

    fn wanted(&mut self, platform: &TestPlatform) -> u64 {
        self.host.check_in(platform).wanted.unwrap().revision.0
    }

    /// The evidence that it can send.
    fn held(&self) -> Held {
        let label = self.has.as_ref().unwrap().label().unwrap();
        Held { ruleset: Some(Envelope::from_bytes(label).unwrap()), threat: None }
    }

    fn show(&mut self, platform: &TestPlatform, held: Held) -> CheckInAnswer {
        let mut message = self.host.check_in_message();
        message.held = Some(held);
        self.host.check_in_with(platform, &message)
    }

    /// Whether its rules open this port.
    fn opens(&self, port: u16) -> bool {
        serde_json::to_string(&**self.has.as_ref().unwrap()).unwrap().contains(&port.to_string())
    }
}

fn audited(platform: &TestPlatform, action: &str) -> Vec<Value> {
    let audited = platform.get(&format!("/api/v1/audit?action={action}"));
    audited["items"].as_array().unwrap().clone()
}

#[test]
fn hosts_ahead_of_a_restored_backup_get_a_higher_revision() {
    let platform = TestPlatform::start();
    let (mut a, mut b) = (SimulatedHost::new(&platform, "a"), SimulatedHost::new(&platform, "b"));
    assert_eq!(platform.commit(&policy(1111)), 1);
    let (platform, backup) = platform.back_up();
    platform.commit(&policy(2222));
    assert_eq!(platform.commit(&policy(3333)), 3);
    assert_eq!((a.wanted(&platform), b.wanted(&platform)), (3, 3));
    a.take(&platform).unwrap();
    b.take(&platform).unwrap();
    assert!(a.opens(3333));

    let platform = platform.restore(&backup);
    assert_eq!(a.wanted(&platform), 1, "as it was");
    assert!(matches!(a.take(&platform), Err(EnvelopeError::Older { .. })), "no way back");
    let answer = a.show(&platform, a.held());
    assert_eq!(answer.wanted.unwrap().revision, Revision(4), "above what it has");
    a.take(&platform).unwrap();
    assert!(a.opens(1111) && !a.opens(3333), "the policy of the backup");
    assert_eq!(b.wanted(&platform), 4, "the other one had nothing to show");
    b.take(&platform).unwrap();

    let told = audited(&platform, "policy.restored");
    assert_eq!(told.len(), 1, "{told:?}");
    let after = told[0]["after"].as_str().unwrap();
    assert!(after.starts_with("revision 4, because the host of a has revision 3"), "{after}");
    assert_eq!(told[0]["before"], "revision 1");
    // Evidence that is sent again is already known.
    let held = b.held();
    assert_eq!(b.show(&platform, held).wanted.unwrap().revision, Revision(4));
    assert_eq!(platform.commit(&policy(2222)), 5, "operators go on from there");
    a.wanted(&platform);
    a.take(&platform).unwrap();
    assert!(a.opens(2222));
}

#[test]
fn a_later_compilation_of_the_same_revision_counts_too() {
    let platform = TestPlatform::start();
    let (mut a, mut b) = (SimulatedHost::new(&platform, "a"), SimulatedHost::new(&platform, "b"));
    platform.commit(&policy(1111));
    let (platform, backup) = platform.back_up();
    a.take(&platform).unwrap();
    let before = a.floor;
    // Its peer changes its address: the same revision is compiled again.
    b.host.addresses = vec!["10.9.9.9".parse().unwrap()];
    b.host.check_in(&platform);
    eventually("the peer's address is in the rules", || {
        a.take(&platform).unwrap();
        (a.floor > before).then_some(())
    });
    let platform = platform.restore(&backup);
    assert!(matches!(a.take(&platform), Err(EnvelopeError::Older { .. })));
    let held = a.held();
    a.show(&platform, held);
    assert_eq!(a.take(&platform).unwrap().revision, Revision(2));
}

#[test]
fn commits_after_a_restore_skip_the_lost_numbers() {
    let platform = TestPlatform::start();
    let mut a = SimulatedHost::new(&platform, "a");
    platform.commit(&policy(1111));
    let (platform, backup) = platform.back_up();
    for port in [2222, 3333, 4444] {
        platform.commit(&policy(port));
    }
    a.take(&platform).unwrap();
    assert_eq!(a.floor.revision, Revision(4));
    let platform = platform.restore(&backup);
    for port in [5555, 6666, 7777] {
        platform.commit(&policy(port));
    }
    // The same revision as the lost one, and an older or newer compilation: either way the host gets the
    // policy that operators committed.
    if a.take(&platform).is_err() {
        let held = a.held();
        a.show(&platform, held);
        a.take(&platform).unwrap();
    }
    assert!(a.opens(7777));
}

#[test]
fn a_host_cannot_raise_the_revision_numbers() {
    let platform = TestPlatform::start();
    let (mut a, mut b) = (SimulatedHost::new(&platform, "a"), SimulatedHost::new(&platform, "b"));
    platform.commit(&policy(1111));
    let (platform, backup) = platform.back_up();
    platform.commit(&policy(2222));
    a.take(&platform).unwrap();
    b.take(&platform).unwrap();
    let platform = platform.restore(&backup);

    let label = |held: &Held| serde_json::to_value(held.ruleset.as_ref().unwrap()).unwrap();
    let as_held =
        |label: Value| Held { ruleset: Some(serde_json::from_value(label).unwrap()), threat: None };
    let mut altered = label(&a.held());
    let payload = altered["payload"].as_str().unwrap().to_owned();
    altered["payload"] = payload.replace(&payload[10..14], "AAAA").into();
    let ruleset =
        |revision| Ruleset { revision: Revision(revision), ..(**a.has.as_ref().unwrap()).clone() };
    let foreign = PolicyKey::from_seed([9; 32]);
    let forged = envelope::seal_ruleset(&foreign, &ruleset(1_000_000), 7).unwrap();
    let forged = serde_json::to_value(&forged).unwrap()["label"].clone();
    let mut other_type = label(&a.held());
    other_type["payloadType"] = "application/vnd.xshield.ruleset.v1+json".into();
    let mut large = label(&a.held());
    large["payload"] = "A".repeat(400_000).into();
    let others = b.held();
    for (what, held) in [
        ("altered", as_held(altered)),
        ("signed by another key", as_held(forged)),
        ("of another type", as_held(other_type)),
        ("too large", as_held(large)),
        ("of another asset", others),
        ("nothing", Held::default()),
    ] {
        let answer = a.show(&platform, held);
        assert_eq!(answer.wanted.unwrap().revision, Revision(1), "{what}");
    }
    // An unsigned claim.
    let mut message = a.host.check_in_message();
    let digest = a.has.as_ref().unwrap().digest();
    message.in_force = Some(InForce { revision: Revision(u64::MAX), digest });
    message.previous = Some(u64::MAX);
    message.configuration = Some(u64::MAX);
    a.host.check_in_with(&platform, &message);
    assert_eq!(audited(&platform, "policy.restored"), Vec::<Value>::new());
    assert_eq!(platform.commit(&policy(3333)), 2);
}

#[test]
fn a_host_registered_after_the_backup_reregisters_and_its_label_is_evidence() {
    let platform = TestPlatform::start();
    platform.commit(&policy(1111));
    let key = platform.new_key();
    let (platform, backup) = platform.back_up();
    let mut late = SimulatedHost::new(&platform, "late");
    late.host.key = key;
    late.host.sign_in(&platform);
    platform.commit(&policy(2222));
    platform.commit(&policy(3333));
    late.take(&platform).unwrap();
    let before = late.host.session.as_ref().unwrap().asset.clone();

    let platform = platform.restore(&backup);
    let unknown = late.host.send(&platform, "POST", "/host/v1/check-in", b"{}");
    assert_eq!((unknown.status, unknown.problem().as_str()), (401, "asset-unknown"));
    assert_ne!(late.host.sign_in(&platform).asset, before, "it registers again");
    late.host.sequence = 0;
    assert_eq!(late.wanted(&platform), 1);
    assert!(late.take(&platform).is_err(), "no way back, whoever it is now");
    let held = late.held();
    assert_eq!(late.show(&platform, held).wanted.unwrap().revision, Revision(4));
    late.take(&platform).unwrap();
    assert!(late.opens(1111));
}

fn standing() -> ThreatStanding {
    ThreatStanding {
        order: None,
        list: None,
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Block,
        elements: 0,
        verified_at: None,
        memory: 8 << 30,
        budget: None,
        failure: None,
    }
}

fn order(host: &mut TestHost, platform: &TestPlatform, held: Option<Held>) -> ThreatOrder {
    order_and_envelope(host, platform, held).0
}

fn order_and_envelope(
    host: &mut TestHost,
    platform: &TestPlatform,
    held: Option<Held>,
) -> (ThreatOrder, Envelope) {
    let mut message = host.check_in_message();
    (message.threat, message.held) = (Some(standing()), held);
    host.check_in_with(platform, &message);
    let answer = host.send(platform, "GET", "/host/v1/threat/order", b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    let asset = host.session.as_ref().unwrap().asset.clone();
    let opened = envelope::open_order(&answer.body, &[platform.policy_key()], &asset, 0).unwrap();
    ((*opened).clone(), Envelope::from_bytes(&answer.body).unwrap())
}

#[test]
fn threat_orders_continue_above_the_lost_numbers() {
    let platform = TestPlatform::start();
    let list = tempfile::tempdir().unwrap();
    let file = list.path().join("list.txt");
    std::fs::write(&file, "198.51.100.0/24\n").unwrap();
    let settings = json!({"source": {"file": file}, "format": {"plain": {"levels": null}}});
    platform.post("/api/v1/threat/feeds", json!({"name": "f", "settings": settings}));
    platform.post("/api/v1/threat/feeds/f/run", json!({}));
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let first = eventually("there is an order", || {
        let mut message = host.check_in_message();
        message.threat = Some(standing());
        host.check_in_with(&platform, &message).threat
    });
    let (platform, backup) = platform.back_up();
    let modes = |platform: &TestPlatform, mode: &str| {
        let body = json!({"asset": "h", "mode": mode});
        let path = "/api/v1/threat/modes";
        let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
        assert_eq!(status, 200, "{answer}");
    };
    let mut newest = None;
    for mode in ["event-only", "block", "event-only", "off"] {
        modes(&platform, mode);
        newest = Some(order_and_envelope(&mut host, &platform, None));
    }
    let (newest, envelope) = newest.unwrap();
    assert!(newest.sequence > first.sequence + 1, "{newest:?}");

    let platform = platform.restore(&backup);
    let restored = order(&mut host, &platform, None);
    assert!(restored.sequence < newest.sequence, "hosts refuse it");
    let held = || Some(Held { ruleset: None, threat: Some(envelope.clone()) });
    let above = order(&mut host, &platform, held());
    assert!(above.sequence > newest.sequence, "{above:?}");
    assert_eq!(ThreatOrder { sequence: restored.sequence, ..above.clone() }, restored);
    assert_eq!(order(&mut host, &platform, held()), above, "shown again, it is known");
    let mut other = TestHost::new("other", &platform.new_key());
    other.sign_in(&platform);
    let others = order(&mut other, &platform, held());
    assert!(others.sequence <= 2, "what is another asset's raises nothing: {others:?}");
    assert_eq!(audited(&platform, "threat.restored").len(), 1);
}

#[test]
fn data_that_hosts_report_only_once_is_requested_again() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let (platform, backup) = platform.back_up();
    let mut message = host.check_in_message();
    message.previous = Some(message.sequence - 1);
    host.check_in_with(&platform, &message);
    let answered = message.sequence;

    let platform = platform.restore(&backup);
    let mut message = host.check_in_message();
    message.previous = Some(answered);
    let answer = host.check_in_with(&platform, &message);
    let kinds: Vec<_> = answer.commands.iter().map(|command| command.kind).collect();
    assert_eq!(kinds, [CommandKind::Resend]);
    let told = platform.get("/api/v1/assets/h/problems");
    assert_eq!(told[0]["code"], "answers-forgotten", "{told}");
    let mut message = host.check_in_message();
    message.previous = Some(message.sequence - 1);
    host.check_in_with(&platform, &message);
    let told = platform.get("/api/v1/assets/h/problems");
    assert_eq!(told[0]["times"], 1, "{told}");
}

#[test]
fn numbers_of_host_configurations_are_never_reused() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let put = |platform: &TestPlatform, heartbeat: u32| {
        let body = json!({ "heartbeat": heartbeat });
        let path = "/api/v1/host-configuration";
        let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
        assert_eq!(status, 200, "{answer}");
    };
    put(&platform, 60);
    let (platform, backup) = platform.back_up();
    put(&platform, 120);
    let lost = host.check_in(&platform).configuration.unwrap();
    assert_eq!(lost.heartbeat, Some(120));
    let platform = platform.restore(&backup);
    // When a platform is restored, the clock has advanced.
    eventually("a second has gone by", || (support::now() > lost.version + 1).then_some(()));
    put(&platform, 90);
    let mut message = host.check_in_message();
    message.configuration = Some(lost.version);
    let next = host.check_in_with(&platform, &message).configuration.unwrap();
    assert_eq!(next.heartbeat, Some(90), "it hears of it");
}
