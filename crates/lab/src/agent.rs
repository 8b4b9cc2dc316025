//! The agent in a lab: the real binaries, for as long as the test needs.

use std::fs;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::{Host, Running};
use crate::lab::Lab;
use crate::wait;

/// The path of the agent's configuration.
pub const CONFIG: &str = "/etc/xshield/config.yaml";
/// The platform's file, as it is brought to a host.
const ONBOARDING: &str = "/etc/xshield/onboarding.yaml";

/// Registers a host with `ctagent register`. `more`: lines for the configuration.
///
/// # Errors
/// When the agent refuses.
pub fn register(lab: &Lab, host: &Host, configuration: &str, more: &str) -> Result<()> {
    let path = host.file(ONBOARDING);
    fs::create_dir_all(path.parent().context("the configuration has no directory")?)?;
    // Lab hosts share the machine's programs, so nothing is installed.
    let text = format!("{}\nnftables: leave\nboot-unit: leave\n{more}\n", configuration.trim_end());
    fs::write(&path, text).with_context(|| format!("could not configure {}", host.name()))?;
    host.run(lab.programs().agent()?, ["register", "--onboarding", ONBOARDING]).map(drop)
}

/// Registers a host with only `ctagent register --domain --deploymentKey`; `more`: further arguments,
/// `settings`: keys of the configuration and their values.
///
/// # Errors
/// When the agent refuses.
pub fn register_by_key(
    lab: &Lab,
    host: &Host,
    domain: &str,
    key: &str,
    more: &[&str],
    settings: &[(&str, &str)],
) -> Result<()> {
    let mut arguments = vec!["register", "--domain", domain, "--deploymentKey", key];
    arguments.extend(more);
    host.run(lab.programs().agent()?, arguments)?;
    // Lab hosts share the machine's programs, so nothing is installed.
    let settings = [("nftables", "leave"), ("boot-unit", "leave")].iter().chain(settings);
    let (params, values): (Vec<_>, Vec<_>) =
        settings.map(|(key, value)| (format!("configuration.{key}"), *value)).unzip();
    let (params, values) = (params.join(";"), values.join(";"));
    let arguments = ["updateConfig", "--param", &params, "--value", &values, "--skipRestart"];
    host.run(lab.programs().agent_command()?, arguments).map(drop)
}

/// The verbosity of an agent's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// As a service.
    Quiet,
    /// Everything.
    Verbose,
}

/// Starts the agent with a verbose log; it runs until dropped.
///
/// # Errors
/// When it can't be started, or does not answer within a minute.
pub fn start(lab: &Lab, host: &Host) -> Result<Running> {
    start_as(lab, host, Verbosity::Verbose)
}

/// Starts the agent; it runs until dropped.
///
/// # Errors
/// As [`start`].
pub fn start_as(lab: &Lab, host: &Host, verbosity: Verbosity) -> Result<Running> {
    let mut command = host.command(lab.programs().agent()?);
    command.arg("run");
    if verbosity == Verbosity::Verbose {
        command.args(["--log-level", "debug"]);
    }
    let mut agent = host.spawn("ctagent", command)?;
    wait::until("the agent answers", Duration::from_secs(60), || {
        agent.still_runs()?;
        Ok(status(lab, host).ok().map(drop))
    })?;
    Ok(agent)
}

/// The output of `ctagentcmd status`.
///
/// # Errors
/// When the agent does not answer.
pub fn status(lab: &Lab, host: &Host) -> Result<Value> {
    let text = host.run(lab.programs().agent_command()?, ["status", "--json"])?;
    serde_json::from_str(&text).with_context(|| format!("ctagentcmd printed {text:?}"))
}

/// Runs `ctagentcmd ARGUMENTS`. A failure is a result, not an error.
///
/// # Errors
/// When it can't be started.
pub fn command(lab: &Lab, host: &Host, arguments: &[&str]) -> Result<Output> {
    let mut command = host.command(lab.programs().agent_command()?);
    command.args(arguments).output().context("could not start ctagentcmd")
}

/// The revision that the agent's last cycle read back from the kernel.
///
/// # Errors
/// When the agent does not answer.
pub fn revision(lab: &Lab, host: &Host) -> Result<Option<u64>> {
    Ok(status(lab, host)?["last_cycle"]["outcome"]["in_force"]["revision"].as_u64())
}
