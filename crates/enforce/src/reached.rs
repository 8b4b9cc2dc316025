//! What happens where a step of a run is done: a line in the detailed log and, in debug builds, what a
//! test wants to happen there.

use rustix::process::{Signal, getpid, kill_process};
use xshield_wire::telemetry::DebugArea;

use crate::step::Step;
use crate::trace;

/// Marks a step. In debug builds, a run whose environment has `XSHIELD_KILL_AT` set to this step's name
/// kills itself here with SIGKILL, and with `XSHIELD_STOP_AT` stops until SIGCONT, so that tests can
/// change the world at every step. Release builds ignore both.
pub(crate) fn step(step: Step) {
    trace::line(DebugArea::Execution, || step.name().to_owned());
    if !cfg!(debug_assertions) {
        return;
    }
    for (variable, signal) in [("XSHIELD_KILL_AT", Signal::KILL), ("XSHIELD_STOP_AT", Signal::STOP)]
    {
        if std::env::var_os(variable).is_some_and(|at| at == step.name()) {
            let _ = kill_process(getpid(), signal);
        }
    }
}
