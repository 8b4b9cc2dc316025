//! A process in a host's network that sends and receives probes: `crates/lab/prober/station.py`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::host::Host;

/// The host with all addresses that are no asset's.
pub(super) const WORLD: &str = "world";

/// A running station.
#[derive(Debug)]
pub(super) struct Station {
    name: String,
    child: Child,
    talk: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Station {
    /// Starts a station and waits until it receives.
    pub(super) fn start<S: AsRef<OsStr>>(host: &Host, arguments: &[S]) -> Result<Self> {
        let mut command = host.network_command("python3");
        command.arg("-B").arg(super::scripts().join("station.py")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("could not start python3 (package python3)")?;
        let input = child.stdin.take().context("the station has no standard input")?;
        let output = child.stdout.take().context("the station has no standard output")?;
        let talk = Mutex::new((input, BufReader::new(output)));
        let station = Self { name: host.name().to_owned(), child, talk };
        station.answer("ready")?;
        Ok(station)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As [`Station::ask`], with a file after the command.
    pub(super) fn ask_about(&self, command: &str, file: &Path, expected: &str) -> Result<()> {
        self.ask(&format!("{command} {}", file.display()), expected)
    }

    /// Sends a command to `station.py` and waits for the expected answer.
    pub(super) fn ask(&self, command: &str, expected: &str) -> Result<()> {
        {
            let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(talk.0, "{command}")
                .with_context(|| format!("the station on {} has ended", self.name))?;
        }
        self.answer(expected)
    }

    fn answer(&self, expected: &str) -> Result<()> {
        let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = String::new();
        talk.1.read_line(&mut line)?;
        if line.split_whitespace().next() != Some(expected) {
            bail!("the station on {} answered {line:?}; the reason is printed above", self.name);
        }
        Ok(())
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let _ended_already = crate::sys::kill_and_wait(&mut self.child);
    }
}
