//! The audit policy, as far as Windows must write events of flows.

use xshield_host::windows::audit::{self, AuditError};

use crate::audit_decision::decide;
use crate::auditing::Auditing;
use crate::problems::problem;
use crate::run::Run;

/// Switches on what the configuration asks for, and reports what is missing.
pub(crate) fn bring(run: &mut Run<'_>) {
    let wanted = run.config.auditing;
    if let Err(error) = compare(run, wanted)
        && wanted != Auditing::Leave
    {
        run.problems.push(problem("auditing-failed", &error));
    }
}

fn compare(run: &mut Run<'_>, wanted: Auditing) -> Result<(), AuditError> {
    let present = audit::audited()?;
    let decision = decide(wanted, run.progress.auditing, &present);
    run.problems.extend(decision.problem);
    audit::set_audited(&decision.changes)?;
    run.progress.auditing = wanted;
    Ok(())
}
