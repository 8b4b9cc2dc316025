//! The named steps of a run, where tests kill it.

/// Marks a step. In debug builds, a run whose environment has `XSHIELD_KILL_AT` set to this step's name
/// kills itself here with SIGKILL, so that tests can stop it at every step. Release builds ignore it.
pub(crate) fn step(name: &str) {
    if cfg!(debug_assertions) && std::env::var_os("XSHIELD_KILL_AT").is_some_and(|at| at == name) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
