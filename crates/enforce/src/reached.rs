//! Marks the steps of a run: a line in the detailed log and, in debug builds, what a test requests at that
//! step.

use xshield_wire::telemetry::DebugArea;

use crate::step::Step;
use crate::trace;

/// Marks a step. In debug builds, a run whose environment has `XSHIELD_KILL_AT` set to this step's name
/// kills itself here, and with `XSHIELD_STOP_AT` stops until it is continued (SIGCONT; on Windows it hangs
/// for good), so that tests can change the world at every step. Release builds ignore both.
pub(crate) fn step(step: Step) {
    trace::line(DebugArea::Execution, || step.name().to_owned());
    if !cfg!(debug_assertions) {
        return;
    }
    let is_wanted = |variable: &str| std::env::var_os(variable).is_some_and(|at| at == step.name());
    if is_wanted("XSHIELD_KILL_AT") {
        die();
    }
    if is_wanted("XSHIELD_STOP_AT") {
        stop();
    }
}

/// Kills the program as from outside: no destructors run.
fn die() {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    #[cfg(not(unix))]
    std::process::abort();
}

fn stop() {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    #[cfg(not(unix))]
    loop {
        std::thread::park();
    }
}
