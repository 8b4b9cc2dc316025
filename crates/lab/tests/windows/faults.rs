//! What goes wrong on a Windows host: the policy in force stays whole, and the error says what to do.

use anyhow::{Context as _, Result, ensure};
use xshield_lab::privilege::in_lab;
use xshield_lab::spark::SparkRun;
use xshield_lab::wait;

use crate::site::{LIMIT, Policy, Site};

fn said(run: &SparkRun) -> String {
    format!("{}{}", run.json, run.stderr)
}

#[test]
fn a_filter_engine_that_refuses_keeps_its_policy_and_the_error_says_what_to_do() -> Result<()> {
    in_lab(
        "faults::a_filter_engine_that_refuses_keeps_its_policy_and_the_error_says_what_to_do",
        || {
            let site = Site::start()?;
            refusals(&site)?;
            failing_calls(&site)?;
            full_disk(&site)
        },
    )
}

/// Faults of every call of a function.
fn refusals(site: &Site) -> Result<()> {
    site.commit(Policy::Closed)?;
    for (fault, wanted) in [
        ("FwpmEngineOpen0 1753", "the Base Filtering Engine is not running; start the service BFE"),
        ("FwpmEngineOpen0 5", "run this program as SYSTEM or as an elevated administrator"),
        ("FwpmTransactionBegin0 0x80320012", "another program kept the filter engine locked"),
        ("FwpmFilterAdd0 5", "see which security product protects the filter engine"),
    ] {
        site.app.engine().set_faults(fault)?;
        let run = site.app.run(&site.lab)?;
        ensure!(run.exit.code() == Some(1), "{fault}: {run:?}");
        ensure!(said(&run).contains(wanted), "{fault}: {run:?}");
        site.app.engine().set_faults("")?;
        ensure!(site.in_force()? == Policy::Open, "{fault}");
        let state = site.asset()?["spark"]["status"]["state"].clone();
        ensure!(state == "failed", "{fault}: the platform shows {state}");
    }
    site.settle(Policy::Closed).map(drop)
}

/// The calls of a change that commit something fail, or do what is asked and their answer is lost.
fn failing_calls(site: &Site) -> Result<()> {
    let engine = site.app.engine();
    let mut current = Policy::Closed;
    let next = current.other();
    site.commit(next)?;
    // Of the run that makes the change: those before it came too early.
    let calls = wait::until("a run makes the change", LIMIT, || {
        let before = engine.calls()?.len();
        let run = site.app.run(&site.lab)?;
        let calls = engine.calls()?.split_off(before);
        Ok((run.json["change"] == "applied").then_some(calls))
    })?;
    current = next;
    let commits: Vec<usize> = (1..=calls.len())
        .filter(|at| calls[at - 1].starts_with("FwpmTransactionCommit0"))
        .collect();
    ensure!(commits.len() == 3, "begin, keep and end are committed: {commits:?}");
    for (at, how) in commits.iter().flat_map(|at| ["0x80320035", "after 1726"].map(|how| (at, how)))
    {
        let next = current.other();
        site.commit(next)?;
        engine.set_faults(&format!("at {at} {how}"))?;
        let run = wait::until("a run meets the fault", LIMIT, || {
            let before = engine.calls()?.len();
            let run = site.app.run(&site.lab)?;
            let met = engine.calls()?.len() - before > *at;
            Ok(met.then_some(run))
        })?;
        engine.set_faults("")?;
        let what = || format!("call {at} {how}: {run:?}");
        site.in_force().with_context(what)?;
        site.settle(next).with_context(what)?;
        current = next;
    }
    if current == Policy::Closed {
        site.commit(Policy::Open)?;
    }
    site.settle(Policy::Open).map(drop)
}

fn full_disk(site: &Site) -> Result<()> {
    let state = site.app.state_directory();
    let path = state.display();
    let script = format!(
        "set -e; cp -a {path} /var/tmp/state; mount -t tmpfs -o size=512k,mode=700 tmpfs {path}; \
         cp -a /var/tmp/state/. {path}/; dd if=/dev/zero of={path}/filler bs=1k 2>/dev/null || true"
    );
    let app = site.lab.host(site.app.name())?;
    app.run("sh", ["-c", &script])?;
    site.commit(Policy::Closed)?;
    let run = wait::until("a run hits the full disk", LIMIT, || {
        let run = site.app.run(&site.lab)?;
        Ok((run.exit.code() == Some(1)).then_some(run))
    })?;
    ensure!(run.json["error"].to_string().contains("disk is full"), "{run:?}");
    site.in_force()?;
    app.run("rm", [state.join("filler")])?;
    site.settle(Policy::Closed).map(drop)
}
