//! Threat lists: time and memory for loading a million addresses, their cost per packet, and the effect of
//! changes on traffic.

mod bouncer;
mod contestants;
mod delta;
mod flood;
mod hitless;
mod lists;
mod load;
mod memory;
mod packets;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Effort;
use crate::host::Host;

/// The number of addresses in the names of figures.
const MILLION: u32 = 1_000_000;

/// What measurements need besides the lab.
pub(super) struct BenchContext<'a> {
    /// The firewall's `threat` example.
    pub driver: &'a Path,
    /// The threat crate's `measure` example.
    pub measure: Option<&'a Path>,
    /// Real lists, `NAME_DATE.txt.gz`.
    pub feeds: Option<&'a Path>,
    pub effort: Effort,
}

/// One measurement; all of them if not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// Time and memory of a first load.
    Load,
    /// The kernel's memory per address.
    Memory,
    /// A day's change.
    Delta,
    /// Packet rates with a million entries, none of which matches.
    Packets,
    /// Changes under traffic.
    Hitless,
    /// Bytes of real lists and days.
    Wire,
    /// Comparison with CrowdSec's bouncer.
    Bouncer,
}

type Measure = fn(&BenchContext<'_>) -> Result<()>;

pub(super) fn run(bench: &BenchContext<'_>, part: Option<Part>) -> Result<()> {
    let parts: [(Part, Measure); 7] = [
        (Part::Load, load::run),
        (Part::Memory, memory::run),
        (Part::Delta, delta::run),
        (Part::Packets, packets::run),
        (Part::Hitless, hitless::run),
        (Part::Wire, wire::run),
        (Part::Bouncer, bouncer::run),
    ];
    for (_, measure) in parts.into_iter().filter(|(one, _)| part.is_none_or(|p| p == *one)) {
        measure(bench)?;
    }
    Ok(())
}

/// The cost of an operation, as reported by the driver.
struct Spent {
    milliseconds: f64,
    idle_kib: f64,
    peak_kib: f64,
}

/// The firewall's driver, run on a host.
struct Driver<'a> {
    program: &'a Path,
    host: &'a Host,
}

impl Driver<'_> {
    fn ask<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<String> {
        self.host.run(self.program, words).map(|answer| answer.trim().to_owned())
    }

    fn spend<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<Spent> {
        let answer = self.ask(words)?;
        let numbers = answer.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
        match numbers.as_deref() {
            Ok(&[milliseconds, idle_kib, peak_kib]) => {
                Ok(Spent { milliseconds, idle_kib, peak_kib })
            }
            _ => anyhow::bail!("the driver answered {answer:?}"),
        }
    }

    /// Writes a list in the format of hosts' disks.
    fn compile(&self, text: &Path) -> Result<PathBuf> {
        let list = text.with_extension("list");
        self.ask(["compile", shown(text)?, shown(&list)?])?;
        Ok(list)
    }
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
