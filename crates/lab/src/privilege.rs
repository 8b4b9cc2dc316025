//! Getting the right to make namespaces.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::sys;

/// Makes sure that this process can make hosts: as root it simply goes on; otherwise the program
/// starts again, with the same arguments, as root of a user namespace of its own.
///
/// # Errors
/// When the kernel allows neither; the error says what to do.
pub fn acquire() -> Result<()> {
    if sys::is_root() {
        return check();
    }
    let mut again = in_user_namespace()?;
    again.args(std::env::args_os().skip(1));
    Err(again.exec()).context("could not start again in a user namespace")
}

/// Runs the body of the test of that name with the right to make hosts. Without root, the test's
/// own program is started again inside a user namespace, for this test alone.
///
/// One body runs at a time, however many threads the harness has: labs measure real packets, and
/// side by side they would only slow each other down.
///
/// # Errors
/// When the body fails, or the kernel allows no namespaces.
pub fn in_lab(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if sys::is_root() {
        check()?;
        return body();
    }
    let status = in_user_namespace()?.args([test, "--exact", "--nocapture"]).status()?;
    if !status.success() {
        bail!("{test} failed in a user namespace; its output stands above");
    }
    Ok(())
}

/// Whether root here is root of the machine, not of a user namespace alone: programs that give up
/// root's rights for another user's need one that has other users.
///
/// # Errors
/// When the kernel does not tell.
pub fn is_real_root() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map").context("could not read uid_map")?;
    let users = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Ok(sys::is_root() && users.sum::<u64>() > 1)
}

/// This program, to be started in a new user and mount namespace, as root there.
fn in_user_namespace() -> Result<Command> {
    const ENTER: [&str; 4] = ["--user", "--map-root-user", "--mount", "--"];
    let mut trial = Command::new("unshare");
    trial.args(ENTER).arg("true").stdin(Stdio::null());
    let allowed = trial.output().context("could not start unshare (package util-linux)")?;
    if !allowed.status.success() {
        bail!(
            "not root, and no user namespaces here ({}); {}",
            String::from_utf8_lossy(&allowed.stderr).trim(),
            crate::HELP
        );
    }
    let mut command = Command::new("unshare");
    command.args(ENTER).arg(std::env::current_exe().context("could not tell this program's path")?);
    Ok(command)
}

/// Security modules may let user namespaces be made and then give them no rights.
fn check() -> Result<()> {
    sys::can_make_networks()
        .with_context(|| format!("network namespaces can't be made here; {}", crate::HELP))
}
