//! The cost of an unchanged cycle, with a platform on the same machine.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Effort, pause};
use crate::figure::{Figure, median};
use crate::host::Host;
use crate::shop::Shop;
use crate::spark::CONFIG;

/// The interval of cycles: the platform accepts only a few requests of one host per second.
const PACE: Duration = Duration::from_millis(500);

pub(super) fn run(spark: &Path, effort: Effort) -> Result<()> {
    let bytes = std::fs::metadata(spark)
        .with_context(|| format!("could not find {}", spark.display()))?
        .len();
    #[allow(clippy::cast_precision_loss, reason = "sizes of programs are far below 2^52")]
    Figure::new("spark.binary_bytes", bytes as f64, "bytes").print();

    let shop = Shop::start_enforced()?;
    let web = shop.lab.host("web")?;
    let rounds = match effort {
        Effort::Full => 100,
        Effort::Quick => 20,
    };
    // The first cycle of this binary may still have something to do.
    cycle(web, spark)?;
    let mut next = Instant::now();
    let mut paced = || {
        next += PACE;
        pause(next);
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        paced();
        times.push(cycle(web, spark)?);
    }
    let time = median(times).context("no cycle was measured")?;
    Figure::new("spark.unchanged_cycle_ms", time, "ms").print();

    let mut peaks = Vec::new();
    for _ in 0..rounds.min(20) {
        paced();
        peaks.push(peak_kib(&shop.lab.programs().lab(), web, spark)?);
    }
    let peak = peaks.into_iter().fold(0.0, f64::max);
    Figure::new("spark.unchanged_cycle_rss_kib", peak, "KiB").print();
    Ok(())
}

/// Milliseconds of one cycle, from fork to exit.
fn cycle(host: &Host, spark: &Path) -> Result<f64> {
    let mut command = host.command(spark);
    command.args(["run", "--config", CONFIG]).stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().context("could not start ctspark")?;
    let time = begin.elapsed();
    if !status.success() {
        bail!("ctspark ended with {status}");
    }
    Ok(time.as_secs_f64() * 1000.0)
}

/// Peak resident memory of one cycle.
fn peak_kib(lab: &Path, host: &Host, spark: &Path) -> Result<f64> {
    let spark = spark.display().to_string();
    let mut command = host.command(lab);
    command.args(["peak", &spark, "run", "--config", CONFIG]);
    let line = crate::host::succeed(&mut command)?;
    line.trim().parse().with_context(|| format!("peak printed {line:?}"))
}
