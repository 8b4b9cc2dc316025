//! Which rulesets a host accepts.

use xshield_enforce::{RunOutcome, RunStatus};
use xshield_policy::ruleset::{Failsafe, StanceRules};
use xshield_policy::{DirectionRules, Revision, Ruleset};
use xshield_wire::message::InForce;
use xshield_wire::{Envelope, envelope};

use crate::host::{Host, codes, on_a_host};
use crate::platform::{ASSET, Platform, policy_key};

/// A ruleset that denies nothing; `intranet` distinguishes compilations.
fn ruleset(revision: u64, intranet: &str) -> Ruleset {
    let open = || DirectionRules { enforced: StanceRules::open(), tested: None };
    Ruleset {
        asset: ASSET.parse().unwrap(),
        revision: Revision(revision),
        failsafe: Failsafe::default(),
        intranet: vec![intranet.parse().unwrap()],
        intranet_domains: Vec::new(),
        grace: [].into(),
        inbound: open(),
        outbound: open(),
        forwarded: None,
    }
}

fn compiled(revision: u64, compilation: u64) -> Envelope {
    let ruleset = ruleset(revision, &format!("10.0.{compilation}.0/24"));
    envelope::seal_ruleset(&policy_key(), &ruleset, compilation).unwrap()
}

/// One run with a platform that sends this.
fn offered(platform: &Platform, host: &Host, revision: u64, envelope: &Envelope) -> RunOutcome {
    let wanted = InForce { revision: Revision(revision), digest: envelope.digest() };
    platform.script(|script| script.ruleset = Some((wanted, envelope.to_bytes())));
    host.run()
}

fn is_taken(outcome: &RunOutcome, envelope: &Envelope) -> bool {
    outcome.in_force.is_some_and(|in_force| in_force.digest == envelope.digest())
}

#[test]
fn an_older_compilation_of_the_same_revision_is_refused() {
    on_a_host(|platform, host| {
        let (older, newer) = (compiled(3, 6), compiled(3, 7));
        assert!(is_taken(&offered(platform, host, 3, &newer), &newer));
        let outcome = offered(platform, host, 3, &older);
        assert_eq!(outcome.status, RunStatus::RulesetRefused, "{outcome:?}");
        assert_eq!(codes(&outcome), ["platform-behind"]);
        let told = &outcome.problems[0].text;
        assert!(told.contains("revision 3, compilation 6"), "{told}");
        assert!(is_taken(&outcome, &newer), "the newer one stays in force");

        // Also if the last-known-good ruleset is lost: the newest version is remembered separately.
        std::fs::remove_file(host.state("").with_file_name("enforced")).unwrap();
        let outcome = offered(platform, host, 3, &older);
        assert_eq!(outcome.status, RunStatus::RulesetRefused, "{outcome:?}");

        let next = compiled(4, 8);
        assert!(is_taken(&offered(platform, host, 4, &next), &next));
    });
}

#[test]
fn rulesets_without_a_label_are_accepted_until_one_has_a_label() {
    on_a_host(|platform, host| {
        let bare = envelope::seal(&policy_key(), &ruleset(3, "10.1.0.0/24")).unwrap();
        assert!(is_taken(&offered(platform, host, 3, &bare), &bare));
        let labelled = compiled(3, 7);
        assert!(is_taken(&offered(platform, host, 3, &labelled), &labelled));
        let newer = envelope::seal(&policy_key(), &ruleset(4, "10.1.0.0/24")).unwrap();
        let outcome = offered(platform, host, 4, &newer);
        assert_eq!(outcome.status, RunStatus::RulesetRefused, "{outcome:?}");
        assert!(is_taken(&outcome, &labelled));
    });
}

#[test]
fn a_platform_that_is_behind_gets_evidence_once_and_nothing_older_is_accepted() {
    on_a_host(|platform, host| {
        let newest = compiled(7, 40);
        assert!(is_taken(&offered(platform, host, 7, &newest), &newest));
        platform.order(9, "192.0.2.1");
        host.run();
        let shown = |count: usize| {
            platform.script(|script| {
                let sent = std::mem::take(&mut script.check_ins);
                let with: Vec<_> = sent.into_iter().filter_map(|sent| sent.held).collect();
                assert_eq!(with.len(), count);
                with.into_iter().next()
            })
        };
        shown(0);

        // A platform that does not accept it.
        platform.order(3, "192.0.2.2");
        let outcome = offered(platform, host, 5, &compiled(5, 30));
        assert_eq!(outcome.status, RunStatus::RulesetRefused, "{outcome:?}");
        let behind = ["platform-behind", "platform-behind", "threat-failed"];
        assert_eq!(codes(&outcome), behind, "{:?}", outcome.problems);
        assert!(is_taken(&outcome, &newest));
        let held = shown(1).unwrap();
        let (pinned, asset) = ([policy_key().public()], ASSET.parse().unwrap());
        let label = held.ruleset.unwrap().to_bytes();
        let label = envelope::open_label(&label, &pinned, &asset).unwrap();
        assert_eq!((label.version.revision, label.version.compilation), (Revision(7), 40));
        let order = held.threat.unwrap().to_bytes();
        assert_eq!(envelope::open_order(&order, &pinned, &asset, 0).unwrap().sequence, 9);

        // A platform that accepts it.
        let raised = compiled(8, 41);
        platform.script(|script| {
            let wanted = InForce { revision: Revision(8), digest: raised.digest() };
            script.caught_up = Some((wanted, raised.to_bytes()));
        });
        platform.order(10, "192.0.2.1");
        let outcome = offered(platform, host, 5, &compiled(5, 30));
        assert_eq!(outcome.status, RunStatus::Enforcing, "{outcome:?}");
        assert_eq!(codes(&outcome), ["platform-restored"], "{:?}", outcome.problems);
        assert!(is_taken(&outcome, &raised));
        shown(1);
        assert_eq!(codes(&host.run()), [""; 0], "it is told once");
        shown(0);
    });
}
