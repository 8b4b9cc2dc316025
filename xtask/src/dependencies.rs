//! Checks of dependencies: licences, bans, sources and advisories of `deny.toml`, by cargo-deny; and the
//! licences of copied scripts.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{run, scripts};

/// The version that is installed if there is none.
const VERSION: &str = "0.20.2";

/// Fails with everything that `deny.toml` refuses. Advisories are checked if their database is available;
/// otherwise, a message says so.
pub(crate) fn check() -> Result<()> {
    let copied = scripts::check()?;
    ensure_installed()?;
    run::succeed(&mut deny(&["check", "licenses", "bans", "sources"]))?;
    if has_advisories() {
        run::succeed(&mut deny(&["check", "--disable-fetch", "advisories"]))?;
    } else {
        println!("advisories: not checked, their database could not be fetched");
    }
    println!("dependencies: as deny.toml wants them; {copied} copied scripts");
    Ok(())
}

fn deny(arguments: &[&str]) -> Command {
    let mut command = run::cargo(&["deny", "--locked", "--log-level", "error"]);
    command.args(arguments);
    command
}

/// Fetches the database of advisories, or uses the one fetched before.
fn has_advisories() -> bool {
    let mut fetch = run::cargo(&["deny", "--locked", "--log-level", "off", "fetch", "db"]);
    // A server that asks for a password is not the database; nobody is there to type one.
    fetch.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    fetch.stdout(Stdio::null()).stderr(Stdio::null());
    fetch.status().is_ok_and(|status| status.success())
}

fn ensure_installed() -> Result<()> {
    let mut version = run::cargo(&["deny", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("installing cargo-deny {VERSION}: once, about a minute");
    let wanted = format!("cargo-deny@{VERSION}");
    let mut install = run::cargo(&["install", "--locked", "--debug", "--quiet", &wanted]);
    // It only runs for a second, so a fast build matters more than fast code.
    run::succeed(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))
}
