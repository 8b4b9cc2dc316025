//! The demo: the shop from the first open port to the last dropped packet, on this machine.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::example::Example;
use crate::kernel::Kernel;
use crate::lab::Lab;
use crate::matrix::Matrix;
use crate::oracle::Oracle;
use crate::platform::{self, Platform};
use crate::{forward, privilege, shop, spark, sys, wait};

/// The demo's command line.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// One round; fails when any cell of the matrix is wrong.
    #[arg(long)]
    check: bool,
    /// The port on 127.0.0.1 that leads to the platform; another free one when it is taken.
    #[arg(long, default_value_t = platform::PORT)]
    port: u16,
}

const PAUSE: Duration = Duration::from_secs(5);
const TABLES: [&str; 1] = ["inet xshield"];

/// Runs the demo until Ctrl-C, or for one round with `--check`.
///
/// # Errors
/// When anything does not come out as the example says.
pub fn run(args: &DemoArgs) -> Result<()> {
    privilege::acquire()?;
    sys::hold_ending_signals();
    let example = Example::shop()?;
    let show = Show::begin();

    let hosts = example.host_names().join(", ");
    show.step(&format!("starting the hosts {hosts} and the switch between them"))?;
    let mut lab = shop::lab(&example)?;
    show.step("probing every pair × port × family without any policy")?;
    let mut before = shop::before(&example);
    before.probe(&lab)?;
    println!("\n{before}");
    before.verify().context("a closed port proves nothing unless it was open before")?;

    show.step("starting the platform on its embedded SQLite")?;
    let password = password()?;
    let local = format!("https://127.0.0.1:{}", args.port);
    let platform = Platform::start(&mut lab, &password, &[local])?;
    show.step("making an enforcement key and registering the hosts by a first run of ctspark")?;
    register(&lab, &platform, &example)?;
    show.step(&format!("tagging the assets and applying {}", example.directory.display()))?;
    commit(&lab, &platform, &example)?;
    show.step("running ctspark on every host")?;
    let revision = enforce(&lab, &example)?;
    println!("   revision {revision} is in force on {hosts}");
    check_kernels(&lab, &example)?;

    show.step("probing again")?;
    let oracle = Oracle::new(
        &lab,
        &example.policy,
        &example.described(),
        shop::SERVICES,
        &[platform.address()],
    )?;
    let mut after = shop::after(&example, &oracle);
    after.probe(&lab)?;
    println!("\n{after}");
    println!("{}", summary(&after));
    if args.check {
        return after.verify();
    }

    let host = lab.host(platform::HOST)?;
    let address = forward::open(args.port, host, platform.address())?;
    println!("\nThe platform:  https://{address}");
    println!("Sign in as:    admin / {password}");
    println!("A host:        nsenter --all --target {} bash", lab.host("web")?.pid()?);
    println!("Ctrl-C ends everything and leaves nothing behind.\n");
    keep_running(&lab, &example, &mut after)
}

/// First run on every host: it makes its identity, registers, and hears that there is no policy yet.
fn register(lab: &Lab, platform: &Platform, example: &Example) -> Result<()> {
    let configuration = platform.host_configuration(lab)?;
    for name in example.host_names() {
        spark::configure(lab.host(name)?, &configuration)?;
    }
    spark::all_succeeded(&spark::run_everywhere(lab, &example.host_names())?)
}

fn commit(lab: &Lab, platform: &Platform, example: &Example) -> Result<()> {
    for host in &example.hosts {
        platform.tag(lab, &host.name, &host.tags)?;
    }
    platform.apply(lab, &example.directory)
}

/// Runs Spark until every host enforces the same revision. The platform compiles after it has
/// answered, so that a run right behind a change can be too early.
fn enforce(lab: &Lab, example: &Example) -> Result<u64> {
    wait::until("every host enforces the committed policy", Duration::from_secs(60), || {
        let runs = spark::run_everywhere(lab, &example.host_names())?;
        spark::all_succeeded(&runs)?;
        let enforcing = runs.iter().all(|(_, run)| run.status() == "enforcing");
        let revisions: Vec<Option<u64>> = runs.iter().map(|(_, run)| run.revision()).collect();
        let same = revisions.windows(2).all(|pair| pair[0] == pair[1]);
        Ok(if enforcing && same { revisions.first().copied().flatten() } else { None })
    })
}

/// Asks the kernels, through nft, whether there is what Spark says there is, and nothing else.
fn check_kernels(lab: &Lab, example: &Example) -> Result<()> {
    for name in example.host_names() {
        let tables = Kernel::read(lab.host(name)?)?.tables();
        if tables != TABLES {
            bail!("nft lists the tables {tables:?} on {name}, expected {TABLES:?}");
        }
    }
    println!("   nft lists the table {} on each of them", TABLES[0]);
    Ok(())
}

/// Traffic and a Spark run on every host, again and again.
fn keep_running(lab: &Lab, example: &Example, matrix: &mut Matrix) -> Result<()> {
    let mut round = 1;
    while !sys::ended_within(PAUSE) {
        round += 1;
        let runs = spark::run_everywhere(lab, &example.host_names())?;
        matrix.probe(lab)?;
        if !matrix.wrong().is_empty() {
            println!("{matrix}");
        }
        let enforcing = runs.iter().filter(|(_, run)| run.status() == "enforcing").count();
        let hosts = runs.len();
        println!("round {round}: {}; {enforcing} of {hosts} hosts enforcing", summary(matrix));
        for (host, run) in runs.iter().filter(|(_, run)| run.status() != "enforcing") {
            println!("   {host}: {} {}", run.status(), run.stderr.trim());
        }
    }
    println!("\nremoving everything");
    Ok(())
}

fn summary(matrix: &Matrix) -> String {
    let (all, wrong) = (matrix.len(), matrix.wrong().len());
    format!("{} of {all} cells as expected, {wrong} wrong", all - wrong)
}

/// A password for this demo alone.
fn password() -> Result<String> {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(random.trim().to_owned())
}

/// Says what is going on and how long it took since the beginning.
struct Show {
    begin: Instant,
}

impl Show {
    fn begin() -> Self {
        Self { begin: Instant::now() }
    }

    fn step(&self, what: &str) -> Result<()> {
        println!("[{:5.1} s] {what}", self.begin.elapsed().as_secs_f64());
        Ok(std::io::stdout().flush()?)
    }
}
