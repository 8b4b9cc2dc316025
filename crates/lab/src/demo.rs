//! The demo: the shop example on this machine, from open ports to dropped packets.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::example::Example;
use crate::matrix::Matrix;
use crate::platform::{self, Platform};
use crate::shop::Shop;
use crate::{forward, privilege, shop, spark, sys};

/// The demo's command line.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Run one round, and fail if any cell of the matrix is wrong.
    #[arg(long)]
    check: bool,
    /// The port on 127.0.0.1 that is forwarded to the platform; another free one if it is taken.
    #[arg(long, default_value_t = platform::PORT)]
    port: u16,
}

const PAUSE: Duration = Duration::from_secs(5);

/// Runs the demo until Ctrl-C, or for one round with `--check`.
///
/// # Errors
/// When a result differs from the example's table.
pub fn run(args: &DemoArgs) -> Result<()> {
    privilege::acquire()?;
    let log = ProgressLog::begin();

    let example = Example::shop()?;
    let hosts = example.host_names().join(", ");
    log.step(&format!("starting the hosts {hosts} and the switch between them"))?;
    let mut lab = shop::lab(&example)?;
    log.step("probing every pair × port × family without any policy")?;
    let mut before = shop::before(&example);
    before.probe(&lab)?;
    println!("\n{before}");
    before
        .verify()
        .context("a port must be open before the policy for the demo to prove anything")?;

    log.step("starting the platform on its embedded SQLite")?;
    let local = format!("https://127.0.0.1:{}", args.port);
    let platform = Platform::start(&mut lab, &password()?, &[local])?;
    let shop = Shop { lab, platform, example, windows: Vec::new() };
    log.step("creating an enforcement key; the first run of ctspark registers each host")?;
    shop.register()?;
    log.step(&format!("tagging the assets and applying {}", shop.example.shown_directory()))?;
    shop.commit()?;
    log.step("running ctspark on every host")?;
    let revision = shop.enforce()?;
    shop.check_kernels()?;
    println!("   revision {revision} is in force everywhere; nft lists it in every kernel");

    log.step("probing again")?;
    let mut after = shop::after(&shop.example, &shop.oracle()?);
    after.probe(&shop.lab)?;
    println!("\n{after}");
    println!("{}", summary(&after));
    if args.check {
        return after.verify();
    }
    // Until here, Ctrl-C kills immediately: the hosts end with this process, and the next start removes the
    // rest.
    sys::hold_ending_signals();
    tell_the_way_in(&shop, args.port)?;
    keep_running(&shop, &mut after)
}

fn tell_the_way_in(shop: &Shop, port: u16) -> Result<()> {
    let host = shop.lab.host(platform::HOST)?;
    let address = forward::open(port, host, shop.platform.address())?;
    println!("\nThe platform:        https://{address}");
    println!("Sign in as:          admin / {}", shop.platform.password());
    println!(
        "On the command line: {} login https://{address} --user admin --ca {}",
        shop.platform.program().display(),
        shop.platform.ca_file().display()
    );
    println!(
        "Enter a host:        nsenter --all --target {} bash   (web)",
        shop.lab.host("web")?.pid()?
    );
    println!("Ctrl-C ends everything and leaves nothing behind.\n");
    Ok(())
}

/// Sends probes and runs Spark on every host, in a loop.
fn keep_running(shop: &Shop, matrix: &mut Matrix) -> Result<()> {
    let mut round = 1;
    while !sys::ended_within(PAUSE) {
        round += 1;
        let runs = spark::run_everywhere(&shop.lab, &shop.example.host_names())?;
        matrix.probe(&shop.lab)?;
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

/// A password for this demo.
fn password() -> Result<String> {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(random.trim().to_owned())
}

/// Prints the progress with the time since the start.
struct ProgressLog {
    begin: Instant,
}

impl ProgressLog {
    fn begin() -> Self {
        Self { begin: Instant::now() }
    }

    fn step(&self, what: &str) -> Result<()> {
        println!("[{:5.1} s] {what}", self.begin.elapsed().as_secs_f64());
        Ok(std::io::stdout().flush()?)
    }
}
