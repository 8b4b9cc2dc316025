//! Which hosts become assets: approval by an operator, registration with a token, and the remaining use of an
//! expired key.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xshield_lab::agent;
use xshield_lab::host::Host;
use xshield_lab::privilege::in_lab;
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

const LIMIT: Duration = Duration::from_secs(60);

fn run_on(shop: &Shop, host: &str) -> Result<SparkRun> {
    spark::run(&shop.lab, shop.lab.host(host)?)
}

/// Deletes a host's identity, as a reinstallation does.
fn make_anew(host: &Host) -> Result<()> {
    fs::remove_file(host.file("/var/lib/xshield/identity.key"))?;
    match fs::remove_file(host.file("/var/lib/xshield/session")) {
        // A host that was refused has none.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A run that the platform refuses; returns its output.
fn refused(shop: &Shop, host: &str) -> Result<String> {
    let run = run_on(shop, host)?;
    ensure!(run.exit.code() == Some(6), "{host} is not refused: {run:?}");
    let problems = run.json["problems"].to_string();
    let told = problems.matches("platform-refused").count();
    ensure!(told == 1, "told {told} times: {problems}");
    Ok(problems)
}

/// The fingerprint shown on the host.
fn fingerprint(shop: &Shop, host: &str) -> Result<String> {
    let there = shop.lab.host(host)?;
    let status = there.run(shop.lab.programs().spark()?, ["status", "--config", spark::CONFIG])?;
    let line = status.lines().find_map(|line| line.strip_prefix("fingerprint"));
    let shown = line.with_context(|| format!("no fingerprint in:\n{status}"))?.trim().to_owned();
    ensure!(shown.starts_with("sha256:"), "{shown}");
    Ok(shown)
}

fn id_of_the_only_key(shop: &Shop) -> Result<String> {
    let keys = shop.platform.json(&shop.lab, &["key", "list"])?;
    let id = keys["items"][0]["id"].as_str();
    Ok(id.context("a key")?.to_owned())
}

fn enforces(shop: &Shop, host: &str, revision: u64) -> Result<()> {
    wait::until(&format!("{host} enforces revision {revision}"), LIMIT, || {
        let run = run_on(shop, host)?;
        Ok((run.status() == "enforcing" && run.revision() == Some(revision)).then_some(()))
    })
}

#[test]
fn only_the_host_with_the_approved_fingerprint_is_admitted() -> Result<()> {
    in_lab("only_the_host_with_the_approved_fingerprint_is_admitted", || {
        let shop = Shop::start_enforced()?;
        for (host, attacker_is_first) in [("app", true), ("db", false)] {
            // The host is reinstalled; the attacker has its configuration, and so the key.
            let there = shop.lab.host(host)?;
            make_anew(there)?;
            let attacker = shop.lab.host("attacker")?;
            let stolen = fs::read_to_string(there.file(spark::CONFIG))?;
            fs::write(attacker.file(spark::CONFIG), format!("{stolen}name: {host}\n"))?;
            make_anew(attacker)?;
            let mut order = [host, "attacker"];
            if attacker_is_first {
                order.reverse();
            }
            for name in order {
                let said = refused(&shop, name)?;
                ensure!(
                    said.contains(&format!("another machine is registered as {host}")),
                    "{said}"
                );
                ensure!(said.contains(&fingerprint(&shop, name)?), "{said}");
            }
            let own = fingerprint(&shop, host)?;
            let approve = ["asset", "approve-identity", host, "--fingerprint", &own];
            shop.platform.cli(&shop.lab, &approve)?;
            let run = run_on(&shop, host)?;
            ensure!(run.status() == "enforcing", "{run:?}");
            refused(&shop, "attacker")?;
            let other = fingerprint(&shop, "attacker")?;
            let reject = ["asset", "reject-identity", host, "--fingerprint", &other];
            shop.platform.cli(&shop.lab, &reject)?;
            let said = refused(&shop, "attacker")?;
            ensure!(said.contains("rejected"), "{said}");
            let asset = shop.platform.json(&shop.lab, &["asset", "show", host])?;
            ensure!(asset["fingerprint"] == own.as_str(), "{asset:#}");
        }
        Ok(())
    })
}

#[test]
fn a_token_registers_only_the_host_that_it_names() -> Result<()> {
    in_lab("a_token_registers_only_the_host_that_it_names", || {
        let shop = Shop::start()?;
        let file = shop.lab.directory().join("token.yaml");
        let path = file.to_str().context("a path")?;
        let make = ["key", "token", "--host", "web-9", "--tag", "role=web", "--host-config", path];
        shop.platform.cli(&shop.lab, &make)?;
        let configuration = fs::read_to_string(&file)?;
        for host in ["web", "app"] {
            spark::configure(shop.lab.host(host)?, &configuration)?;
        }
        let run = run_on(&shop, "web")?;
        ensure!(run.status() == "no-policy", "{run:?}");
        let said = refused(&shop, "app")?;
        ensure!(said.contains("has already been used for its host"), "{said}");
        let assets = shop.platform.json(&shop.lab, &["asset", "list"])?;
        ensure!(assets["items"].as_array().is_some_and(|all| all.len() == 1), "{assets:#}");
        ensure!(assets["items"][0]["name"] == "web-9", "{assets:#}");
        ensure!(assets["items"][0]["tags"]["role"] == "web", "{assets:#}");
        let run = run_on(&shop, "web")?;
        ensure!(run.status() == "no-policy", "the host that it registered goes on: {run:?}");
        let shown = shop.platform.cli(&shop.lab, &["key", "list"])?;
        ensure!(shown.contains("1 of 1") && shown.contains("used"), "{shown}");
        Ok(())
    })
}

#[test]
fn an_agent_registers_with_a_token_under_a_given_name() -> Result<()> {
    in_lab("an_agent_registers_with_a_token_under_a_given_name", || {
        let shop = Shop::start()?;
        let token = shop.platform.json(&shop.lab, &["key", "token", "--host", "db-9"])?;
        let key = token["deployment_key"].as_str().context("a deployment key")?;
        let domain = shop.platform.address().to_string();
        let (db, app) = (shop.lab.host("db")?, shop.lab.host("app")?);
        let heartbeat = [("heartbeat-seconds", "1")];
        // With its own name the host does not match the token.
        agent::register_by_key(&shop.lab, db, &domain, key, &[], &heartbeat)?;
        let running = agent::start(&shop.lab, db)?;
        let told = |host: &Host| {
            host.run(shop.lab.programs().agent_command()?, ["status"])
                .map_err(|error| anyhow::anyhow!("ctagentcmd status: {error:#}"))
        };
        wait::until("the agent tells why it is refused", LIMIT, || {
            Ok(told(db).ok().filter(|text| text.contains("only registers db-9")))
        })?;
        let change = ["updateConfig", "--param", "configuration.name", "--value", "db-9"];
        db.run(shop.lab.programs().agent_command()?, change)?;
        let registered = || -> Result<Option<serde_json::Value>> {
            let assets = shop.platform.json(&shop.lab, &["asset", "list"])?;
            let found = assets["items"].as_array().and_then(|all| all.first());
            Ok(found.filter(|asset| asset["name"] == "db-9").cloned())
        };
        let asset = wait::until("db is an asset", LIMIT, registered)?;
        let fingerprint = asset["fingerprint"].as_str().context("a fingerprint")?;
        let status = told(db)?;
        ensure!(status.contains(fingerprint) && status.contains("db-9"), "{status}");
        drop(running);

        agent::register_by_key(&shop.lab, app, &domain, key, &["--name", "db-9"], &heartbeat)?;
        let _running = agent::start(&shop.lab, app)?;
        wait::until("the second agent hears that the token is used", LIMIT, || {
            Ok(told(app).ok().filter(|text| text.contains("has already been used for its host")))
        })
        .map(drop)
    })
}

#[test]
fn a_registered_host_fetches_a_new_policy_with_an_expired_key_and_a_new_host_is_refused()
-> Result<()> {
    in_lab(
        "a_registered_host_fetches_a_new_policy_with_an_expired_key_and_a_new_host_is_refused",
        || {
            let shop = Shop::start_enforced()?;
            let before = run_on(&shop, "app")?.revision().context("a revision")?;
            let id = id_of_the_only_key(&shop)?;
            shop.platform.cli(&shop.lab, &["key", "rotate", &id, "--overlap", "0s"])?;
            // A new session with the expired key, and a new policy.
            fs::remove_file(shop.lab.host("app")?.file("/var/lib/xshield/session"))?;
            shop.commit_edited(|text| {
                text.replace("services: [tcp/8080]", "services: [tcp/8081]")
            })?;
            enforces(&shop, "app", before + 1)?;

            let state = "/var/lib/xshield";
            fs::remove_dir_all(shop.lab.host("laptop")?.file(state))?;
            shop.platform.cli(&shop.lab, &["asset", "delete", "laptop"])?;
            let said = refused(&shop, "laptop")?;
            ensure!(said.contains("expired") && said.contains("registers no new host"), "{said}");

            shop.platform.cli(&shop.lab, &["key", "revoke", &id])?;
            let said = refused(&shop, "app")?;
            ensure!(said.contains("revoked"), "{said}");
            Ok(())
        },
    )
}
