//! The other commands of `ctspark.exe`, and repairs: with the output and exit codes that Linux hosts have.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use regex::Regex;
use xshield_firewall::plan::Family;
use xshield_firewall::wfp::Guid;
use xshield_firewall::wfp::model::{
    EngineState, Filter, FilterAction, Flags, Lifetime, ObjectKey, Provider, SubLayer, Weight,
};
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::ours;
use xshield_lab::privilege::in_lab;
use xshield_lab::spark::SparkRun;
use xshield_wfp_double::store::{RawFilter, Store};

use crate::site::{Policy, Site};

/// FWP_ACTION_PERMIT.
const PERMIT: u32 = 0x1002;

/// What another product has beside us: a filter in a sublayer of its own.
fn another_product() -> EngineState {
    let (provider, sublayer) = (Guid(0xaa), Guid(0xbb));
    EngineState {
        providers: vec![Provider {
            key: provider.into(),
            name: "A product".into(),
            service: None,
            lifetime: Lifetime::Persistent,
        }],
        sublayers: vec![SubLayer {
            key: sublayer.into(),
            name: "Its filters".into(),
            provider: Some(provider.into()),
            weight: 7,
            lifetime: Lifetime::Persistent,
        }],
        filters: vec![Filter {
            key: Guid(0xcc).into(),
            name: "Its filter".into(),
            description: "".into(),
            flags: Flags::PERSISTENT,
            provider: Some(provider.into()),
            layer: Layer::Connect(Family::V4),
            sublayer: sublayer.into(),
            weight: Weight::Exact(5),
            effective_weight: None,
            conditions: Vec::new(),
            action: FilterAction::Permit,
            id: None,
        }],
        dynamic: [].into(),
    }
}

/// What is not ours.
fn of_others(state: &EngineState) -> (Vec<Filter>, Vec<Provider>, Vec<SubLayer>) {
    let is_ours = |provider: Option<&ObjectKey>| ours::is_ours(provider);
    (
        state.filters.iter().filter(|f| !is_ours(f.provider.as_ref())).cloned().collect(),
        state.providers.iter().filter(|p| p.key != ours::provider().key).cloned().collect(),
        state.sublayers.iter().filter(|s| !is_ours(s.provider.as_ref())).cloned().collect(),
    )
}

#[test]
fn windows_hosts_repair_explain_restore_and_remove_as_linux_hosts_do() -> Result<()> {
    in_lab("verbs::windows_hosts_repair_explain_restore_and_remove_as_linux_hosts_do", || {
        let site = Site::start()?;
        site.app.engine().edit(|store| store.insert(&another_product()))?;
        let others = of_others(&site.app.state()?);
        ensure!(others.0.len() == 1 && others.1.len() == 1 && others.2.len() == 1, "{others:?}");
        unchanged(&site)?;
        dropped_by_windows_firewall(&site)?;
        drift(&site)?;
        stray(&site)?;
        shown(&site)?;
        found_by_the_acceptance_script(&site)?;
        explained(&site)?;
        signature(&site)?;
        restored(&site)?;
        ensure!(of_others(&site.app.state()?) == others, "another product's objects have changed");
        removed(&site)?;
        ensure!(of_others(&site.app.state()?) == others, "another product's objects have changed");
        Ok(())
    })
}

/// A run with nothing to do reads, and changes nothing.
fn unchanged(site: &Site) -> Result<()> {
    let engine = site.app.engine();
    let (calls, store) = (engine.calls()?.len(), engine.load()?);
    let run = site.settle(Policy::Open)?;
    ensure!(run.json["change"] == "none", "{run:?}");
    let calls = engine.calls()?.split_off(calls);
    let changes = ["Add0", "DeleteByKey0", "TransactionCommit0"];
    let changing: Vec<&String> =
        calls.iter().filter(|call| changes.iter().any(|change| call.contains(change))).collect();
    ensure!(changing.is_empty() && !calls.is_empty(), "{changing:?} of {} calls", calls.len());
    ensure!(engine.load()? == store, "the filter engine holds something else");
    Ok(())
}

/// Once Windows Firewall writes what it drops, what the policy allows of it is named, once.
fn dropped_by_windows_firewall(site: &Site) -> Result<()> {
    const PROFILE: &str = "HKLM\\SYSTEM\\CurrentControlSet\\Services\\SharedAccess\\Parameters\\\
                           FirewallPolicy\\PublicProfile\\Logging";
    let directory = site.app.drive().join("windows/system32/LogFiles/Firewall");
    fs::create_dir_all(&directory)?;
    let mut log = fs::File::create(directory.join("pfirewall.log"))?;
    let dropped = |port: u16| {
        format!(
            "2026-11-30 12:00:00 DROP TCP 10.77.0.11 10.77.0.12 50000 {port} 52 S 1 0 65535 - - - RECEIVE\r\n"
        )
    };
    write!(
        log,
        "#Fields: date time action protocol src-ip dst-ip src-port dst-port size tcpflags tcpsyn tcpack tcpwin \
         icmptype icmpcode info path\r\n\r\n{}",
        dropped(8080)
    )?;
    site.app.set_registry(&site.lab, PROFILE, "LogDroppedPackets", 1)?;
    const CODE: &str = "allowed-but-dropped";
    let run = site.app.run(&site.lab)?;
    ensure!(
        problem(&run, CODE).is_err(),
        "what was there before the first run is not told: {run:?}"
    );
    write!(log, "{}{}", dropped(8080), dropped(8081))?;
    let run = site.app.run(&site.lab)?;
    let text = problem(&run, CODE)?;
    let named = "dropped 1 packets that the policy allows: in tcp 10.77.0.11 -> :8080 (rule app-tier/from-web)";
    ensure!(text.contains(named), "{text}");
    let run = site.app.run(&site.lab)?;
    ensure!(problem(&run, CODE).is_err(), "told again: {run:?}");
    Ok(())
}

/// A filter that someone deleted and one that someone changed are repaired, and the run names both.
fn drift(site: &Site) -> Result<()> {
    let key_of = |store: &Store, name: &str| {
        let mut all = store.filters.values();
        let found = all.find(|filter| filter.name.as_deref().is_some_and(|n| n.contains(name)));
        found.map(|filter| filter.key.clone()).with_context(|| format!("no filter {name}"))
    };
    let store = site.app.engine().load()?;
    let deleted = key_of(&store, "app-tier/from-web")?;
    let changed = key_of(&store, "quarantine/known-bad")?;
    site.app.engine().edit(|store| {
        store.filters.remove(&deleted);
        if let Some(filter) = store.filters.get_mut(&changed) {
            filter.action = PERMIT;
        }
    })?;
    ensure!(site.in_force().is_err(), "neither policy is whole now");
    let run = site.app.run(&site.lab)?;
    ensure!(run.exit.code() == Some(0) && run.json["change"] == "repaired", "{run:?}");
    let text = problem(&run, "drift")?;
    for part in ["app-tier/from-web: missing", "quarantine/known-bad: changed by another program"] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    ensure!(site.in_force()? == Policy::Open, "repaired");
    site.is_true(&run)
}

/// A filter that someone put into our sublayer can change decisions, and is not ours to delete: until it is
/// gone, nothing is reported as in force.
fn stray(site: &Site) -> Result<()> {
    let mut stray = another_product().filters.swap_remove(0);
    (stray.key, stray.provider, stray.sublayer) = (Guid(0xdd).into(), None, ours::sublayer().key);
    let state = EngineState { filters: vec![stray], ..EngineState::default() };
    site.app.engine().edit(|store| store.insert(&state))?;
    let run = site.app.run(&site.lab)?;
    ensure!(run.exit.code() == Some(1) && run.revision().is_none(), "{run:?}");
    let text = problem(&run, "read-back-differs")?;
    ensure!(text.contains("\"Its filter\"") && text.contains("not ours"), "{text}");
    let store = site.app.engine().load()?;
    ensure!(store.filters.contains_key(&Guid(0xdd).to_string()), "the stray filter is gone");
    ensure!(site.in_force()? == Policy::Open, "ours are whole");
    site.app.engine().edit(|store| drop(store.filters.remove(&Guid(0xdd).to_string())))?;
    site.settle(Policy::Open).map(drop)
}

fn problem(run: &SparkRun, code: &str) -> Result<String> {
    let problems = run.json["problems"].as_array().context("problems")?;
    let found = problems.iter().find(|problem| problem["code"] == code);
    let text = found.and_then(|problem| problem["text"].as_str());
    text.map(str::to_owned).with_context(|| format!("no problem {code}: {run:?}"))
}

fn shown(site: &Site) -> Result<()> {
    let revision = site.marked_revision()?;
    let (code, status) = site.app.verb(&site.lab, &["status"])?;
    ensure!(code == Some(0), "{status}");
    ensure!(status["kernel"] == format!("revision {revision} is in force"), "{status}");
    ensure!(status["last_known_good"]["revision"] == revision, "{status}");
    ensure!(status["name"] == site.app.name(), "{status}");
    Ok(())
}

/// The program says whether it is signed, by whom, and whether it was changed since. Wine trusts any authority.
fn signature(site: &Site) -> Result<()> {
    let program = site.app.spark();
    let unsigned = fs::read(&program)?;
    let verify = || site.app.verb(&site.lab, &["verify"]);
    let (code, found) = verify()?;
    ensure!(code == Some(1) && found["signature"] == "none", "{found}");

    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (key, certificate, signed) = (at("key"), at("certificate"), at("signed.exe"));
    let usage = "extendedKeyUsage=codeSigning";
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext", usage];
    let named = ["-subj", "/CN=Lab builder", "-keyout", &key, "-out", &certificate];
    done("openssl", &[&request[..], &named].concat())?;
    let unsigned_path = program.to_str().context("the program's path is not UTF-8")?;
    let by = ["sign", "-h", "sha256", "-key", &key, "-certs", &certificate];
    done("osslsigncode", &[&by[..], &["-in", unsigned_path, "-out", &signed]].concat())?;
    fs::copy(&signed, &program)?;
    let (code, found) = verify()?;
    ensure!(code == Some(0) && found["signature"] == "valid", "{found}");
    ensure!(found["signer"] == "Lab builder", "{found}");

    let mut bytes = fs::read(&signed)?;
    // In the text for MS-DOS, which Windows does not read.
    bytes[0x50] ^= 1;
    fs::write(&program, bytes)?;
    let (code, found) = verify()?;
    ensure!(code == Some(1) && found["signature"] == "changed", "{found}");
    Ok(fs::write(&program, unsigned)?)
}

fn done(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("could not start {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The acceptance script finds in Spark's output what it looks for there.
fn found_by_the_acceptance_script(site: &Site) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packages/windows/accept.ps1");
    let script = fs::read_to_string(path).with_context(|| format!("could not read {path}"))?;
    let listed = Regex::new(r"(?m)^    ([a-z]+) += '(.*)'\r?$")?;
    let pattern = |name: &str| -> Result<Regex> {
        let found = listed.captures_iter(&script).find(|found| &found[1] == name);
        Ok(Regex::new(&found.with_context(|| format!("no pattern {name}"))?[2])?)
    };
    for (arguments, name, wanted) in [
        (&["run", "--json"][..], "change", "none"),
        (&["run", "--json"], "inbound", "closed (enforce)"),
        (&["status", "--json"], "name", site.app.name()),
        (&["explain", "in tcp 10.77.0.11:50000 -> :8080", "--json"], "rule", "app-tier/from-web"),
    ] {
        let output = site.app.command(&site.lab, arguments)?.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = pattern(name)?.captures(&text).map(|found| found[1].to_owned());
        ensure!(found.as_deref() == Some(wanted), "{name}: {found:?} in {text}");
    }
    Ok(())
}

fn explained(site: &Site) -> Result<()> {
    for (packet, verdict, rule) in [
        ("in tcp 10.77.0.11:40000 -> :8080", "allow", Some("app-tier/from-web")),
        ("in tcp 10.77.0.66:40000 -> :8080", "deny", Some("quarantine/known-bad")),
        ("out tcp -> 10.77.0.13:5432", "allow", Some("app-tier/to-db")),
        ("out tcp -> 10.77.0.13:5433", "deny", None),
    ] {
        let (code, explained) = site.app.verb(&site.lab, &["explain", packet])?;
        ensure!(code == Some(0), "{packet}: {explained}");
        ensure!(explained["verdict"] == verdict, "{packet}: {explained}");
        if let Some(rule) = rule {
            ensure!(explained["rule"] == rule, "{packet}: {explained}");
        }
    }
    let (code, refused) = site.app.verb(&site.lab, &["explain", "sideways"])?;
    ensure!(code == Some(2), "{refused}");
    Ok(())
}

fn restored(site: &Site) -> Result<()> {
    let revision = site.marked_revision()?;
    let ours =
        |filter: &RawFilter| filter.provider.as_deref() == Some(&ours::provider().key.to_string());
    site.app.engine().edit(|store| store.filters.retain(|_, filter| !ours(filter)))?;
    let (code, restored) = site.app.verb(&site.lab, &["restore"])?;
    ensure!(code == Some(0) && restored["revision"] == revision, "{code:?}: {restored}");
    ensure!(site.in_force()? == Policy::Open, "restored");
    Ok(())
}

fn removed(site: &Site) -> Result<()> {
    let (code, said) = site.app.verb(&site.lab, &["remove"])?;
    ensure!(code == Some(0), "{code:?}: {said}");
    let state = site.app.state()?;
    let ours = state.filters.iter().any(|filter| ours::is_ours(filter.provider.as_ref()));
    ensure!(!ours && state.sublayer(&ours::sublayer().key).is_none(), "something of ours is left");
    let left: Vec<_> = std::fs::read_dir(site.app.state_directory())?.flatten().collect();
    let names: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
    ensure!(names == ["spark.yaml"], "{names:?} is left");
    let (code, said) = site.app.verb(&site.lab, &["restore"])?;
    ensure!(code == Some(1), "nothing can be restored: {code:?}, {said}");
    Ok(())
}
