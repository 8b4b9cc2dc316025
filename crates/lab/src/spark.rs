//! Spark in a lab: the real binary, once per call, on a host.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::host::Host;
use crate::lab::Lab;
use crate::wait;

/// Where Spark looks for its configuration.
pub const CONFIG: &str = "/etc/xshield/spark.yaml";

/// The result of one run.
#[derive(Debug)]
pub struct SparkRun {
    /// Its exit status.
    pub exit: ExitStatus,
    /// Its output with `--json`; null if there was none.
    pub json: Value,
    /// Its standard error.
    pub stderr: String,
}

impl SparkRun {
    /// What a process came to.
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            exit: output.status,
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `status` of the JSON output.
    #[must_use]
    pub fn status(&self) -> &str {
        self.json["status"].as_str().unwrap_or("(none)")
    }

    /// Whether the platform refused it because of too many requests of the host.
    fn was_put_off(&self) -> bool {
        let problems = self.json["problems"].as_array().into_iter().flatten();
        let texts = problems.filter_map(|problem| problem["text"].as_str());
        texts.into_iter().any(|text| text.contains("too many requests of this asset"))
    }

    /// The revision in force, if any.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.json["in_force"]["revision"].as_u64()
    }
}

/// Writes a host's configuration. Spark must not install anything on lab hosts, since they share the
/// machine's programs.
///
/// # Errors
/// When it can't be written.
pub fn configure(host: &Host, configuration: &str) -> Result<()> {
    let path = host.file(CONFIG);
    let directory = path.parent().context("the configuration has no directory")?;
    fs::create_dir_all(directory)?;
    let text = format!("{}\nnftables: leave\nboot-unit: leave\n", configuration.trim_end());
    write_secret(&path, &text).with_context(|| format!("could not configure {}", host.name()))
}

/// Writes a file that others can't read.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// The command `ctspark ARGUMENTS` on a host, for tests that watch or kill it.
///
/// # Errors
/// When Spark is not built.
pub fn command(lab: &Lab, host: &Host, arguments: &[&str]) -> Result<Command> {
    let mut command = host.command(lab.programs().spark()?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// How long a host with too many requests is delayed at most.
const PUT_OFF: Duration = Duration::from_secs(30);

/// Runs one cycle. A failing cycle is a result, not an error; one that the platform refused because of too
/// many requests is run again: tests run Spark more often than any scheduler.
///
/// # Errors
/// When Spark can't be started, or the platform continues to refuse it.
pub fn run(lab: &Lab, host: &Host) -> Result<SparkRun> {
    unless_put_off(host.name(), || run_once(lab, host))
}

/// Runs again what the platform refused because the host had asked too often.
pub(crate) fn unless_put_off(
    host: &str,
    mut run: impl FnMut() -> Result<SparkRun>,
) -> Result<SparkRun> {
    wait::until(&format!("the platform takes requests of {host}"), PUT_OFF, || {
        let run = run()?;
        Ok((!run.was_put_off()).then_some(run))
    })
}

fn run_once(lab: &Lab, host: &Host) -> Result<SparkRun> {
    let output = command(lab, host, &["run", "--config", CONFIG, "--json"])?
        .output()
        .with_context(|| format!("could not start Spark on {}", host.name()))?;
    Ok(SparkRun::of(&output))
}

/// Runs one cycle on each host at the same time.
///
/// # Errors
/// When a host is missing or Spark can't be started.
pub fn run_everywhere<'a>(lab: &Lab, hosts: &[&'a str]) -> Result<Vec<(&'a str, SparkRun)>> {
    std::thread::scope(|scope| {
        let start = |&name| (name, scope.spawn(move || run(lab, lab.host(name)?)));
        let running: Vec<_> = hosts.iter().map(start).collect();
        let finish = |(name, thread): (_, std::thread::ScopedJoinHandle<'_, Result<SparkRun>>)| {
            Ok((name, thread.join().map_err(|_| anyhow::anyhow!("a Spark run panicked"))??))
        };
        running.into_iter().map(finish).collect()
    })
}

/// Fails with Spark's error output unless every run succeeded.
///
/// # Errors
/// The first run that failed.
pub fn all_succeeded(runs: &[(&str, SparkRun)]) -> Result<()> {
    for (host, run) in runs {
        if !run.exit.success() {
            bail!("Spark on {host} ended with {}: {}\n{}", run.exit, run.json, run.stderr);
        }
    }
    Ok(())
}
