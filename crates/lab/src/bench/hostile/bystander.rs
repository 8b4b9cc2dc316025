//! Clients that a flood must not affect: a host that checks in and an operator who signs in, continuously.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::fixture::Fixture;
use super::simulated_host::SimulatedHost;
use crate::bench::pause;

/// The interval of check-ins: within the limit of one host.
const CHECK_IN_EVERY: Duration = Duration::from_millis(250);
/// The interval of sign-ins: within the limit of one address.
const SIGN_IN_EVERY: Duration = Duration::from_millis(1500);
const OPERATOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
/// The number of this host.
const NUMBER: u16 = 65_000;

/// Response times of both, in ms.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) check_ins: Vec<f64>,
    pub(super) sign_ins: Vec<f64>,
    /// Answers that were not the expected ones.
    pub(super) refused: Vec<String>,
}

/// A host that registers before the flood.
pub(super) fn registered(fixture: &Fixture) -> Result<SimulatedHost> {
    let mut simulated_host = SimulatedHost::new(NUMBER, &fixture.key("bystander")?)?;
    let mut connection = fixture.endpoint.open(simulated_host.from)?;
    simulated_host.register(&mut connection)?;
    simulated_host.check_in(&mut connection, None)?;
    Ok(simulated_host)
}

/// Checks in and signs in until the flood is over, each over a new connection.
pub(super) fn beside<T>(
    fixture: &Fixture,
    mut host: SimulatedHost,
    flood: impl FnOnce() -> Result<T>,
) -> Result<(T, Served)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let check_ins = scope.spawn(|| {
            again_and_again(&over, CHECK_IN_EVERY, || {
                let mut connection = fixture.endpoint.open(host.from)?;
                host.check_in(&mut connection, None).map(drop)
            })
        });
        let sign_ins = scope.spawn(|| {
            again_and_again(&over, SIGN_IN_EVERY, || {
                fixture.sign_in(OPERATOR, "admin", fixture.password()).map(drop)
            })
        });
        let done = flood();
        over.store(true, Ordering::SeqCst);
        let (check_ins, refused) = joined(check_ins)?;
        let (sign_ins, also_refused) = joined(sign_ins)?;
        let refused = refused.into_iter().chain(also_refused).collect();
        Ok((done?, Served { check_ins, sign_ins, refused }))
    })
}

type Waited = (Vec<f64>, Vec<String>);

fn joined(thread: ScopedJoinHandle<'_, Waited>) -> Result<Waited> {
    thread.join().map_err(|_| anyhow::anyhow!("a bystander panicked"))
}

fn again_and_again(
    over: &AtomicBool,
    every: Duration,
    mut ask: impl FnMut() -> Result<()>,
) -> Waited {
    let (mut waited, mut refused) = (Vec::new(), Vec::new());
    // At least once.
    loop {
        let begun = Instant::now();
        let done = ask();
        waited.push(begun.elapsed().as_secs_f64() * 1000.0);
        if let Err(error) = done {
            refused.push(format!("{error:#}"));
        }
        if over.load(Ordering::SeqCst) {
            return (waited, refused);
        }
        pause(begun + every);
    }
}

/// The value that 99 of 100 do not exceed; of less than 100, the largest.
pub(super) fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let above = values.len() / 100;
    values.iter().rev().nth(above).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile() {
        let to = |last: u32| (1..=last).map(f64::from).collect::<Vec<_>>();
        assert_eq!(p99(to(10)), 10.0);
        assert_eq!(p99(to(100)), 99.0);
        assert_eq!(p99(to(1000)), 990.0);
        assert!(p99(Vec::new()).is_nan());
    }
}
