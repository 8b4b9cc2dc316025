//! Lists of addresses, the same for all contestants.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::host::Host;

/// Distinct random addresses outside 10.0.0.0/8, which the lab uses, in random order.
pub(super) fn random(count: u32) -> Vec<Ipv4Addr> {
    let usable = |address: &Ipv4Addr| !matches!(address.octets()[0], 0 | 10 | 127 | 224..);
    (0..).map(scattered).map(Ipv4Addr::from).filter(usable).take(count as usize).collect()
}

/// An invertible mixing function (the finalizer of MurmurHash3), so that no number occurs twice.
pub(super) fn scattered(number: u32) -> u32 {
    let mixed = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae35);
    mixed ^ mixed >> 16
}

/// One address or prefix per line.
pub(super) fn plain(entries: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    entries.into_iter().fold(String::new(), |mut text, entry| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{entry}");
        text
    })
}

/// A table with a set `s` of these elements and, with `rules`, a chain for each hook.
pub(super) fn nft(set: &str, rules: bool, elements: &[String]) -> String {
    let chains = if rules {
        "chain i { type filter hook input priority -10; ip saddr @s drop; }
         chain o { type filter hook output priority -10; ip daddr @s drop; }"
    } else {
        ""
    };
    let elements = elements.join(",\n");
    format!("table inet t {{\n set s {{ {set}; elements = {{\n{elements}\n}} }}\n {chains}\n}}\n")
}

/// A set `s` of type hash:ip, with the same initial size as ours: growing takes longer.
pub(super) fn ipset(addresses: &[Ipv4Addr]) -> String {
    let size = addresses.len().next_power_of_two();
    let head = format!("create s hash:ip hashsize {size} maxelem {}\n", size * 2);
    addresses.iter().fold(head, |mut text, address| {
        let _ = writeln!(text, "add s {address}");
        text
    })
}

/// Writes a file on a host.
pub(super) fn file(host: &Host, name: &str, text: &str) -> Result<PathBuf> {
    super::super::firewall::file(host, name, text)
}

/// The entries of the oldest day and the next one of every real list with several days.
pub(super) fn real_days(feeds: &Path) -> Result<[Vec<String>; 2]> {
    let mut files: Vec<PathBuf> = fs::read_dir(feeds)
        .with_context(|| format!("could not read {}", feeds.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(".txt.gz"));
    files.sort();
    let stem = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.rsplit_once('_').map_or(name.clone(), |(stem, _)| stem.to_owned())
    };
    let mut days = [Vec::new(), Vec::new()];
    for history in files.chunk_by(|a, b| stem(a) == stem(b)).filter(|history| history.len() > 1) {
        for (day, path) in days.iter_mut().zip(history) {
            day.extend(entries(path)?);
        }
    }
    ensure!(!days[0].is_empty(), "no list with several days in {}", feeds.display());
    Ok(days)
}

fn entries(path: &Path) -> Result<Vec<String>> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().context("no gzip")?;
    ensure!(output.status.success(), "could not unpack {}", path.display());
    let text = String::from_utf8(output.stdout)?;
    let first = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(first.filter(|word| !word.starts_with('#')).map(str::to_owned).collect())
}
