//! One registered host reports as much as it may, in reports of 100,000 items.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use xshield_policy::{Direction, Protocol};
use xshield_wire::Bytes;
use xshield_wire::message::{
    EventKind, EventReport, EventSource, FirewallEvent, Report, ReportBody, VERSION,
};

use super::Attack;
use super::fixture::Fixture;
use super::simulated_host::{SimulatedHost, now};
use crate::bench::{Effort, pause};
use crate::sys;

const ITEMS: u32 = 100_000;
/// Reports prepared in advance: compressing takes longer than sending.
const REPORTS: usize = 40;
const EVERY: Duration = Duration::from_millis(250);

pub(super) fn prepare(fixture: &Fixture, effort: Effort) -> Result<Attack> {
    let reports = match effort {
        Effort::Full => REPORTS,
        Effort::Quick => REPORTS / 8,
    };
    let mut simulated_host = SimulatedHost::new(1, &fixture.key("web")?)?;
    let mut connection = fixture.endpoint.open(simulated_host.from)?;
    simulated_host.register(&mut connection)?;
    simulated_host.check_in(&mut connection, None)?;
    let packed = (0..reports).map(report).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |fixture| {
        for body in packed {
            let begun = Instant::now();
            // Refused or not: what matters is the effect on others.
            drop(send(fixture, &simulated_host, &body));
            pause(begun + EVERY);
        }
        Ok(())
    }))
}

fn send(fixture: &Fixture, simulated_host: &SimulatedHost, body: &[u8]) -> Result<()> {
    let mut connection = fixture.endpoint.open(simulated_host.from)?;
    simulated_host.report(&mut connection, body).map(drop)
}

/// Flows that are in no other report.
fn report(number: usize) -> Result<Vec<u8>> {
    let time = now();
    let event = |at: u32| FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: Ipv4Addr::from(0x0b00_0000 + u32::try_from(number).unwrap_or(0) * ITEMS + at)
            .into(),
        destination: Ipv4Addr::new(10, 200, 0, 1).into(),
        protocol: Protocol::Tcp,
        port: 22,
        packets: 1,
        bytes: 60,
        first_seen: time,
        last_seen: time,
        rule: None,
        process: None,
        from: EventSource::Recorder,
    };
    let events = (0..ITEMS).map(event).collect();
    let body = ReportBody::Events(EventReport { events, lost: 0 });
    let report = Report { version: VERSION, batch: Bytes(sys::random()?), created: time, body };
    let text = serde_json::to_vec(&report)?;
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    Ok(ruzstd::encoding::compress_to_vec(text.as_slice(), level))
}
