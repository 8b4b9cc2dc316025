//! A host in a segment that allows itself has another address at each check-in.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Attack;
use super::fixture::Fixture;
use super::simulated_host::SimulatedHost;
use crate::bench::{Effort, pause};

/// Hosts of the segment.
const PEERS: u16 = 300;
/// Within the limit of one host.
const EVERY: Duration = Duration::from_millis(200);

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

pub(super) fn prepare(fixture: &Fixture, effort: Effort) -> Result<Attack> {
    let span = match effort {
        Effort::Full => Duration::from_secs(60),
        Effort::Quick => Duration::from_secs(10),
    };
    fixture.commit(POLICY)?;
    let key = fixture.key("web")?;
    let mut guests = Vec::new();
    for number in 0..PEERS {
        let mut simulated_host = SimulatedHost::new(number, &key)?;
        let mut connection = fixture.endpoint.open(simulated_host.from)?;
        simulated_host.register(&mut connection)?;
        simulated_host.check_in(&mut connection, None)?;
        guests.push(simulated_host);
    }
    let mut flapping = guests.pop().context("there are no hosts")?;
    Ok(Box::new(move |fixture| {
        let end = Instant::now() + span;
        for round in 0u16.. {
            let begun = Instant::now();
            if begun >= end {
                break;
            }
            let [high, low] = round.to_be_bytes();
            flapping.addresses = vec![Ipv4Addr::new(10, 201, high, low).into()];
            let mut connection = fixture.endpoint.open(flapping.from)?;
            // Refused or not: what matters is the effect on others.
            drop(flapping.check_in(&mut connection, None));
            pause(begun + EVERY);
        }
        Ok(())
    }))
}
