//! Failures of the platform, as seen from its hosts and by packets.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xshield_lab::external_host::reach;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

const LIMIT: Duration = Duration::from_secs(60);

fn run_on(shop: &Shop, host: &str) -> Result<SparkRun> {
    spark::run(&shop.lab, shop.lab.host(host)?)
}

fn codes(run: &SparkRun) -> Vec<&str> {
    let problems = run.json["problems"].as_array().into_iter().flatten();
    problems.filter_map(|problem| problem["code"].as_str()).collect()
}

/// Whether app reaches the database, by packets of both families.
fn is_open(shop: &Shop) -> Result<bool> {
    match reach(&shop.lab, "app", "db", 5432)? {
        [ProbeResult::Passed, ProbeResult::Passed] => Ok(true),
        [ProbeResult::Dropped, ProbeResult::Dropped] => Ok(false),
        other => anyhow::bail!("neither open nor closed: {other:?}"),
    }
}

/// Commits the shop's policy with another port for the database.
fn commit_with_port(shop: &Shop, port: u16) -> Result<()> {
    shop.commit_edited(|text| text.replace("tcp/5432", &format!("tcp/{port}")))
}

/// The procedure of docs/operations/platform.md, "Restoring".
#[test]
fn after_a_restore_hosts_keep_their_policy_until_they_get_the_restored_one() -> Result<()> {
    in_lab("after_a_restore_hosts_keep_their_policy_until_they_get_the_restored_one", || {
        let mut shop = Shop::start_enforced()?;
        shop.verify()?;
        ensure!(is_open(&shop)?, "the policy of the backup opens the database");
        let backup = shop.lab.directory().join("backup");
        shop.platform.stop()?;
        shop.platform.back_up(&backup)?;
        shop.platform.resume(&shop.lab)?;

        commit_with_port(&shop, 5433)?;
        ensure!(shop.enforce()? == 2, "the first change");
        commit_with_port(&shop, 5434)?;
        ensure!(shop.enforce()? == 3, "the second change");
        ensure!(!is_open(&shop)?, "the policy that is lost closes the database");

        shop.platform.stop()?;
        shop.platform.restore(&backup)?;
        ensure!(!is_open(&shop)?, "without a platform, what was in force stays");
        shop.platform.resume(&shop.lab)?;
        ensure!(!is_open(&shop)?, "the platform alone changes nothing");

        let run = run_on(&shop, "db")?;
        ensure!(run.exit.code() == Some(0) && run.revision() == Some(4), "{run:?}");
        ensure!(codes(&run) == ["platform-restored"], "no word of tampering: {run:?}");
        let last = shop.enforce()?;
        ensure!(last == 4, "one number for all, not one for each host: {last}");
        for host in shop.example.host_names() {
            let run = run_on(&shop, host)?;
            ensure!(codes(&run).is_empty(), "{host} is told once: {run:?}");
        }
        ensure!(is_open(&shop)?, "the restored policy is in force");
        shop.verify()?;

        let audited = shop.platform.cli(&shop.lab, &["audit"])?;
        ensure!(audited.contains("policy.restored"), "{audited}");
        let assets = shop.platform.json(&shop.lab, &["asset", "list"])?;
        for asset in assets["items"].as_array().context("a list of assets")? {
            ensure!(asset["spark"]["up_to_date"] == true, "{asset:#}");
        }
        // Operators continue from there.
        commit_with_port(&shop, 5433)?;
        ensure!(shop.enforce()? == 5, "the next commit");
        ensure!(!is_open(&shop)?, "and it is enforced");
        Ok(())
    })
}

#[test]
fn a_host_with_thousands_of_addresses_enforces_and_is_a_peer_by_all_of_them() -> Result<()> {
    in_lab("a_host_with_thousands_of_addresses_enforces_and_is_a_peer_by_all_of_them", || {
        let shop = Shop::start_enforced()?;
        let app = shop.lab.host("app")?;
        let lines = (0..3_000)
            .map(|at| format!("address add 10.80.{}.{}/32 dev lo\n", at / 250, at % 250 + 1));
        let batch = shop.lab.directory().join("addresses");
        std::fs::write(&batch, lines.collect::<String>())?;
        app.run("ip", ["-batch", batch.to_str().context("a path")?])?;
        let last = "10.80.11.250";
        let db = shop.lab.host("db")?;
        db.run("ip", ["route", "add", "10.80.0.0/16", "via", &app.v4().to_string()])?;

        let run = run_on(&shop, "app")?;
        ensure!(run.exit.success() && codes(&run).is_empty(), "{run:?}");
        ensure!(run.status() == "enforcing", "{run:?}");
        let asset = shop.platform.json(&shop.lab, &["asset", "show", "app"])?;
        let addresses = asset["addresses"].as_array().context("addresses")?;
        ensure!(addresses.len() == 3_002, "{} addresses", addresses.len());
        ensure!(asset["spark"]["refused"].is_null(), "{asset:#}");

        let from_the_last = || -> Result<bool> {
            let to = format!("telnet://{}:5432", db.v4());
            let script = format!(
                "curl --interface {last} --max-time 2 -sv '{to}' </dev/null 2>&1 | grep -q 'Connected to'"
            );
            let mut command: Command = app.command("bash");
            Ok(command.args(["-c", &script]).status()?.success())
        };
        wait::until("the database takes app by its last address", LIMIT, || {
            let run = run_on(&shop, "db")?;
            ensure!(run.exit.success(), "{run:?}");
            Ok(from_the_last()?.then_some(()))
        })?;
        shop.verify()
    })
}
