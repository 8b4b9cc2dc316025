//! Lists in the kernel, and the memory that changes take.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use xshield_firewall::threat::{Posture, ThreatMode, ThreatTable};
use xshield_policy::{AddressMatch, BoundFailsafe};
use xshield_threat::keep::{self, Elements};
use xshield_threat::plan::elements;

use crate::files::{self, EXPANSION};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The cost of an operation: milliseconds, resident memory before it and at most, in KiB.
pub(crate) struct Spent {
    time: Duration,
    idle: u64,
    peak: u64,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} {} {}", self.time.as_secs_f64() * 1000.0, self.idle, self.peak)
    }
}

/// Puts a list in force in one pass over it.
pub(crate) fn load(list: &Path) -> Result<Spent> {
    measured(|table| {
        let name = files::name_of(list)?;
        let entries = Elements::of(Box::new(File::open(list)?), EXPANSION)?;
        let entries = entries.map(|element| element.map(IpNet::from));
        Ok(table.load_from(&name, &posture(ThreatMode::Block), entries)?)
    })
}

/// Changes the list in force by a delta, and saves the new one.
pub(crate) fn change(old: &Path, delta: &Path, new: &Path) -> Result<Spent> {
    measured(|table| changed(table, old, delta, new))
}

/// Changes back and forth.
pub(crate) fn swap(turns: [(&Path, &Path); 2], count: usize) -> Result<Spent> {
    let scratch = turns[0].0.with_extension("swapped");
    measured(|table| {
        let mut turns = turns.into_iter().cycle().take(count);
        turns.try_for_each(|(list, delta)| changed(table, list, delta, &scratch))
    })
}

pub(crate) fn set_mode(mode: &str) -> Result<&'static str> {
    let mode = match mode {
        "block" => ThreatMode::Block,
        "event-only" => ThreatMode::EventOnly,
        other => return Err(format!("not a mode: {other}").into()),
    };
    ThreatTable::open()?.set_posture(&posture(mode))?;
    Ok("ok")
}

/// Compares the kernel's list with one on disk, entry by entry.
pub(crate) fn verify(list: &Path) -> Result<&'static str> {
    let prefixes = files::open(list)?.collect::<std::result::Result<Vec<_>, _>>()?;
    let entries =
        prefixes.into_iter().flat_map(|prefix| elements(prefix, EXPANSION)).map(IpNet::from);
    match ThreatTable::open()?.verify_full(entries)?.first() {
        Some(difference) => Err(difference.to_string().into()),
        None => Ok("ok"),
    }
}

fn changed(table: &mut ThreatTable, old: &Path, delta: &Path, new: &Path) -> Result<()> {
    let (base, target) = (files::name_of(old)?, files::name_of(delta)?);
    let unfinished = new.with_extension("new");
    let mut file = File::create(&unfinished)?;
    let (mut first, mut second) = (File::open(old)?, File::open(old)?);
    let digest = xshield_threat::Digest(target.digest.0);
    let readers: [&mut dyn Read; 2] = [&mut first, &mut second];
    let (_, moves) = keep::rewrite(readers, &mut File::open(delta)?, digest, &mut file)?;
    file.sync_data()?;
    let removes: Vec<IpNet> = moves.elements_gone(EXPANSION).map(IpNet::from).collect();
    let adds: Vec<IpNet> = moves.elements_new(EXPANSION).map(IpNet::from).collect();
    table.apply_delta(base.digest, &target, &adds, &removes, &posture(ThreatMode::Block))?;
    files::write_name(new, &target)?;
    Ok(fs::rename(&unfinished, new)?)
}

fn posture(mode: ThreatMode) -> Posture {
    let resolvers = AddressMatch::Any;
    let failsafe = BoundFailsafe { resolvers, ..BoundFailsafe::bare(Vec::new(), &[]) };
    Posture { inbound: mode, outbound: mode, failsafe, live: None }
}

fn measured(work: impl FnOnce(&mut ThreatTable) -> Result<()>) -> Result<Spent> {
    let mut table = ThreatTable::open()?;
    let idle = status("VmRSS:")?;
    let begin = Instant::now();
    work(&mut table)?;
    Ok(Spent { time: begin.elapsed(), idle, peak: status("VmHWM:")? })
}

/// A value in KiB from this process's status.
fn status(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("no {field} in the process's status"))?.parse()?)
}
