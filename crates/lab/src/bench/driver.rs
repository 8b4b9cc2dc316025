//! Xshield's firewall on a host, controlled by commands. A separate process: the lab must not contain what it
//! measures.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result};

use crate::host::Host;

pub(super) struct Driver {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    pub(super) fn start(program: &Path, host: &Host) -> Result<Self> {
        let mut command = host.command(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        let questions = child.stdin.take().context("the driver has no standard input")?;
        let answers = child.stdout.take().context("the driver has no standard output")?;
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    /// Applies a ruleset.
    pub(super) fn apply(&mut self, ruleset: &Path) -> Result<()> {
        self.ask(&format!("apply {}", ruleset.display())).map(drop)
    }

    /// Changes to a ruleset; returns the duration in milliseconds, from planning to comparing.
    pub(super) fn change(&mut self, ruleset: &Path) -> Result<f64> {
        self.ask(&format!("change {}", ruleset.display()))?.parse().context("no number of ms")
    }

    /// A number of consecutive changes between two rulesets; returns their durations in milliseconds.
    pub(super) fn swap(&mut self, turns: [&Path; 2], count: usize) -> Result<f64> {
        let [first, second] = turns.map(Path::display);
        self.ask(&format!("swap {first} {second} {count}"))?.parse().context("no number of ms")
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.questions, "{line}").context("the driver has ended")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        anyhow::ensure!(
            !answer.is_empty(),
            "the driver failed at {line:?}; the reason is printed above"
        );
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ended_already = crate::sys::kill_and_wait(&mut self.child);
    }
}
