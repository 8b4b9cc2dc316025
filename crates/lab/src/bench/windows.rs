//! The portable part of the Windows support: planning, agreement of plans with policy, reading of logs; and
//! an unchanged cycle under wine. It says nothing about the speed of Windows.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::rules;
use crate::figure::Figure;
use crate::programs::WindowsPrograms;
use crate::shop::Shop;

/// The number of rules per ruleset.
const RULES: usize = 10_000;
/// The host of the shop that runs Windows.
const HOST: &str = "app";
/// The address that the rules allow; no packets are sent.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

/// What is measured.
pub(super) struct BenchContext<'a> {
    /// The firewall crate's example for planning.
    pub(super) planner: &'a Path,
    /// The host crate's example for reading logs, and the directory of recordings.
    pub(super) logs: Option<(&'a Path, &'a Path)>,
    /// What Windows hosts run.
    pub(super) programs: Option<&'a WindowsPrograms>,
}

/// How much is measured.
pub(super) struct Amount {
    /// The number of times that rulesets are planned.
    pub(super) rounds: usize,
    /// Random rulesets, each with thirty packets.
    pub(super) cases: usize,
}

pub(super) fn run(bench: &BenchContext<'_>, amount: &Amount) -> Result<()> {
    plans(bench.planner, amount)?;
    match bench.programs {
        Some(programs) => cycles(programs, amount.rounds)?,
        None => eprintln!(
            "windows.spark_binary_bytes, windows.unchanged_calls, windows.cycle_rss_kib: skipped, the \
             programs for Windows were not named (--windows-programs DIRECTORY)"
        ),
    }
    match bench.logs {
        Some((reader, recordings)) => logs(reader, recordings),
        None => {
            eprintln!(
                "windows.events_*: skipped, no recordings were named (--recordings DIRECTORY)"
            );
            Ok(())
        }
    }
}

/// Unchanged cycles of the program that is shipped, on the double of the filter engine.
#[allow(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^52")]
fn cycles(programs: &WindowsPrograms, rounds: usize) -> Result<()> {
    let bytes = std::fs::metadata(&programs.spark)
        .with_context(|| format!("could not find {}", programs.spark.display()))?
        .len();
    Figure::new("windows.spark_binary_bytes", bytes as f64, "bytes").print();
    let shop = Shop::start_with(programs, &[HOST])?;
    shop.register()?;
    shop.commit()?;
    shop.enforce()?;
    let host = &shop.windows[0];
    let before = host.engine().calls()?.len();
    let run = host.run(&shop.lab)?;
    ensure!(run.json["change"] == "none", "a cycle without news changed something: {run:?}");
    let calls = host.engine().calls()?.len() - before;
    Figure::new("windows.unchanged_calls", calls as f64, "calls").print();
    let mut most = 0.0_f64;
    for _ in 0..rounds {
        most = most.max(host.peak_kib(&shop.lab)?);
    }
    Figure::new("windows.cycle_rss_kib", most, "KiB").print();
    Ok(())
}

/// Events of the Security log, as recorded on real hosts.
fn logs(reader: &Path, recordings: &Path) -> Result<()> {
    let file = recordings.join("security_events.jsonl.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output();
    let unpacked = unpacked.context("could not start gzip, which unpacks recordings")?;
    let said = String::from_utf8_lossy(&unpacked.stderr);
    ensure!(unpacked.status.success(), "could not unpack {}: {said}", file.display());
    let events = String::from_utf8(unpacked.stdout).context("the recording is not UTF-8")?;
    let answer = ask(reader, &[], &events)?;
    let numbers: Vec<f64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [per_second, inverted, unplaced, refused] = numbers[..] else {
        anyhow::bail!("expected four numbers of {}, got {answer:?}", reader.display());
    };
    Figure::new("windows.events_per_s", per_second, "events/s").print();
    Figure::new("windows.events_inverted", inverted, "events").print();
    Figure::new("windows.events_unplaced", unplaced, "events").print();
    Figure::new("windows.events_refused", refused, "events").print();
    Ok(())
}

fn plans(program: &Path, Amount { rounds, cases }: &Amount) -> Result<()> {
    let ruleset = |seed: u32| rules::bound(&rules::rules(RULES, seed, CLIENT), u64::from(seed) + 1);
    let both = format!("{}\n{}\n", ruleset(0)?, ruleset(1)?);
    let milliseconds = ask(program, &["plan", &rounds.to_string()], &both)?;
    let milliseconds = milliseconds.parse().context("the program printed no milliseconds")?;
    Figure::new("windows.plan_10k_ms", milliseconds, "ms").print();

    let answer = ask(program, &["agree", &cases.to_string()], "")?;
    let (packets, wrong) =
        answer.split_once(' ').context("the program did not print two numbers")?;
    let figure = |name, number: &str| -> Result<()> {
        let number = number.parse().context("the program printed no number of packets")?;
        Figure::new(name, number, "packets").print();
        Ok(())
    };
    figure("windows.agreement_packets", packets)?;
    figure("windows.agreement_wrong", wrong)
}

fn ask(program: &Path, words: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))?;
    // It is dropped, and so closed, before the answer is awaited.
    let mut questions = child.stdin.take().context("the program has no standard input")?;
    questions.write_all(input.as_bytes()).context("the program did not read its rulesets")?;
    drop(questions);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed; the reason is printed above", program.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
