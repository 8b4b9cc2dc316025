//! The pure half of the Windows edge: planning, and whether plans say what policy says. It runs on Linux;
//! nothing about the speed of Windows is learned here.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::rules;
use crate::figure::Figure;

/// Rules of each ruleset that is planned.
const RULES: usize = 10_000;
/// Whom the rules let through; nobody sends anything.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// How much is measured.
pub(super) struct Amount {
    /// Times that rulesets are planned.
    pub(super) rounds: usize,
    /// Random rulesets, each with thirty packets.
    pub(super) cases: usize,
}

pub(super) fn run(program: &Path, Amount { rounds, cases }: &Amount) -> Result<()> {
    let ruleset = |seed: u32| rules::bound(&rules::rules(RULES, seed, CLIENT), u64::from(seed) + 1);
    let both = format!("{}\n{}\n", ruleset(0)?, ruleset(1)?);
    let milliseconds = ask(program, ["plan", &rounds.to_string()], &both)?;
    let milliseconds = milliseconds.parse().context("the program answered no milliseconds")?;
    Figure::new("windows.plan_10k_ms", milliseconds, "ms").print();

    let answer = ask(program, ["agree", &cases.to_string()], "")?;
    let (packets, wrong) = answer.split_once(' ').context("the program answered no two numbers")?;
    let figure = |name, number: &str| -> Result<()> {
        let number = number.parse().context("the program answered no number of packets")?;
        Figure::new(name, number, "packets").print();
        Ok(())
    };
    figure("windows.agreement_packets", packets)?;
    figure("windows.agreement_wrong", wrong)
}

fn ask(program: &Path, words: [&str; 2], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))?;
    // It is dropped, and so closed, before the answer is waited for.
    let mut questions = child.stdin.take().context("the program has no standard input")?;
    questions.write_all(input.as_bytes()).context("the program did not read its rulesets")?;
    drop(questions);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed; its reason stands above", program.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
