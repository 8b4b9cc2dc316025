//! What ends a trial on Windows: an answer that does not come, a program that hangs, Ctrl-C.

use std::process::Stdio;

use anyhow::{Result, ensure};
use xshield_lab::privilege::in_lab;
use xshield_lab::wait;
use xshield_lab::wine::gate::Outage;

use crate::site::{LIMIT, Policy, Site};

#[test]
fn a_windows_trial_that_fails_or_hangs_is_reverted() -> Result<()> {
    in_lab("trials::a_windows_trial_that_fails_or_hangs_is_reverted", || {
        let site = Site::start()?;
        taken_back(&site)?;
        interrupted(&site)?;
        hung(&site)
    })
}

fn taken_back(site: &Site) -> Result<()> {
    site.app.gate().set_outage(Outage::InTrials(site.platform.address()));
    site.commit(Policy::Closed)?;
    let run = wait::until("the new policy is taken back", LIMIT, || {
        let run = site.app.run(&site.lab)?;
        Ok((run.exit.code() == Some(8)).then_some(run))
    })?;
    ensure!(run.json["problems"].to_string().contains("ruleset-reverted"), "{run:?}");
    ensure!(site.in_force()? == Policy::Open, "the old policy is back");
    site.is_true(&run)?;
    site.app.gate().set_outage(Outage::None);
    site.settle(Policy::Closed).map(drop)
}

/// Ctrl-C ends a run in a trial: the previous policy is back at once, and the program says so.
fn interrupted(site: &Site) -> Result<()> {
    site.commit(Policy::Open)?;
    wait::until("the platform wants it", LIMIT, || {
        let run = site.app.run_with(&site.lab, &[("XSHIELD_KILL_AT", "tried")])?;
        Ok(run.json.is_null().then_some(()))
    })?;
    let stop = [("XSHIELD_STOP_AT", "tried")];
    let mut terminal = site.app.at_terminal(&site.lab, &["run"], &stop)?;
    wait::until("the run is in a trial", LIMIT, || {
        Ok((!site.app.state()?.dynamic.is_empty()).then_some(()))
    })?;
    terminal.type_in("\u{3}")?;
    let (code, shown) = terminal.end()?;
    ensure!(code == 130, "{code}: {shown}");
    ensure!(shown.contains("interrupted; the ruleset in force stays"), "{shown}");
    ensure!(site.in_force()? == Policy::Closed, "the old policy is in force again");
    site.settle(Policy::Open)?;
    site.commit(Policy::Closed)?;
    site.settle(Policy::Closed).map(drop)
}

/// A run that hangs in a trial is ended when the probation is over, by itself: nobody kills it.
fn hung(site: &Site) -> Result<()> {
    let configuration = site.platform.host_configuration(&site.lab)?;
    site.app.configure(&configuration, "probation-seconds: 5\n")?;
    site.settle(Policy::Closed)?;
    site.commit(Policy::Open)?;
    let old = site.marked_revision()?;
    let child = wait::until("a run hangs in a trial", LIMIT, || {
        let mut command = site.app.command(&site.lab, &["run", "--json"])?;
        command.env("XSHIELD_STOP_AT", "tried").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let on_trial = wait::until("the run ends or hangs", LIMIT, || {
            let on_trial = !site.app.state()?.dynamic.is_empty();
            Ok((on_trial || child.try_wait()?.is_some()).then_some(on_trial))
        })?;
        Ok(on_trial.then_some(child))
    })?;
    // Its end is waited for; only the probation ends it.
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(8), "{:?}: {text}", output.status);
    ensure!(text.contains("not confirmed within probation-seconds"), "{text}");
    ensure!(site.in_force()? == Policy::Closed, "the old policy is in force again");
    ensure!(site.marked_revision()? == old, "and nothing of the new one");
    // The next run reports the old one, then tries again.
    let run = site.app.run_with(&site.lab, &[("XSHIELD_KILL_AT", "fetched")])?;
    ensure!(run.json.is_null(), "{run:?}");
    let told = site.asset()?["spark"]["in_force"]["revision"].clone();
    ensure!(told == old, "the platform shows {told} instead of {old}");
    site.settle(Policy::Open).map(drop)
}
