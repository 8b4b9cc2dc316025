//! Reports of what the kernel holds and of the ports on which this host listens.

use xshield_firewall::{Generation, Losses};
use xshield_wire::message::{
    DirectionState, ProgrammedReport, ReportBody, RuleHits, UnenforceableRule,
};

use crate::core::hits;
use crate::core::known_good::LastKnownGood;
use crate::core::policy::PolicyPart;
use crate::reports;
use crate::run::Run;

/// Packets for which the recorder had no room since the last run. The count is read together with the
/// ruleset.
fn count_recorder_losses(run: &mut Run<'_>, losses: Losses) {
    let new = losses.since(&mut run.progress.recorder_lost);
    run.progress.lost += new;
    if new > 0 {
        let text = format!("the flow recorder was full: {new} packets are missing in the events");
        run.note("recorder-full", text);
    }
}

/// Reports what was read back from the kernel if it has changed, and remembers when it was read.
pub(crate) fn report(run: &mut Run<'_>, policy: &PolicyPart) {
    let (Some(programmed), Some(known)) = (policy.programmed(), policy.proven()) else { return };
    count_recorder_losses(run, programmed.losses);
    if let Some(Generation(generation)) = policy.seen_at() {
        run.progress.generation = Some((run.host.boot_id.clone(), generation));
    }
    let progress = &mut run.progress;
    let hits = hits::since(programmed, &mut progress.hits, &mut progress.hits_of);
    let in_force = known.ruleset.in_force();
    let text = programmed.to_string();
    let digest = reports::sha256(format!("{in_force:?}\n{text}").as_bytes());
    let is_new = run.progress.programmed_digest != Some(digest);
    if !is_new && hits.is_empty() {
        return;
    }
    run.progress.programmed_digest = Some(digest);
    run.put(report_body(policy, known, hits, is_new.then_some(text)));
}

/// Reports hits that were counted by other means than counters of rules.
#[cfg(windows)]
pub(crate) fn report_hits(run: &mut Run<'_>, policy: &PolicyPart, hits: Vec<RuleHits>) {
    if let Some(known) = policy.proven().filter(|_| !hits.is_empty()) {
        run.put(report_body(policy, known, hits, None));
    }
}

fn report_body(
    policy: &PolicyPart,
    known: &LastKnownGood,
    hits: Vec<RuleHits>,
    text: Option<String>,
) -> ReportBody {
    let unenforceable = policy.unenforceable().iter().map(|rule| UnenforceableRule {
        rule: rule.rule.clone(),
        direction: rule.direction,
        reason: rule.reason.clone(),
    });
    ReportBody::Programmed(ProgrammedReport {
        in_force: known.ruleset.in_force(),
        inbound: DirectionState::of(&known.ruleset.inbound),
        outbound: DirectionState::of(&known.ruleset.outbound),
        hits,
        text,
        unenforceable: unenforceable.collect(),
    })
}

/// Reports the listening ports when they have changed.
pub(crate) fn tell_ports(run: &mut Run<'_>) {
    let digest = reports::ports_digest(&run.ports);
    if run.progress.ports_digest == Some(digest) {
        return;
    }
    run.progress.ports_digest = Some(digest);
    run.put(ReportBody::ListeningPorts { ports: run.ports.clone() });
}
