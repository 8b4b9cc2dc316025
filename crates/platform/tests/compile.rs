//! Which ruleset each host should have, and the cost of changes by hosts.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::json;
use support::*;
use xshield_policy::{Revision, Ruleset};
use xshield_wire::message::InForce;
use xshield_wire::{RulesetVersion, Verified, envelope};

/// One segment that allows itself, and another that is not affected.
const PEERS: &str = "
segment:
  name: web
  criteria: role = 'web'
  templates: [peers]
  inbound: { level: secure-all-ports, mode: enforce }
---
segment:
  name: odd
  criteria: role = 'odd'
  templates: [cuts]
---
template:
  name: peers
  action: allow
  ports: [{ name: https, from: ['segment:web'], services: [tcp/443] }]
---
template:
  name: cuts
  action: block
  inbound: [{ name: ssh, from: [any], services: [tcp/22] }]
---
settings:
  management: [{ from: [192.0.2.1], services: [tcp/22] }]
";

struct Fleet {
    platform: TestPlatform,
    hosts: Vec<TestHost>,
}

#[test]
fn constant_changes_of_one_host_are_throttled_and_do_not_delay_others() {
    let platform = TestPlatform::start_with(|settings| settings.host_changes = 3);
    let mut fleet = Fleet::on(platform, &["web", "web"]);
    // Its first check-in was one change.
    for round in 1..=5u8 {
        fleet.hosts[0].addresses = vec![[10, 7, 5, round].into()];
        fleet.wanted(0);
    }
    let shown = fleet.platform.get("/api/v1/assets/h0");
    assert_eq!(shown["addresses"], json!(["10.7.5.2"]), "{shown}");
    let problems = shown["spark"]["problems"].to_string();
    assert!(problems.contains("changes-wait") && problems.contains("every 5 min"), "{problems}");
    assert!(serde_json::to_string(&*fleet.fetched(0)).unwrap().contains("10.7.5.2/32"));

    fleet.hosts[1].addresses = vec!["10.7.6.1".parse().unwrap()];
    fleet.wanted(1);
    let shown = fleet.platform.get("/api/v1/assets/h1");
    assert_eq!(shown["addresses"], json!(["10.7.6.1"]), "others are not concerned");

    // With the addresses known to the platform again, nothing is wrong.
    fleet.hosts[0].addresses = vec!["10.7.5.2".parse().unwrap()];
    fleet.wanted(0);
    let problems = fleet.platform.get("/api/v1/assets/h0")["spark"]["problems"].clone();
    assert_eq!(problems, json!([]));
    let audit = fleet.platform.get("/api/v1/audit?limit=200").to_string();
    assert!(!audit.contains("10.7.5.3"), "what is not taken is not written down");
}

impl Fleet {
    fn of(roles: &[&str]) -> Self {
        Self::on(TestPlatform::start(), roles)
    }

    fn on(platform: TestPlatform, roles: &[&str]) -> Self {
        platform.commit(PEERS);
        let mut fleet = Self { platform, hosts: Vec::new() };
        roles.iter().for_each(|role| fleet.join(role));
        fleet
    }

    /// One more host registers.
    fn join(&mut self, role: &str) {
        let made = self
            .platform
            .post("/api/v1/enforcement-keys", json!({"name": "k", "tags": {"role": role}}));
        let key = made["key"].as_str().unwrap().parse().unwrap();
        let number = self.hosts.len();
        let mut host = TestHost::new(&format!("h{number}"), &key);
        host.addresses = vec![format!("10.7.0.{}", number + 1).parse().unwrap()];
        host.sign_in(&self.platform);
        host.check_in(&self.platform);
        self.hosts.push(host);
    }

    fn wanted(&mut self, host: usize) -> InForce {
        self.hosts[host].check_in(&self.platform).wanted.unwrap()
    }

    fn fetched(&self, host: usize) -> Verified<Ruleset> {
        let host = &self.hosts[host];
        let answer = host.send(&self.platform, "GET", "/host/v1/ruleset", b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        let asset = &host.session.as_ref().unwrap().asset;
        let pinned = [self.platform.policy_key()];
        envelope::open(&answer.body, &pinned, asset, RulesetVersion::default()).unwrap()
    }

    fn peers(&self, host: usize) -> usize {
        let ruleset = serde_json::to_string(&*self.fetched(host)).unwrap();
        ruleset.matches("10.7.").count()
    }
}

#[test]
fn a_change_reaches_its_own_host_at_once_and_others_soon() {
    let mut fleet = Fleet::of(&["web", "other", "web"]);
    eventually("both hosts know both", || {
        fleet.wanted(0);
        (fleet.peers(0) == 2).then_some(())
    });
    let (first, unconcerned) = (fleet.wanted(0), fleet.wanted(1));
    fleet.hosts[2].addresses.push("10.7.9.9".parse().unwrap());
    let own = fleet.wanted(2);
    assert!(serde_json::to_string(&*fleet.fetched(2)).unwrap().contains("10.7.9.9"));
    assert_eq!(fleet.fetched(2).in_force(), own, "what is fetched is what was wanted");
    let after = eventually("the other host hears of it", || {
        Some(fleet.wanted(0)).filter(|wanted| *wanted != first)
    });
    assert_eq!(after.revision, first.revision);
    assert_eq!(fleet.fetched(0).in_force(), after);
    assert_eq!(fleet.wanted(1), unconcerned, "nothing is news for whom nothing has changed");
}

#[test]
fn compilation_numbers_always_increase() {
    let mut fleet = Fleet::of(&["web", "web"]);
    let mut newest = RulesetVersion::from(Revision(1));
    for round in 0..4u8 {
        fleet.hosts[0].addresses = vec![[10, 7, 8, round % 2].into()];
        fleet.wanted(0);
        let version = fleet.fetched(0).version();
        assert!(version > newest, "{version} after {newest}, though its content was had before");
        newest = version;
    }
    assert_eq!(fleet.fetched(0).version(), newest, "nothing has changed");
    fleet.platform.commit(PEERS);
    let version = fleet.fetched(0).version();
    assert_eq!(version.revision, Revision(2));
    assert!(version.compilation > newest.compilation, "{version} after {newest}");

    // The label belongs to the ruleset that it came with.
    let (label, asset) = (fleet.fetched(1), fleet.hosts[1].session.as_ref().unwrap().asset.clone());
    let pinned = [fleet.platform.policy_key()];
    let shown = envelope::open_label(label.label().unwrap(), &pinned, &asset).unwrap();
    assert_eq!((shown.version, shown.digest), (label.version(), label.digest()));
}

#[test]
fn a_restart_compiles_identical_rulesets() {
    let mut fleet = Fleet::of(&["web", "web", "other"]);
    let settled = |fleet: &mut Fleet| {
        let all = |fleet: &mut Fleet| (0..3).map(|at| fleet.wanted(at)).collect::<Vec<_>>();
        eventually("nothing more changes", || {
            let known = fleet.peers(0) == 2 && fleet.peers(1) == 2;
            let (before, after) = (all(fleet), all(fleet));
            (known && before == after).then_some(after)
        })
    };
    let before = settled(&mut fleet);
    let versions: Vec<_> = (0..3).map(|at| fleet.fetched(at).version()).collect();
    fleet.platform = fleet.platform.restart();
    assert_eq!(settled(&mut fleet), before);
    assert_eq!((0..3).map(|at| fleet.fetched(at).version()).collect::<Vec<_>>(), versions);
}

#[test]
fn a_ruleset_that_cannot_be_compiled_does_not_block_others() {
    let mut fleet = Fleet::of(&["web", "web"]);
    let before = fleet.wanted(0);
    let tags = json!({"tags": {"role": "odd"}});
    let admin = fleet.platform.admin.clone();
    let (status, _) = fleet.platform.call("PATCH", "/api/v1/assets/h0", Some(&admin), Some(tags));
    assert_eq!(status, 200);
    let shown = eventually("the failure is shown", || {
        let spark = fleet.platform.get("/api/v1/assets/h0")["spark"].clone();
        spark.to_string().contains("would block management").then_some(spark)
    });
    assert!(shown.to_string().contains("192.0.2.1"), "{shown}");
    assert_eq!(fleet.wanted(0).revision, before.revision);
    let answer = fleet.hosts[0].send(&fleet.platform, "GET", "/host/v1/ruleset", b"");
    assert_eq!((answer.status, answer.problem().as_str()), (409, "ruleset-not-compiled"));
    eventually("the other host lost a peer", || {
        fleet.wanted(1);
        (fleet.peers(1) == 1).then_some(())
    });

    let (status, _) = fleet.platform.call(
        "PATCH",
        "/api/v1/assets/h0",
        Some(&admin),
        Some(json!({"tags": {"role": "web"}})),
    );
    assert_eq!(status, 200);
    eventually("both are peers again", || {
        (fleet.peers(0) == 2 && fleet.peers(1) == 2).then_some(())
    });
    assert!(fleet.platform.get("/api/v1/assets/h0")["spark"]["compile_failure"].is_null());
}
