//! Obtaining the privilege to create namespaces.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::sys;

/// Ensures that this process can create hosts: as root it continues; otherwise the program is started again,
/// with the same arguments, as root of its own user namespace.
///
/// # Errors
/// When the kernel allows neither; the error says what to do.
pub fn acquire() -> Result<()> {
    if sys::is_root() {
        return check();
    }
    let mut again = in_user_namespace()?;
    again.args(std::env::args_os().skip(1));
    Err(again.exec()).context("could not restart in a user namespace")
}

/// Runs the body of the test of that name with the privilege to create hosts. Without root, the test's own
/// program is started again inside a user namespace, for this test alone.
///
/// One body runs at a time, whatever the number of test threads: labs measure real packets, and concurrent
/// ones would slow each other down.
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
        bail!("{test} failed in a user namespace; its output is printed above");
    }
    Ok(())
}

/// Whether root is root of the machine, not just of a user namespace: programs that switch to another user
/// need a system that has other users.
///
/// # Errors
/// When the kernel does not provide the information.
pub fn is_real_root() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map").context("could not read uid_map")?;
    let users = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Ok(sys::is_root() && users.sum::<u64>() > 1)
}

/// A command that starts this program as root in a new user and mount namespace.
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
    command
        .args(ENTER)
        .arg(std::env::current_exe().context("could not determine this program's path")?);
    Ok(command)
}

/// Security modules may allow user namespaces without any privileges in them.
fn check() -> Result<()> {
    sys::can_make_networks()
        .with_context(|| format!("network namespaces can't be created here; {}", crate::HELP))
}
