//! What ends a run before its end: Ctrl-C and, on Windows, the time of a trial. Both are like a kill, which
//! leaves nothing incomplete; printed is what stays in force.

use crate::show;

/// The exit code of a program that was interrupted: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// If it can't be set up, the signal ends the process without a message, as by default.
#[cfg(unix)]
pub(crate) fn say_what_it_leaves() {
    use signal_hook::consts::SIGINT;
    use signal_hook::iterator::Signals;

    let Ok(mut signals) = Signals::new([SIGINT]) else { return };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            end();
        }
    });
}

/// The same on Windows, which calls in a thread of its own.
#[cfg(windows)]
pub(crate) fn say_what_it_leaves() {
    let _ = xshield_enforce::windows::on_interruption(end);
}

/// Where only the end of the program ends a trial, a run that hangs in one is ended.
#[cfg(windows)]
pub(crate) fn say_what_expires(json: bool) {
    let say = if json { show::expired_json } else { show::expired };
    let code = xshield_enforce::RunStatus::Reverted.exit_code();
    xshield_enforce::windows::on_expired_trial(say, code.into());
}

fn end() {
    show::interrupted();
    std::process::exit(INTERRUPTED);
}
