//! A rotation of the platform's policy key and CA: Spark and agent follow, real binaries.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use xshield_lab::agent;
use xshield_lab::privilege::in_lab;
use xshield_lab::shop::Shop;
use xshield_lab::{spark, wait};

const SOON: Duration = Duration::from_secs(120);
/// Its host runs an agent, the others Spark.
const RESIDENT: &str = "web";

fn sparks(shop: &Shop) -> Vec<&str> {
    shop.example.host_names().into_iter().filter(|name| *name != RESIDENT).collect()
}

/// Runs Spark everywhere; it must accept everything on disk.
fn run_sparks(shop: &Shop) -> Result<()> {
    let runs = spark::run_everywhere(&shop.lab, &sparks(shop))?;
    spark::all_succeeded(&runs)?;
    for (name, run) in &runs {
        let problems = run.json["problems"].to_string();
        let refused = ["state-damaged", "trust-refused", "ruleset-refused", "untrusted"];
        assert!(refused.iter().all(|code| !problems.contains(code)), "{name}: {problems}");
    }
    Ok(())
}

fn rotation(shop: &Shop) -> Result<Value> {
    Ok(shop.platform.json(&shop.lab, &["health"])?["key_rotation"].clone())
}

/// Waits until every host has reported that it follows.
fn all_follow(shop: &Shop, sequence: u64) -> Result<()> {
    wait::until("every host follows the platform's keys", SOON, || {
        run_sparks(shop)?;
        let rotation = rotation(shop)?;
        assert_eq!(rotation["sequence"], sequence, "{rotation}");
        Ok((rotation["behind"] == 0).then_some(()))
    })
}

fn all_enforce(shop: &Shop, least: u64) -> Result<()> {
    wait::until("every host enforces the new revision", SOON, || {
        run_sparks(shop)?;
        for name in sparks(shop) {
            let run = spark::run(&shop.lab, shop.lab.host(name)?)?;
            if run.revision().is_none_or(|revision| revision < least) {
                return Ok(None);
            }
        }
        let agent = agent::revision(&shop.lab, shop.lab.host(RESIDENT)?)?;
        Ok(agent.is_some_and(|revision| revision >= least).then_some(()))
    })
}

#[test]
fn hosts_follow_a_key_rotation_while_old_and_new_keys_overlap() -> Result<()> {
    in_lab("hosts_follow_a_key_rotation_while_old_and_new_keys_overlap", || {
        let mut shop = Shop::start()?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        for name in sparks(&shop) {
            spark::configure(shop.lab.host(name)?, &configuration)?;
        }
        let web = shop.lab.host(RESIDENT)?;
        agent::register(&shop.lab, web, &configuration, "heartbeat-seconds: 5")?;
        let mut resident = agent::start(&shop.lab, web)?;
        run_sparks(&shop)?;
        wait::until("the agent has registered", SOON, || {
            let status = agent::status(&shop.lab, shop.lab.host(RESIDENT)?)?;
            Ok((status["last_cycle"]["outcome"]["platform"] == "reached").then_some(()))
        })?;
        shop.commit()?;
        all_enforce(&shop, 1)?;
        shop.verify()?;

        let ca = std::fs::read(shop.platform.ca_file())?;
        shop.platform.stop()?;
        shop.platform.rotate_keys(&shop.lab, &["begin"])?;
        // No host has received them yet.
        let early = shop.platform.rotate_keys(&shop.lab, &["finish"]).unwrap_err().to_string();
        assert!(early.contains("5 hosts do not know the new keys yet"), "{early}");
        shop.platform.resume(&shop.lab)?;
        assert_eq!(std::fs::read(shop.platform.ca_file())?, ca, "the old CA is in use");
        assert_eq!(rotation(&shop)?["behind"], 5);
        all_follow(&shop, 1)?;

        shop.platform.stop()?;
        shop.platform.rotate_keys(&shop.lab, &["finish"])?;
        shop.platform.resume(&shop.lab)?;
        assert_ne!(std::fs::read(shop.platform.ca_file())?, ca, "the new CA is in use");
        shop.platform.sign_in(&shop.lab)?;
        all_follow(&shop, 2)?;
        // What the old key signed is still in force, and verified in each run.
        shop.verify()?;

        // And the new key signs the next policy.
        shop.commit_edited(|text| {
            text.replace("services: [tcp/5432]", "services: [tcp/5432, tcp/1]")
        })?;
        all_enforce(&shop, 2)?;
        shop.verify()?;
        resident.still_runs()?;
        // The old key is not accepted any more: the host refuses it.
        let db = shop.lab.host("db")?;
        let followed = std::fs::read_to_string(db.file("/var/lib/xshield/trust"))
            .context("the host has not followed")?;
        assert!(followed.contains("\"sequence\":2"), "{followed}");
        Ok(())
    })
}
