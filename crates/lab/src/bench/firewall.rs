//! The duration of rule changes, the cost of rules per packet, and the effect of changes on traffic.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::driver::Driver;
use super::rules::{self, Rule};
use super::{Effort, cost, swaps};
use crate::figure::{Figure, median};
use crate::host::Host;
use crate::lab::Lab;
use crate::programs::Programs;

/// The number of rules in the names of figures.
pub(super) const MANY: usize = 10_000;
/// The number of rules to compare with.
pub(super) const FEW: usize = 10;
/// The host that sends.
pub(super) const CLIENT: (&str, u8) = ("client", 11);

pub(super) fn run(driver: &Path, effort: Effort) -> Result<()> {
    change(driver, effort)?;
    cost::run(driver, effort)?;
    swaps::run(driver, effort)
}

/// A lab with a sender, and no receiver yet.
pub(super) fn lab_with_client() -> Result<Lab> {
    let mut lab = Lab::start(&Programs::of_this_build()?)?;
    lab.add_host(CLIENT.0, CLIENT.1)?;
    Ok(lab)
}

/// Writes a file on a host.
pub(super) fn file(host: &Host, name: &str, text: &str) -> Result<PathBuf> {
    let path = host.dir().join(name);
    std::fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))?;
    Ok(path)
}

/// Replaces all of many rules by others.
fn change(driver: &Path, effort: Effort) -> Result<()> {
    let mut lab = lab_with_client()?;
    let client = lab.host(CLIENT.0)?.v4();
    let host = lab.add_host("server", 12)?;
    let lists: [Vec<Rule>; 2] = [0, 1].map(|seed| rules::rules(MANY, seed, client));
    let mut driver = Driver::start(driver, host)?;
    let (mut ours, mut lines) = (Vec::new(), Vec::new());
    let rounds = match effort {
        Effort::Full => 20,
        Effort::Quick => 4,
    };
    for round in 0..=rounds {
        let list = &lists[round % 2];
        let ruleset = rules::bound(list, round as u64 + 1)?;
        let ruleset = file(host, "ruleset.json", &ruleset)?;
        let text = file(host, "rules.nft", &rules::nft_lines(list))?;
        if round == 0 {
            // The first change starts from an empty table.
            driver.apply(&ruleset)?;
            host.run("nft", ["-f".as_ref(), text.as_os_str()])?;
            continue;
        }
        ours.push(driver.change(&ruleset)?);
        let begin = std::time::Instant::now();
        host.run("nft", ["-f".as_ref(), text.as_os_str()])?;
        lines.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    let ours = median(ours).context("no change was measured")?;
    let lines = median(lines).context("no change was measured")?;
    Figure::new("firewall.change_10k_ms", ours, "ms").beside("nft -f, plain lines", lines).print();
    Ok(())
}
