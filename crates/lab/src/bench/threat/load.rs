//! Time and memory of a first load, in the same run as the peers on the same addresses.

use anyhow::{Context, Result};

use super::contestants::{Contestant, Forms, clear};
use super::{Driver, MILLION, Means, lists, shown};
use crate::bench::Effort;
use crate::bench::firewall::lab_with_client;
use crate::figure::{Figure, median};

pub(super) fn run(means: &Means<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    lab.add_host("server", 12)?;
    let host = lab.host("server")?;
    let forms = Forms::write(means.driver, host, &lists::random(MILLION))?;
    let rounds = match means.effort {
        Effort::Full => 9,
        Effort::Quick => 3,
    };
    let mut times = Contestant::ALL.map(|_| Vec::new());
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (who, times) in Contestant::ALL.into_iter().zip(&mut times) {
            clear(host)?;
            times.push(forms.load(who, means.driver, host)?.as_secs_f64());
        }
        let last = |at: usize| times[at].last().copied().context("nothing was measured");
        ratios[0].push(last(1)? / last(0)?);
        ratios[1].push(last(2)? / last(0)?);
    }
    let [ours, nft, ipset] = times.map(median).map(|time| time.context("nothing was measured"));
    let (ours, peers) = (ours?, [(Contestant::Nft, nft?), (Contestant::Ipset, ipset?)]);
    for (who, time) in peers {
        Figure::new("threat.load_1m_s", ours, "s").beside(who.name(), time).print();
    }
    // Of neighbours in time, so that a disturbance of the machine hits all alike.
    for ((who, _), ratios) in peers.into_iter().zip(ratios) {
        let times = median(ratios).context("nothing was measured")?;
        Figure::new("threat.load_1m_times_faster", times, "ratio").beside(who.name(), 1.0).print();
    }

    let mut peaks = Vec::new();
    for who in Contestant::ALL {
        clear(host)?;
        peaks.push(forms.peak(who, means.driver, (host, lab.programs()))?);
    }
    for (who, peak) in Contestant::ALL.into_iter().zip(&peaks).skip(1) {
        Figure::new("threat.load_1m_rss_kib", peaks[0], "KiB").beside(who.name(), *peak).print();
    }

    clear(host)?;
    let text = lists::file(host, "five.txt", &lists::plain(lists::random(5 * MILLION)))?;
    let driver = Driver { program: means.driver, host };
    let list = driver.compile(&text)?;
    let five = driver.spend(["load", shown(&list)?])?;
    Figure::new("threat.load_5m_s", five.milliseconds / 1000.0, "s").print();
    Figure::new("threat.load_5m_rss_kib", five.peak_kib, "KiB").print();
    Ok(())
}
