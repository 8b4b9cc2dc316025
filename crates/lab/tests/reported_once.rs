//! One cause is one line in the output of a run, whatever it prevented: as text and as JSON.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use xshield_lab::host::Host;
use xshield_lab::privilege::in_lab;
use xshield_lab::shop::Shop;
use xshield_lab::spark;

const STATE: &str = "/var/lib/xshield";

/// Both outputs of a run, whatever its result.
fn said(shop: &Shop, host: &Host, options: &[&str]) -> Result<String> {
    let run = [&["run", "--config", spark::CONFIG][..], options].concat();
    let output = spark::command(&shop.lab, host, &run)?.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr))
}

/// Causes the problem twice, and checks a run with text and one with JSON output. What a run repairs is only
/// reported by the first run.
fn told_once(shop: &Shop, cause: &str, break_it: impl Fn(&Host) -> Result<()>) -> Result<()> {
    let host = shop.lab.host("db")?;
    for options in [&[][..], &["--json"]] {
        break_it(host)?;
        let said = said(shop, host, options)?;
        // In JSON, the routes to the platform are a separate table.
        let (before, after) = match (said.find("\"routes\":["), said.find("],\"events\"")) {
            (Some(from), Some(to)) => (&said[..from], &said[to..]),
            _ => (said.as_str(), ""),
        };
        let count = before.matches(cause).count() + after.matches(cause).count();
        ensure!(count == 1, "{cause:?} is told {count} times:\n{said}");
    }
    Ok(())
}

#[test]
fn a_cause_is_reported_once() -> Result<()> {
    in_lab("a_cause_is_reported_once", || {
        let mut shop = Shop::start_enforced()?;
        let nothing = |_: &Host| Ok(());
        shop.platform.stop()?;
        for cause in ["10.77.0.1:8443 refused the connection", "platform could not be reached:"] {
            told_once(&shop, cause, nothing)?;
        }
        shop.platform.resume(&shop.lab)?;

        let damage = |file: &'static str| {
            move |host: &Host| Ok(fs::write(host.file(&format!("{STATE}/{file}")), "damaged")?)
        };
        for file in ["progress", "enforced", "session"] {
            told_once(&shop, &format!("{STATE}/{file} is damaged"), damage(file))?;
        }
        let key = shop.lab.host("db")?.file(&format!("{STATE}/identity.key"));
        let kept = fs::read(&key)?;
        told_once(&shop, "identity.key is damaged", damage("identity.key"))?;
        fs::write(&key, kept)?;

        // A small disk with the present files, and no free space.
        let small = format!(
            "cp -a {STATE} /var/kept && mount -t tmpfs -o size=256k none {STATE} &&
             cp -a /var/kept/. {STATE}/ && dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null; true"
        );
        shop.lab.host("db")?.run("sh", ["-c", &small])?;
        told_once(&shop, "the disk is full", nothing)?;
        shop.lab.host("db")?.run("umount", [STATE])?;

        let keys = shop.platform.json(&shop.lab, &["key", "list"])?;
        for key in keys["items"].as_array().context("no list of keys")? {
            let id = key["id"].as_str().context("a key without id")?;
            shop.platform.cli(&shop.lab, &["key", "revoke", id])?;
        }
        told_once(&shop, "Enforcement key revoked", nothing)
    })
}
