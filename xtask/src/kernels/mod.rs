//! The firewall in other kernels than this machine's: Debian's, each booted in an emulated machine, where the
//! firewall's tests and one complete path from a policy to dropped packets run.

mod apt;
mod cpio;
mod guest;
mod machine;
mod modules;
mod result;
mod suites;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{packages, run, tools};
use result::{End, SuiteResult, Test};
use suites::Built;

/// The Debian releases whose kernels are booted, oldest first.
const SUITES: &[&str] = &["bullseye", "bookworm", "trixie"];
/// Machines that run concurrently: each uses a whole processor.
const AT_ONCE: usize = 2;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct KernelsArgs {
    /// Use only the kernels of these Debian releases.
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Run only tests with one of these in their names.
    #[arg(value_name = "PART")]
    parts: Vec<String>,
}

/// Boots each kernel and runs the tests in it.
///
/// # Errors
/// When a kernel is not available or does not boot, or a test in it fails.
pub(crate) fn run(args: &KernelsArgs) -> Result<()> {
    let needed = [tools::LAB, tools::KERNEL_TESTS, tools::KERNELS].concat();
    packages::ensure(&needed)?;
    let built = suites::build(&args.parts)?;
    let directory = run::root().join("target/kernels");
    let stripped = guest::strip(&built, &directory.join("programs"))?;
    let suites: Vec<&str> = match args.suites.is_empty() {
        true => SUITES.to_vec(),
        false => args.suites.iter().map(String::as_str).collect(),
    };
    let mut kernels = Vec::new();
    for suite in suites {
        let directory = directory.join(suite);
        let kernel = apt::newest_kernel(suite, &directory)?;
        let initramfs = directory.join("initramfs");
        guest::write(&initramfs, &kernel, &built, &stripped)?;
        let image = kernel.root.join(format!("boot/vmlinuz-{}", kernel.version));
        kernels.push(Kernel {
            name: format!("Debian {suite}, {}", kernel.version),
            image,
            directory,
            initramfs,
        });
    }
    let waiting = Mutex::new(kernels.into_iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
                    let Some(kernel) = next else { return };
                    if let Err(error) = kernel.test(&built)
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(format!("{}: {error:#}", kernel.name));
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_default().as_slice() {
        [] => Ok(()),
        failed => bail!("{}", failed.join("\n")),
    }
}

struct Kernel {
    name: String,
    image: PathBuf,
    initramfs: PathBuf,
    directory: PathBuf,
}

impl Kernel {
    /// Runs the tests in it and prints their results together.
    fn test(&self, built: &Built) -> Result<()> {
        let log = self.directory.join("console.log");
        let begin = Instant::now();
        let console = machine::boot(&self.image, &self.initramfs, &log)?;
        let outcome = SuiteResult::parse(&console, &built.tests)
            .with_context(|| format!("its console is in {}", log.display()))?;
        let seconds = begin.elapsed().as_secs_f64();
        print!("{}", report(&self.name, &outcome, seconds, &log));
        match outcome.tests.len() - outcome.count(End::Passed) {
            0 => Ok(()),
            failed => bail!("{failed} tests failed"),
        }
    }
}

fn report(name: &str, outcome: &SuiteResult, seconds: f64, log: &Path) -> String {
    let mut text = format!("── {name}\n");
    let mut line = |line: String| text.push_str(&(line + "\n"));
    for fact in outcome.tests.iter().flat_map(Test::facts) {
        line(format!("   {fact}"));
    }
    let skipped: Vec<_> = outcome
        .tests
        .iter()
        .flat_map(|test| test.skipped().map(move |why| (&test.suite, &test.name, why)))
        .collect();
    for (suite, name, why) in &skipped {
        line(format!("   skipped  {suite} {name}: {why}"));
    }
    for test in outcome.tests.iter().filter(|test| test.end != End::Passed) {
        let what = if test.end == End::TimedOut { "timed out" } else { "failed" };
        line(format!("   {what}  {} {} ({:.0} s)", test.suite, test.name, test.seconds));
        let tail = test.output.len().saturating_sub(30);
        test.output[tail..].iter().for_each(|output| line(format!("      | {output}")));
    }
    line(format!(
        "   {} tests: {} passed, {} failed, {} timed out, {} with parts skipped, in {seconds:.0} s; {}",
        outcome.tests.len(),
        outcome.count(End::Passed),
        outcome.count(End::Failed),
        outcome.count(End::TimedOut),
        skipped.len(),
        log.display(),
    ));
    text
}
