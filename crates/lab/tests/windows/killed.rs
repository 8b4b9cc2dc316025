//! Runs that are killed at every step: one of the two policies is in force, whole, and the next run
//! finishes and reports what is true.

use anyhow::{Context as _, Result, ensure};
use xshield_enforce::step::Step;
use xshield_lab::privilege::in_lab;
use xshield_lab::spark::SparkRun;
use xshield_lab::wait;
use xshield_lab::wine::gate::Outage;

use crate::site::{HOST, LIMIT, Policy, Site};

/// What a run is doing when it is killed at a step: none is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    /// Another policy is wanted.
    OnTheWayToAPolicy,
    /// Someone deleted our filters.
    Repairing,
    /// The platform can't be reached in the trial.
    Reverting,
    /// There is something to report.
    Reporting,
    /// The platform wants diagnostics.
    Diagnosing,
    /// Steps of a threat list, see `threat.rs`; none is ordered here, and the run ends by itself.
    NoListOrdered,
}

fn situation(step: Step) -> Situation {
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
        | Step::Spooled => Situation::OnTheWayToAPolicy,
        Step::Introduced | Step::Repaired => Situation::Repairing,
        Step::Reverted => Situation::Reverting,
        Step::Delivered => Situation::Reporting,
        Step::CollectedDiagnostics | Step::UploadedPiece | Step::Diagnosed => Situation::Diagnosing,
        Step::ThreatOrdered
        | Step::ThreatFetched
        | Step::ThreatPrepared
        | Step::ThreatProgrammed
        | Step::ThreatKept
        | Step::ThreatRemoved => Situation::NoListOrdered,
    }
}

fn run_to(site: &Site, step: Step) -> Result<SparkRun> {
    site.app.run_with(&site.lab, &[("XSHIELD_KILL_AT", step.name())])
}

/// Whether a run ended by itself: a killed one has another exit code, and printed nothing.
fn ended_itself(run: &SparkRun) -> bool {
    matches!(run.exit.code(), Some(0..=8)) && !run.json.is_null()
}

/// Runs Spark until it is killed at `step`: the platform may need a moment to have something new for it.
pub(crate) fn kill_at(site: &Site, step: Step) -> Result<()> {
    wait::until(&format!("a run is killed at {step}"), LIMIT, || {
        Ok((!ended_itself(&run_to(site, step)?)).then_some(()))
    })
}

fn case(site: &Site, step: Step, current: Policy) -> Result<Policy> {
    let next = current.other();
    match situation(step) {
        Situation::OnTheWayToAPolicy | Situation::Reporting => {
            site.commit(next)?;
            kill_at(site, step)?;
            site.in_force()?;
            site.settle(next)?;
            Ok(next)
        }
        Situation::Repairing => {
            site.app.engine().edit(|store| store.filters.clear())?;
            kill_at(site, step)?;
            site.settle(current)?;
            Ok(current)
        }
        Situation::Reverting => {
            site.app.gate().set_outage(Outage::InTrials(site.platform.address()));
            site.commit(next)?;
            kill_at(site, step)?;
            ensure!(site.in_force()? == current, "the new policy was reverted");
            site.app.gate().set_outage(Outage::None);
            site.settle(next)?;
            Ok(next)
        }
        Situation::Diagnosing => {
            let command = ["command", "diagnostics", "--asset", HOST];
            let given = site.platform.json(&site.lab, &command)?;
            let id = given["id"].as_str().with_context(|| format!("{given} has no id"))?;
            kill_at(site, step)?;
            ensure!(site.in_force()? == current, "diagnostics change no filter");
            wait::until("the diagnostics are done", LIMIT, || {
                site.settle(current)?;
                let shown = site.platform.json(&site.lab, &["command", "show", id])?;
                Ok((shown["outcomes"][0]["state"] == "done").then_some(()))
            })?;
            Ok(current)
        }
        Situation::NoListOrdered => {
            let run = run_to(site, step)?;
            ensure!(ended_itself(&run) && run.status() == "enforcing", "{run:?}");
            ensure!(site.in_force()? == current, "nothing was changed");
            Ok(current)
        }
    }
}

#[test]
fn a_windows_run_killed_at_any_step_leaves_a_whole_policy_and_the_next_run_finishes() -> Result<()>
{
    in_lab(
        "killed::a_windows_run_killed_at_any_step_leaves_a_whole_policy_and_the_next_run_finishes",
        || {
            let site = Site::start()?;
            let mut current = Policy::Open;
            for step in Step::ALL {
                let done = case(&site, step, current);
                current = done.with_context(|| format!("on {HOST}, killed at {step}"))?;
            }
            // Nothing that was judged meanwhile depended on how the documentation is read.
            site.app.gate().take_judged().map(drop)
        },
    )
}
