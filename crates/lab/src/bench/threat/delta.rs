//! The change of a real day to a million addresses, as on a host: the delta is applied to the list on disk,
//! the kernel's list is changed in one transaction, and the new list is stored.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::contestants::cpu_of_children;
use super::{BenchContext, Driver, MILLION, lists, shown};
use crate::bench::Effort;
use crate::bench::firewall::lab_with_client;
use crate::figure::{Figure, median};

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    let host = lab.add_host("server", 12)?;
    let driver = Driver { program: bench.driver, host };
    let common = lists::plain(lists::random(MILLION));
    let [old, new] = match bench.feeds {
        Some(feeds) => lists::real_days(feeds)?.map(lists::plain),
        None => {
            eprintln!("no real lists were given (--feeds): using 4,000 random changes");
            [0, 1].map(|day| {
                let made_up = (0..2_000).map(|n| lists::scattered(MILLION * 2 + day * 2_000 + n));
                lists::plain(made_up.map(|n| Ipv4Addr::from(n & 0x7fff_ffff | 0x0b00_0000)))
            })
        }
    };
    let compile = |name: &str, text: &str| -> Result<_> {
        let text = lists::file(host, &format!("{name}.txt"), &format!("{common}{text}"))?;
        driver.compile(&text)
    };
    let (old, new) = (compile("old", &old)?, compile("new", &new)?);
    let (there, back) = (old.with_extension("delta"), new.with_extension("delta"));
    let bytes = driver.ask(["delta", shown(&old)?, shown(&new)?, shown(&there)?])?;
    driver.ask(["delta", shown(&new)?, shown(&old)?, shown(&back)?])?;
    driver.ask(["load", shown(&old)?])?;

    let rounds = match bench.effort {
        Effort::Full => 21,
        Effort::Quick => 5,
    };
    let scratch = old.with_file_name("scratch.list");
    let (mut times, mut cpu, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (list, delta) = if round % 2 == 0 { (&old, &there) } else { (&new, &back) };
        let before = cpu_of_children()?;
        let spent = driver.spend(["change", shown(list)?, shown(delta)?, shown(&scratch)?])?;
        times.push(spent.milliseconds);
        cpu.push(cpu_of_children()?.saturating_sub(before).as_secs_f64() * 1000.0);
        more.push(spent.peak_kib - spent.idle_kib);
    }
    let whole = if rounds % 2 == 1 { &new } else { &old };
    driver.ask(["verify", shown(whole)?])?;
    let time = median(times).context("nothing was measured")?;
    Figure::new("threat.delta_day_ms", time, "ms").print();
    let cpu = median(cpu).context("nothing was measured")?;
    Figure::new("threat.delta_day_cpu_ms", cpu, "ms").print();
    let more = more.into_iter().fold(0.0, f64::max);
    Figure::new("threat.delta_day_rss_kib", more, "KiB").print();
    Figure::new("threat.delta_day_bytes", bytes.parse()?, "bytes").print();
    Ok(())
}
