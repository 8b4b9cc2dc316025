//! Changes of a host's identity: a rename, a cloned machine, a container bridge, arbitrary claims. None of
//! them opens a host or blocks another one.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
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

/// Whether laptop reaches SSH on attacker, by packets of both families.
fn is_open(shop: &Shop) -> Result<bool> {
    let ports = [Port::Tcp(22)];
    let open = Matrix::of(&["laptop", "attacker"], &ports, |_| Expectation::passes("open"));
    let mut cells = open.only(|flow| flow.from == "laptop" && flow.to == "attacker");
    cells.probe(&shop.lab)?;
    match cells.wrong().len() {
        0 => Ok(true),
        2 => Ok(false),
        _ => anyhow::bail!("neither open nor closed:\n{cells}"),
    }
}

#[test]
fn a_renamed_host_stays_protected() -> Result<()> {
    in_lab("a_renamed_host_stays_protected", || {
        let shop = Shop::start_enforced()?;
        ensure!(is_open(&shop)?, "without a word about it, attacker is open");
        // No management source here: attacker is protected only by its name.
        shop.commit_edited(|text| {
            let text = text.replace("10.77.0.20, \"fd77::20\"", "10.77.0.99");
            match text.contains("name: app-tier\n") {
                true => format!(
                    "{text}\n---\nasset:\n  name: attacker\n  \
                     inbound: {{ level: secure-all-ports, mode: enforce }}\n"
                ),
                false => text,
            }
        })?;
        wait::until("attacker is closed", LIMIT, || {
            run_on(&shop, "attacker")?;
            Ok((!is_open(&shop)?).then_some(()))
        })?;
        let attacker = shop.lab.host("attacker")?;
        for name in ["attacker.shop.example", "localhost"] {
            attacker.run("sh", ["-c", &format!("echo {name} > /proc/sys/kernel/hostname")])?;
            // The second run gets what the platform compiled after the first.
            for _run in 0..2 {
                let run = run_on(&shop, "attacker")?;
                ensure!(run.exit.code() == Some(0) && codes(&run) == ["name-waits"], "{run:?}");
                ensure!(run.json.to_string().contains(name), "{run:?}");
            }
            ensure!(!is_open(&shop)?, "{name}");
        }
        let claims = shop.platform.json(&shop.lab, &["asset", "claims"])?;
        ensure!(claims[0]["asset"] == "attacker" && claims[0]["value"] == "localhost", "{claims}");
        shop.platform.cli(&shop.lab, &["asset", "rename", "attacker", "elsewhere"])?;
        wait::until("an operator's rename counts", LIMIT, || {
            let run = run_on(&shop, "attacker")?;
            Ok((codes(&run).is_empty() && is_open(&shop)?).then_some(()))
        })
    })
}

#[test]
fn claims_of_one_host_block_no_other() -> Result<()> {
    in_lab("claims_of_one_host_block_no_other", || {
        let shop = Shop::start_enforced()?;
        shop.platform.cli(&shop.lab, &["asset", "tag", "attacker", "role=bad"])?;
        let commit = |port: u16| {
            let blocked = format!(
                "segment: {{ name: bad, criteria: role = 'bad' }}\n---\n\
                 template:\n  name: no-bad\n  action: block\n  \
                 inbound: [{{ name: from, from: ['segment:bad'], services: [tcp/1-{port}] }}]\n"
            );
            shop.commit_edited(|text| {
                let text = text.replace("templates: [app-tier, ", "templates: [app-tier, no-bad, ");
                match text.contains("name: app-tier\n") {
                    true => format!("{text}\n---\n{blocked}"),
                    false => text,
                }
            })
        };
        commit(9000)?;
        let (attacker, web) = (shop.lab.host("attacker")?, shop.lab.host("web")?);
        let claimed = [web.v4().to_string(), "8.8.8.8".to_owned()];
        for address in &claimed {
            attacker.run("ip", ["address", "add", address, "dev", "lo", "nodad"])?;
        }
        let run = run_on(&shop, "attacker")?;
        ensure!(run.exit.code() == Some(0), "{run:?}");
        let waits = codes(&run).iter().filter(|code| **code == "address-waits").count();
        ensure!(waits == claimed.len(), "each is told: {run:?}");
        let told = run_on(&shop, "web")?;
        ensure!(codes(&told) == ["address-claimed"], "{told:?}");
        // A container bridge, the same on both.
        for host in [web, attacker] {
            let script =
                "ip link add docker0 type bridge && ip address add 172.17.0.1/16 dev docker0";
            host.run("sh", ["-c", script])?;
        }
        for host in ["web", "attacker"] {
            let run = run_on(&shop, host)?;
            let shown = shop.platform.json(&shop.lab, &["asset", "show", host])?;
            ensure!(!shown.to_string().contains("172.17.0.1"), "{run:?} {shown}");
        }
        // It still claims so when the next policy is committed, but does not get web's address.
        for address in &claimed {
            attacker.run("ip", ["address", "del", &format!("{address}/32"), "dev", "lo"])?;
        }
        commit(9001).context("one bad host stops no commit")?;
        let run = run_on(&shop, "app")?;
        ensure!(run.status() == "enforcing" && run.revision() == Some(3), "{run:?}");
        let reached =
            Matrix::of(&["web", "app"], &[Port::Tcp(8080)], |_| Expectation::passes("from-web"));
        let mut cells = reached.only(|flow| flow.from == "web");
        cells.probe(&shop.lab)?;
        cells.verify().context("web is not blocked by what attacker says")
    })
}

#[test]
fn a_cloned_machine_is_distinguished_from_its_original() -> Result<()> {
    in_lab("a_cloned_machine_is_distinguished_from_its_original", || {
        let mut shop = Shop::start_enforced()?;
        shop.lab.add_host("copy", 67)?;
        let (attacker, copy) = (shop.lab.host("attacker")?, shop.lab.host("copy")?);
        for path in ["/etc/xshield", "/var/lib/xshield"] {
            let (from, to) = (attacker.file(path), copy.file(path));
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let status = Command::new("cp").arg("-aT").args([&from, &to]).status()?;
            ensure!(status.success(), "copying {path}");
        }
        let addresses = || -> Result<serde_json::Value> {
            let shown = shop.platform.json(&shop.lab, &["asset", "show", "attacker"])?;
            Ok(shown["addresses"].clone())
        };
        let before = addresses()?;
        for host in ["attacker", "copy", "attacker"] {
            let run = run_on(&shop, host)?;
            ensure!(run.exit.code() == Some(0), "{host}: {run:?}");
            ensure!(addresses()? == before, "the asset does not flip");
        }
        for _round in 0..2 {
            let run = run_on(&shop, "copy")?;
            ensure!(run.exit.code() == Some(6), "{run:?}");
            ensure!(run.json.to_string().contains("ctspark remove"), "{run:?}");
            let run = run_on(&shop, "attacker")?;
            ensure!(run.exit.code() == Some(0), "{run:?}");
            ensure!(codes(&run).contains(&"identity-copied"), "{run:?}");
            ensure!(addresses()? == before);
        }
        let remove =
            spark::command(&shop.lab, copy, &["remove", "--config", spark::CONFIG])?.status()?;
        ensure!(remove.success(), "{remove}");
        let run = run_on(&shop, "copy")?;
        ensure!(run.exit.code() == Some(0), "{run:?}");
        shop.platform.json(&shop.lab, &["asset", "show", "copy"]).map(drop)
    })
}
