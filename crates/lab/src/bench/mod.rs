//! Measurements between lab hosts. Each prints its figures as they become available.

mod agent;
mod cost;
mod driver;
mod firewall;
mod hostile;
mod rules;
mod spark;
mod swaps;
mod threat;
mod traffic;
mod windows;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::privilege;
use crate::programs::WindowsPrograms;

pub use agent::{OpenArgs, open};

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The host program: size, duration and memory of a cycle.
    Spark,
    /// Changing rules, and their cost per packet.
    Firewall,
    /// Threat lists: loading, changing, and their cost per packet.
    Threat,
    /// The resident agent: resource usage and reaction times.
    Agent,
    /// The platform under attack: effect on others, and resource usage.
    Hostile,
    /// The Windows part, as far as it runs here: planning, agreement with policy, a cycle under wine.
    Windows,
}

/// The measurement's command line.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    what: What,
    /// What is measured: the static release build of ctspark or ctagent, the platform, or one of the
    /// firewall's examples.
    #[arg(long)]
    program: PathBuf,
    /// Shorter runs; the figures are rough.
    #[arg(long)]
    quick: bool,
    /// Threat lists, agent and attacks: only one measurement.
    #[arg(long)]
    part: Option<String>,
    /// Threat lists: the threat crate's example that measures sizes.
    #[arg(long)]
    measure: Option<PathBuf>,
    /// Threat lists: a directory of real ones, `NAME_DATE.txt.gz`.
    #[arg(long)]
    feeds: Option<PathBuf>,
    /// Windows: the host crate's example that reads logs.
    #[arg(long, requires = "recordings")]
    logs: Option<PathBuf>,
    /// Windows: a directory with ctspark.exe, and the double of the filter engine in examples/fwpuclnt.dll.
    #[arg(long)]
    windows_programs: Option<PathBuf>,
    /// Windows: a directory with a recording of a Security log, `security_events.jsonl.gz`.
    #[arg(long)]
    recordings: Option<PathBuf>,
}

/// How much effort a measurement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Full,
    Quick,
}

/// Measures and prints.
///
/// # Errors
/// When the lab can't be set up or the measured program fails.
pub fn run(args: &BenchArgs) -> Result<()> {
    let effort = if args.quick { Effort::Quick } else { Effort::Full };
    // Attacks and pure code need no network of their own.
    let needs_no_hosts = match args.what {
        What::Hostile => true,
        What::Windows => args.windows_programs.is_none(),
        _ => false,
    };
    if !needs_no_hosts {
        privilege::acquire()?;
    }
    match args.what {
        What::Spark => spark::run(&args.program, effort),
        What::Firewall => firewall::run(&args.program, effort),
        What::Threat => {
            let (measure, feeds) = (args.measure.as_deref(), args.feeds.as_deref());
            let bench = threat::BenchContext { driver: &args.program, measure, feeds, effort };
            threat::run(&bench, part(args)?)
        }
        What::Agent => agent::run(&args.program, effort, part(args)?),
        What::Hostile => hostile::run(&args.program, effort, part(args)?),
        What::Windows => {
            let amount = match effort {
                Effort::Full => windows::Amount { rounds: 20, cases: 4_000 },
                Effort::Quick => windows::Amount { rounds: 4, cases: 400 },
            };
            let logs = args.logs.as_deref().zip(args.recordings.as_deref());
            let programs = args.windows_programs.as_deref().map(WindowsPrograms::of).transpose()?;
            let (planner, programs) = (args.program.as_path(), programs.as_ref());
            windows::run(&windows::BenchContext { planner, logs, programs }, &amount)
        }
    }
}

/// The requested measurement, by name.
fn part<P: ValueEnum>(args: &BenchArgs) -> Result<Option<P>> {
    let Some(name) = &args.part else { return Ok(None) };
    let found = P::from_str(name, false).ok();
    let names = P::value_variants().iter().filter_map(P::to_possible_value);
    let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
    found.map(Some).with_context(|| format!("--part: expected one of {}", names.join(", ")))
}

#[allow(clippy::disallowed_methods, reason = "paces what is measured; nothing is waited for")]
fn pause(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}
