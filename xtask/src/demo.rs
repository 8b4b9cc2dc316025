//! Demo, soak test and benchmarks: builds, then runs the lab.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{dist, kernels, metadata, packages, run, tools, windows};

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Run one round, and fail if any cell of the matrix is wrong.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// Determines all random choices; random and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The minimum number of flows.
    #[arg(long, default_value_t = 100_000)]
    flows: u32,
    /// Run only the prober, without the other kernels.
    #[arg(long)]
    no_kernels: bool,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
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
    /// The Windows part, as far as it runs on Linux: planning, and agreement with policy.
    Windows,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    what: Bench,
    /// One JSON object per line (the only format; named so that scripts keep working).
    #[arg(long)]
    json: bool,
    /// Shorter runs with rough figures, for trying out.
    #[arg(long)]
    quick: bool,
    /// Run one measurement only. Threat lists: load, memory, delta, packets, hitless, wire, bouncer. Agent:
    /// idle, busy, push, heartbeat, failover, flood. Hostile: enrol, validate, flapping, bodies,
    /// silent-readers, burst, identities, passwords.
    #[arg(long)]
    part: Option<String>,
    /// Threat lists: a directory of real ones, each day as NAME_DATE.txt.gz. Without it, a day's change is
    /// generated and sizes are not measured.
    #[arg(long)]
    feeds: Option<PathBuf>,
    /// Windows: a directory with a recording of a Security log as JSON, security_events.jsonl.gz, with the
    /// host's name in each event. Without it, reading logs is not measured.
    #[arg(long)]
    recordings: Option<PathBuf>,
}

/// Builds platform, Spark and lab, then runs the lab's demo in place of this process.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    packages::ensure(tools::LAB)?;
    build_debug()?;
    let mut demo = lab("debug")?;
    demo.arg("demo");
    if args.check {
        demo.arg("--check");
    }
    become_it(demo)
}

/// Builds platform, Spark and lab, runs the lab's prober, then the firewall's tests in other kernels.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    packages::ensure(&[tools::LAB, tools::PROBER].concat())?;
    build_debug()?;
    let mut soak = lab("debug")?;
    soak.args(["soak", "--flows", &args.flows.to_string()]);
    soak.args(args.seed.map(|seed| format!("--seed={seed}")));
    if args.no_kernels {
        return become_it(soak);
    }
    run::succeed(&mut soak)?;
    kernels::run(&kernels::KernelsArgs::default())
}

fn build_debug() -> Result<()> {
    let programs = ["-p", "xshield", "-p", "ctspark", "-p", "xshield-lab"];
    run::succeed(run::cargo(&["build", "--bins", "--locked"]).args(programs))
}

/// Builds what is measured as it is released, then runs the lab's measurement in place of this process.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let target = metadata::read()?.target_directory;
    let mut bench = lab("release")?;
    match args.what {
        Bench::Spark => {
            packages::ensure(tools::LAB)?;
            build("release", &["--bins", "-p", "xshield", "-p", "xshield-lab"])?;
            let spark = dist::build_spark()?;
            let built = |name: &str| target.join("release").join(name);
            let together = together(&target, &[&built("xshield"), &built("xshield-lab"), &spark])?;
            bench.env("XSHIELD_BIN_DIR", together).args(["bench", "spark", "--program"]).arg(spark);
        }
        Bench::Agent => {
            packages::ensure(tools::LAB)?;
            build("release", &["--bins", "-p", "xshield", "-p", "xshield-lab"])?;
            let agent = dist::build_agent()?;
            let command = agent.with_file_name("ctagentcmd");
            let built = |name: &str| target.join("release").join(name);
            let (platform, lab) = (built("xshield"), built("xshield-lab"));
            let together = together(&target, &[&platform, &lab, &agent, &command])?;
            bench.env("XSHIELD_BIN_DIR", together).args(["bench", "agent", "--program"]).arg(agent);
        }
        Bench::Hostile => {
            packages::ensure(tools::HOSTILE)?;
            build("release", &["--bins", "-p", "xshield", "-p", "xshield-lab"])?;
            bench.args(["bench", "hostile", "--program"]).arg(target.join("release/xshield"));
        }
        Bench::Windows => {
            build("release", &["--bins", "-p", "xshield-lab"])?;
            build("release", &["--example", "windows", "-p", "xshield-firewall"])?;
            let program = target.join("release/examples/windows");
            bench.args(["bench", "windows", "--program"]).arg(program);
            if let Some(programs) = windows::build_measured()? {
                packages::ensure(tools::LAB)?;
                build("release", &["--bins", "-p", "xshield", "-p", "ctspark"])?;
                bench.arg("--windows-programs").arg(programs);
            }
            if let Some(recordings) = &args.recordings {
                build("release", &["--example", "windows_logs", "-p", "xshield-host"])?;
                bench.arg("--logs").arg(target.join("release/examples/windows_logs"));
                bench.arg("--recordings").arg(std::path::absolute(recordings)?);
            }
        }
        Bench::Firewall => {
            packages::ensure(&[tools::LAB, tools::PEERS].concat())?;
            build("release", &["--bins", "-p", "xshield-lab"])?;
            build("dist", &["--example", "driver", "-p", "xshield-firewall"])?;
            let driver = target.join("dist/examples/driver");
            bench.args(["bench", "firewall", "--program"]).arg(driver);
        }
        Bench::Threat => {
            packages::ensure(&[tools::LAB, tools::PEERS, tools::THREAT_PEERS].concat())?;
            build("release", &["--bins", "-p", "xshield-lab"])?;
            build("release", &["--example", "measure", "-p", "xshield-threat"])?;
            build("dist", &["--example", "threat", "-p", "xshield-firewall"])?;
            bench.args(["bench", "threat", "--program"]).arg(target.join("dist/examples/threat"));
            bench.arg("--measure").arg(target.join("release/examples/measure"));
            if let Some(feeds) = &args.feeds {
                bench.arg("--feeds").arg(std::path::absolute(feeds)?);
            }
        }
    }
    bench.args(args.part.iter().flat_map(|part| ["--part", part]));
    if args.quick {
        bench.arg("--quick");
    }
    become_it(bench)
}

/// A directory with these programs: the lab looks for all of them in one place, but released host programs
/// are built elsewhere than the rest.
fn together(target: &Path, programs: &[&Path]) -> Result<PathBuf> {
    let directory = target.join("measured");
    std::fs::create_dir_all(&directory)?;
    for program in programs {
        let link = directory.join(program.file_name().context("a program has no name")?);
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(program, &link)
            .with_context(|| format!("could not make {}", link.display()))?;
    }
    Ok(directory)
}

fn build(profile: &str, what: &[&str]) -> Result<()> {
    run::succeed(run::cargo(&["build", "--profile", profile, "--locked"]).args(what))
}

fn lab(profile: &str) -> Result<Command> {
    let target: PathBuf = metadata::read()?.target_directory;
    let mut command = Command::new(target.join(profile).join("xshield-lab"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).current_dir(run::root());
    Ok(command)
}

/// Ctrl-C must only reach the lab, so the lab replaces this process.
fn become_it(mut command: Command) -> Result<()> {
    Err(command.exec()).context("could not start the lab")
}
