//! Thousands of hosts register into one segment that allows itself: each registration changes the rulesets of
//! all.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use xshield_wire::EnforcementKey;
use xshield_wire::message::InForce;

use super::fixture::{Disk, Fixture};
use super::simulated_host::SimulatedHost;
use crate::bench::{Effort, pause};
use crate::figure::Figure;
use crate::wait;

/// Concurrent registrations.
const AT_ONCE: usize = 8;
/// The limit for all hosts to have the addresses of all others.
const SETTLED: Duration = Duration::from_secs(120);

const POLICY: &str = "
segment:
  name: web
  criteria: role = 'web'
  templates: [peers]
  inbound: { level: secure-all-ports, mode: enforce }
---
template:
  name: peers
  action: allow
  ports: [{ name: https, from: ['segment:web'], services: [tcp/443] }]
";

pub(super) fn run(program: &Path, effort: Effort) -> Result<()> {
    let quarter: u16 = match effort {
        Effort::Full => 500,
        Effort::Quick => 100,
    };
    let fixture = Fixture::begin(program, Disk::Machine)?;
    fixture.commit(POLICY)?;
    let key = fixture.key("web")?;
    let begun = Instant::now();
    let mut used = vec![fixture.processor_time()?];
    let mut first = VecDeque::new();
    for part in 0..4 {
        let hosts = enrol(&fixture, &key, part * quarter..(part + 1) * quarter)?;
        if part == 0 {
            first.extend(hosts);
        }
        if part == 3 {
            settle(&fixture, &mut first)?;
        }
        used.push(fixture.processor_time()?);
    }
    let spent = begun.elapsed().as_secs_f64();
    let parts: Vec<f64> = used
        .windows(2)
        .map(|pair| (pair[1].saturating_sub(pair[0])).as_secs_f64() * 1000.0 / f64::from(quarter))
        .collect();
    eprintln!(
        "enrol: {:.1?} ms of processor time a host, by quarters of {quarter}; {spent:.0} s, {:.0} MiB \
         of memory, database {:.1} MiB",
        parts,
        fixture.peak_mib()?,
        fixture.database_mib()?
    );
    let all = parts.iter().sum::<f64>() / 4.0;
    Figure::new("hostile.enrol_cpu_ms", all, "ms").print();
    Figure::new("hostile.enrol_ratio", parts[3] / parts[0], "ratio").print();
    Figure::new("hostile.enrol_rss_mib", fixture.peak_mib()?, "MiB").print();
    Ok(())
}

/// First runs of these hosts: each registers, checks in, fetches its ruleset, and reports over a new
/// connection that it is in force.
fn enrol(
    fixture: &Fixture,
    key: &EnforcementKey,
    numbers: std::ops::Range<u16>,
) -> Result<Vec<SimulatedHost>> {
    let next = AtomicU16::new(numbers.start);
    let done = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            let simulated_host =
                first_run(fixture, key, number).with_context(|| format!("host {number}"))?;
            done.lock().map_err(|_| anyhow::anyhow!("another host failed"))?.push(simulated_host);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a host panicked"))?)
    })?;
    done.into_inner().map_err(|_| anyhow::anyhow!("a host failed"))
}

fn first_run(fixture: &Fixture, key: &EnforcementKey, number: u16) -> Result<SimulatedHost> {
    let mut simulated_host = SimulatedHost::new(number, key)?;
    let mut connection = fixture.endpoint.open(simulated_host.from)?;
    simulated_host.register(&mut connection)?;
    simulated_host.check_in(&mut connection, None)?.wanted.context("no ruleset is wanted")?;
    let held = simulated_host.fetch(&mut connection)?;
    simulated_host.check_in(&mut fixture.endpoint.open(simulated_host.from)?, Some(held))?;
    Ok(simulated_host)
}

/// Waits until the wanted ruleset of a host that registered long ago is the current one. Checking a host has
/// its ruleset compiled, so each check uses another host.
fn settle(fixture: &Fixture, hosts: &mut VecDeque<SimulatedHost>) -> Result<()> {
    wait::until("all hosts know all others", SETTLED, || {
        let mut host = hosts.pop_front().context("there are no more hosts to check")?;
        let mut connection = fixture.endpoint.open(host.from)?;
        let wanted: Option<InForce> = host.check_in(&mut connection, None)?.wanted;
        let fetched = host.fetch(&mut connection)?;
        pause(Instant::now() + Duration::from_secs(1));
        Ok((wanted == Some(fetched)).then_some(()))
    })
}
