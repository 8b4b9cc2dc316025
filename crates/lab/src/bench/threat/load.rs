//! Time and memory of a first load, compared with the peers in the same run with the same addresses.

use std::time::Duration;

use anyhow::{Context, Result};

use super::contestants::{Contestant, Forms, LoadTime, clear};
use super::{BenchContext, Driver, MILLION, lists, shown};
use crate::bench::Effort;
use crate::bench::firewall::lab_with_client;
use crate::figure::{Figure, median};

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    lab.add_host("server", 12)?;
    let host = lab.host("server")?;
    let forms = Forms::write(bench.driver, host, &lists::random(MILLION))?;
    let rounds = match bench.effort {
        Effort::Full => 9,
        Effort::Quick => 3,
    };
    let mut took = Contestant::ALL.map(|_| Vec::new());
    for _ in 0..rounds {
        for (who, took) in Contestant::ALL.into_iter().zip(&mut took) {
            clear(host)?;
            took.push(forms.load(who, bench.driver, host)?);
        }
    }
    times("threat.load_1m_s", &took, |took| took.time)?;
    times("threat.load_1m_cpu_s", &took, |took| took.cpu)?;
    // Of adjacent measurements, so that a disturbance of the machine affects both alike.
    let [ours, peers @ ..] = &took;
    for (who, peer) in Contestant::ALL.into_iter().skip(1).zip(peers) {
        for (name, of) in [
            ("threat.load_1m_times_faster", (|took| took.time) as fn(&LoadTime) -> Duration),
            ("threat.load_1m_times_less_cpu", |took| took.cpu),
        ] {
            let ratios =
                ours.iter().zip(peer).map(|(ours, peer)| of(peer).div_duration_f64(of(ours)));
            let ratio = median(ratios.collect()).context("nothing was measured")?;
            Figure::new(name, ratio, "ratio").beside(who.name(), 1.0).print();
        }
    }

    let mut peaks = Vec::new();
    for who in Contestant::ALL {
        clear(host)?;
        peaks.push(forms.peak(who, bench.driver, (host, lab.programs()))?);
    }
    for (who, peak) in Contestant::ALL.into_iter().zip(&peaks).skip(1) {
        Figure::new("threat.load_1m_rss_kib", peaks[0], "KiB").beside(who.name(), *peak).print();
    }

    clear(host)?;
    let text = lists::file(host, "five.txt", &lists::plain(lists::random(5 * MILLION)))?;
    let driver = Driver { program: bench.driver, host };
    let list = driver.compile(&text)?;
    let five = driver.spend(["load", shown(&list)?])?;
    Figure::new("threat.load_5m_s", five.milliseconds / 1000.0, "s").print();
    Figure::new("threat.load_5m_rss_kib", five.peak_kib, "KiB").print();
    Ok(())
}

/// A line per peer.
fn times(name: &'static str, took: &[Vec<LoadTime>], of: fn(&LoadTime) -> Duration) -> Result<()> {
    let middle = |took: &Vec<LoadTime>| {
        let times = took.iter().map(|took| of(took).as_secs_f64()).collect();
        median(times).context("nothing was measured")
    };
    let times = took.iter().map(middle).collect::<Result<Vec<f64>>>()?;
    for (who, &time) in Contestant::ALL.into_iter().zip(&times).skip(1) {
        Figure::new(name, times[0], "s").beside(who.name(), time).print();
    }
    Ok(())
}
