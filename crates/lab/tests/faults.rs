//! Failures between host and platform; packets always meet a complete policy.
//!
//! Two policies differ in one cell: [`Policy::Open`] lets web reach app on 8080 as the example does,
//! [`Policy::Closed`] does not. Killing a run at a named step works with debug builds of Spark.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xshield_enforce::step::Step;
use xshield_lab::kernel::Kernel;
use xshield_lab::matrix::{Expectation, Family, Flow, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

const LIMIT: Duration = Duration::from_secs(60);
/// A well-formed enforcement key that the platform did not issue.
const UNKNOWN_KEY: &str = "xek1_nobody_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQG4S15g";
/// A policy key that signs nothing.
const OTHER_POLICY_KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Open,
    Closed,
}

impl Policy {
    fn other(self) -> Self {
        match self {
            Self::Open => Self::Closed,
            Self::Closed => Self::Open,
        }
    }

    fn commit(self, shop: &Shop) -> Result<()> {
        shop.commit_edited(|text| self.write(text))
    }

    /// The example's documents for this policy.
    fn write(self, text: &str) -> String {
        match self {
            Self::Open => text.to_owned(),
            Self::Closed => text.replace(
                "from: [segment:web], services: [tcp/8080]",
                "from: [segment:web], services: [tcp/8081]",
            ),
        }
    }
}

/// The test in which a run is killed at a step; every step has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    /// On the way to a new policy.
    OnTheWayToAPolicy,
    /// While repairing a deleted table.
    WhileRepairing,
    /// While reverting a policy that blocks the platform.
    WhileTakingBack,
    /// In the tests of threat lists.
    OnTheWayToAList,
    /// In the tests of reports.
    WhileReporting,
    /// In the tests of the agent's faults.
    WhileDiagnosing,
}

impl Killed {
    fn at(step: Step) -> Self {
        match step {
            Step::Locked
            | Step::Collected
            | Step::CheckedIn
            | Step::Fetched
            | Step::Resolved
            | Step::Tried
            | Step::Confirmed
            | Step::Remembered
            | Step::Kept
            | Step::Saved
            | Step::Spooled => Self::OnTheWayToAPolicy,
            Step::Introduced | Step::Repaired => Self::WhileRepairing,
            Step::Reverted => Self::WhileTakingBack,
            Step::ThreatOrdered
            | Step::ThreatFetched
            | Step::ThreatPrepared
            | Step::ThreatProgrammed
            | Step::ThreatKept
            | Step::ThreatRemoved => Self::OnTheWayToAList,
            Step::Delivered => Self::WhileReporting,
            Step::CollectedDiagnostics | Step::UploadedPiece | Step::Diagnosed => {
                Self::WhileDiagnosing
            }
        }
    }
}

fn steps_of(killed: Killed) -> impl Iterator<Item = Step> {
    Step::ALL.into_iter().filter(move |step| Killed::at(*step) == killed)
}

/// Which of the two policies app's kernel enforces, by packets; fails for anything in between.
fn in_force(shop: &Shop) -> Result<Policy> {
    let differs =
        |flow: &Flow| flow.from == "web" && flow.to == "app" && flow.port == Port::Tcp(8080);
    let open = Matrix::of(&["web", "app", "attacker"], &[Port::Tcp(8080), Port::Tcp(22)], |flow| {
        if differs(flow) {
            Expectation::passes("app-tier/from-web")
        } else {
            Expectation::drops("no rule")
        }
    });
    let mut cells = open.only(|flow| flow.to == "app");
    // The policy may change while the cells are probed: the second attempt sees one or the other.
    for _look in 0..2 {
        cells.probe(&shop.lab)?;
        let wrong = cells.wrong();
        if wrong.is_empty() {
            return Ok(Policy::Open);
        }
        if wrong.len() == Family::BOTH.len() && wrong.iter().all(|flow| differs(flow)) {
            return Ok(Policy::Closed);
        }
    }
    anyhow::bail!("app enforces neither policy whole:\n{cells}")
}

fn run_on(shop: &Shop, host: &str) -> Result<SparkRun> {
    spark::run(&shop.lab, shop.lab.host(host)?)
}

/// Runs Spark on app until it enforces the wanted policy.
fn settle(shop: &Shop, expected: Policy) -> Result<SparkRun> {
    wait::until("app enforces the wanted policy", LIMIT, || {
        let run = run_on(shop, "app")?;
        let done = run.status() == "enforcing" && in_force(shop)? == expected;
        Ok(done.then_some(run))
    })
}

/// Changes app's configuration by appending lines.
fn configure_also(shop: &Shop, lines: &str) -> Result<()> {
    let path = shop.lab.host("app")?.file(spark::CONFIG);
    let text = std::fs::read_to_string(&path)?;
    Ok(std::fs::write(&path, format!("{text}{lines}\n"))?)
}

/// Runs Spark on app so that it is killed at `step`; the platform may need a moment to compile a change, so a
/// run that came too early is repeated.
fn killed_at(shop: &Shop, step: Step) -> Result<()> {
    let app = shop.lab.host("app")?;
    wait::until(&format!("a run is killed at {step}"), LIMIT, || {
        let arguments = [format!("XSHIELD_KILL_AT={step}")];
        let mut command = app.command("env");
        command.args(arguments).arg(shop.lab.programs().spark()?);
        command
            .args(["run", "--config", spark::CONFIG])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = command.status()?;
        Ok((!matches!(status.code(), Some(0..=8))).then_some(()))
    })
}

#[test]
fn a_run_killed_at_any_step_leaves_a_complete_policy_and_the_next_run_finishes() -> Result<()> {
    in_lab("a_run_killed_at_any_step_leaves_a_complete_policy_and_the_next_run_finishes", || {
        let shop = Shop::start_enforced()?;
        let mut current = Policy::Open;
        for step in steps_of(Killed::OnTheWayToAPolicy) {
            let next = current.other();
            next.commit(&shop)?;
            killed_at(&shop, step)?;
            in_force(&shop).with_context(|| format!("killed at {step}"))?;
            settle(&shop, next).with_context(|| format!("after being killed at {step}"))?;
            current = next;
        }
        Ok(())
    })
}

#[test]
fn a_run_killed_while_it_repairs_is_finished_by_the_next() -> Result<()> {
    in_lab("a_run_killed_while_it_repairs_is_finished_by_the_next", || {
        let shop = Shop::start_enforced()?;
        for step in steps_of(Killed::WhileRepairing) {
            shop.lab.host("app")?.run("nft", ["delete", "table", "inet", "xshield"])?;
            killed_at(&shop, step)?;
            let run = settle(&shop, Policy::Open);
            run.with_context(|| format!("after being killed at {step}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_run_killed_after_a_revert_leaves_the_old_policy() -> Result<()> {
    in_lab("a_run_killed_after_a_revert_leaves_the_old_policy", || {
        let mut shop = Shop::start_enforced()?;
        for step in steps_of(Killed::WhileTakingBack) {
            Policy::Closed.commit(&shop)?;
            let app = shop.lab.host("app")?;
            let mut command = app.command("env");
            command.args(["XSHIELD_STOP_AT=tried", &format!("XSHIELD_KILL_AT={step}")]);
            command.arg(shop.lab.programs().spark()?).args(["run", "--config", spark::CONFIG]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            wait::until("the new policy is on trial", LIMIT, || {
                Ok((in_force(&shop)? == Policy::Closed).then_some(()))
            })?;
            shop.platform.stop()?;
            shop.lab.host("app")?.run("pkill", ["-CONT", "ctspark"])?;
            let status = child.wait()?;
            ensure!(status.code().is_none(), "not killed at {step}: {status}");
            ensure!(in_force(&shop)? == Policy::Open, "the old policy is back");
            shop.platform.resume(&shop.lab)?;
            settle(&shop, Policy::Closed)?;
        }
        Ok(())
    })
}

#[test]
fn an_interrupted_run_says_what_it_leaves() -> Result<()> {
    in_lab("an_interrupted_run_says_what_it_leaves", || {
        let mut shop = Shop::start_enforced()?;
        // Longer than probing which policy is in force.
        configure_also(&shop, "probation-seconds: 20")?;
        Policy::Closed.commit(&shop)?;
        let app = shop.lab.host("app")?;
        let mut command = app.command("env");
        command.arg("XSHIELD_STOP_AT=tried").arg(shop.lab.programs().spark()?);
        command.args(["run", "--config", spark::CONFIG]).stderr(Stdio::piped());
        let child = command.stdout(Stdio::null()).spawn()?;
        wait::until("the new policy is on trial", LIMIT, || {
            Ok((in_force(&shop)? == Policy::Closed).then_some(()))
        })?;
        // So that the run can't finish before the signal.
        shop.platform.stop()?;
        for signal in ["-INT", "-CONT"] {
            shop.lab.host("app")?.run("pkill", [signal, "ctspark"])?;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(130), "{:?}: {said}", output.status);
        ensure!(said.contains("interrupted; the ruleset in force stays"), "{said}");
        shop.platform.resume(&shop.lab)?;
        wait::until("the old policy comes back by itself", LIMIT, || {
            Ok((in_force(&shop)? == Policy::Open).then_some(()))
        })?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

#[test]
fn an_unconfirmed_trial_reverts_by_itself() -> Result<()> {
    in_lab("an_unconfirmed_trial_reverts_by_itself", || {
        let shop = Shop::start_enforced()?;
        configure_also(&shop, "probation-seconds: 5")?;
        Policy::Closed.commit(&shop)?;
        killed_at(&shop, Step::Tried)?;
        ensure!(in_force(&shop)? == Policy::Closed, "the new policy is on trial");
        wait::until("the old policy comes back by itself", LIMIT, || {
            Ok((in_force(&shop)? == Policy::Open).then_some(()))
        })?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

#[test]
fn a_policy_that_blocks_the_platform_is_reverted() -> Result<()> {
    in_lab("a_policy_that_blocks_the_platform_is_reverted", || {
        let mut shop = Shop::start_enforced()?;
        Policy::Closed.commit(&shop)?;
        let app = shop.lab.host("app")?;
        let mut command = app.command("env");
        command.arg("XSHIELD_STOP_AT=tried").arg(shop.lab.programs().spark()?);
        command.args(["run", "--json", "--config", spark::CONFIG]).stdout(Stdio::piped());
        let child = command.spawn()?;
        wait::until("the new policy is on trial", LIMIT, || {
            Ok((in_force(&shop)? == Policy::Closed).then_some(()))
        })?;
        shop.platform.stop()?;
        shop.lab.host("app")?.run("pkill", ["-CONT", "ctspark"])?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(8), "{:?}: {text}", output.status);
        ensure!(text.contains("ruleset-reverted"), "{text}");
        ensure!(in_force(&shop)? == Policy::Open, "the old policy is back");
        shop.platform.resume(&shop.lab)?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

#[test]
fn wrong_and_revoked_keys_are_refused_and_the_policy_stays() -> Result<()> {
    in_lab("wrong_and_revoked_keys_are_refused_and_the_policy_stays", || {
        let shop = Shop::start_enforced()?;
        let app = shop.lab.host("app")?;
        let path = app.file(spark::CONFIG);
        let good = std::fs::read_to_string(&path)?;
        let refused = |what: &str| -> Result<()> {
            let _ = std::fs::remove_file(app.file("/var/lib/xshield/session"));
            let run = run_on(&shop, "app")?;
            ensure!(run.exit.code() == Some(6), "{what}: {run:?}");
            ensure!(
                run.json["problems"].to_string().contains("platform-refused"),
                "{what}: {run:?}"
            );
            ensure!(in_force(&shop)? == Policy::Open, "{what}: the policy stays");
            Ok(())
        };
        let line = good.lines().find(|line| line.starts_with("enforcement-key:"));
        let line = line.context("the configuration has an enforcement key")?;
        std::fs::write(&path, good.replace(line, &format!("enforcement-key: {UNKNOWN_KEY}")))?;
        refused("a key that the platform does not know")?;
        std::fs::write(&path, &good)?;
        settle(&shop, Policy::Open)?;

        let keys = shop.platform.json(&shop.lab, &["key", "list"])?;
        for key in keys["items"].as_array().context("a list of keys")? {
            let id = key["id"].as_str().context("a key's id")?;
            shop.platform.cli(&shop.lab, &["key", "revoke", id])?;
        }
        refused("a revoked key")
    })
}

#[test]
fn a_changed_identity_waits_for_an_operator() -> Result<()> {
    in_lab("a_changed_identity_waits_for_an_operator", || {
        let shop = Shop::start_enforced()?;
        let app = shop.lab.host("app")?;
        for file in ["identity.key", "session"] {
            std::fs::remove_file(app.file(&format!("/var/lib/xshield/{file}")))?;
        }
        let run = run_on(&shop, "app")?;
        ensure!(run.exit.code() == Some(6), "{run:?}");
        ensure!(in_force(&shop)? == Policy::Open, "the policy stays");
        let asset = shop.platform.json(&shop.lab, &["asset", "show", "app"])?;
        let fingerprint = asset["pending_identity"]["fingerprint"].as_str();
        let fingerprint = fingerprint.context("the fingerprint of the waiting identity")?;
        let approve = ["asset", "approve-identity", "app", "--fingerprint", fingerprint];
        shop.platform.cli(&shop.lab, &approve)?;
        settle(&shop, Policy::Open).map(drop)
    })
}

#[test]
fn a_ruleset_signed_by_an_unpinned_key_is_refused() -> Result<()> {
    in_lab("a_ruleset_signed_by_an_unpinned_key_is_refused", || {
        let shop = Shop::start_enforced()?;
        let path = shop.lab.host("app")?.file(spark::CONFIG);
        let good = std::fs::read_to_string(&path)?;
        let key = good
            .split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '"' | '\''))
            .find(|word| word.len() == 44 && word.ends_with('='))
            .context("the configuration has a policy key")?;
        std::fs::write(&path, good.replace(key, OTHER_POLICY_KEY))?;
        Policy::Closed.commit(&shop)?;
        let run = wait::until("the ruleset is refused", LIMIT, || {
            let run = run_on(&shop, "app")?;
            Ok((run.status() == "ruleset-refused").then_some(run))
        })?;
        ensure!(run.exit.code() == Some(7), "{run:?}");
        ensure!(in_force(&shop)? == Policy::Open, "the kernel keeps what it holds");
        std::fs::write(&path, good)?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

#[test]
fn a_full_disk_is_reported_and_leaves_no_partial_file() -> Result<()> {
    in_lab("a_full_disk_is_reported_and_leaves_no_partial_file", || {
        let shop = Shop::start_enforced()?;
        let app = shop.lab.host("app")?;
        let script = "set -e; cp -a /var/lib/xshield /var/tmp/state; \
            mount -t tmpfs -o size=512k,mode=700 tmpfs /var/lib/xshield; \
            cp -a /var/tmp/state/. /var/lib/xshield/; \
            dd if=/dev/zero of=/var/lib/xshield/filler bs=1k 2>/dev/null || true";
        app.run("sh", ["-c", script])?;
        Policy::Closed.commit(&shop)?;
        let run = wait::until("a run hits the full disk", LIMIT, || {
            let run = run_on(&shop, "app")?;
            Ok((run.exit.code() == Some(1)).then_some(run))
        })?;
        ensure!(run.json["error"].to_string().contains("disk is full"), "{run:?}");
        in_force(&shop)?;
        app.run("rm", ["/var/lib/xshield/filler"])?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

/// The example's documents with a number of additional allow rules on app.
fn with_rules(text: &str, rules: usize) -> String {
    if !text.contains("name: app-tier\n") {
        return text.replace("templates: [app-tier, ", "templates: [app-tier, many, ");
    }
    let more: String = (0..rules)
        .map(|at| {
            let (address, port) = (Ipv4Addr::from(0x0a80_0000 + at as u32), 1024 + at % 5000);
            format!("    - {{ name: r{at}, from: [{address}], services: [tcp/{port}] }}\n")
        })
        .collect();
    format!("{text}\n---\ntemplate:\n  name: many\n  action: allow\n  inbound:\n{more}")
}

#[test]
fn a_ruleset_that_cannot_be_saved_is_never_reported_in_force() -> Result<()> {
    in_lab("a_ruleset_that_cannot_be_saved_is_never_reported_in_force", || {
        let shop = Shop::start_enforced()?;
        let app = shop.lab.host("app")?;
        let before = run_on(&shop, "app")?.revision().context("app enforces a revision")?;
        // Space for positions and reports, but not for the next ruleset.
        let script = "set -e; cp -a /var/lib/xshield /var/tmp/state; \
            mount -t tmpfs -o size=1m,mode=700 tmpfs /var/lib/xshield; \
            cp -a /var/tmp/state/. /var/lib/xshield/; \
            dd if=/dev/zero of=/var/lib/xshield/room bs=1k count=96 2>/dev/null; \
            dd if=/dev/zero of=/var/lib/xshield/filler bs=1k 2>/dev/null || true; \
            rm /var/lib/xshield/room";
        app.run("sh", ["-c", script])?;
        shop.commit_edited(|text| with_rules(&Policy::Closed.write(text), 1_500))?;
        wait::until("a run takes the ruleset back", LIMIT, || {
            let run = run_on(&shop, "app")?;
            Ok((run.status() == "reverted").then_some(()))
        })?;
        for round in 0..3 {
            let run = run_on(&shop, "app")?;
            ensure!(run.status() == "reverted", "round {round}: {run:?}");
            ensure!(run.json["problems"].to_string().contains("could not be saved"), "{run:?}");
            ensure!(in_force(&shop)? == Policy::Open, "round {round}");
            let many = Kernel::read(app)?.programmed();
            ensure!(!many.iter().any(|item| item.contains("many/r")), "round {round}");
            let asset = shop.platform.json(&shop.lab, &["asset", "show", "app"])?;
            ensure!(asset["spark"]["in_force"]["revision"] == before, "round {round}: {asset}");
            ensure!(asset["spark"]["status"]["state"] == "failed", "round {round}: {asset}");
        }
        app.run("rm", ["/var/lib/xshield/filler"])?;
        settle(&shop, Policy::Closed).map(drop)
    })
}

#[test]
fn ten_thousand_rules_arrive_completely() -> Result<()> {
    in_lab("ten_thousand_rules_arrive_completely", || {
        const RULES: usize = 10_000;
        let shop = Shop::start_enforced()?;
        shop.commit_edited(|text| with_rules(text, RULES))?;
        wait::until("app's kernel has every rule", LIMIT, || {
            let run = run_on(&shop, "app")?;
            ensure!(run.exit.code() == Some(0), "{run:?}");
            let kernel = Kernel::read(shop.lab.host("app")?)?;
            let ids: std::collections::BTreeSet<String> = kernel
                .programmed()
                .iter()
                .flat_map(|item| item.split('"'))
                .filter(|text| text.starts_with("many/r"))
                .map(str::to_owned)
                .collect();
            Ok((ids.len() == RULES).then_some(()))
        })?;
        ensure!(in_force(&shop)? == Policy::Open);
        Ok(())
    })
}
