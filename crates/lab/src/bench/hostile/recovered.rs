//! Failures of the platform: a full disk, counters at their limits, a damaged record, a kill. After each,
//! everything must work again by itself: writes, check-ins, jobs, and alerts to the mail server.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use xshield_policy::{Direction, Protocol};
use xshield_wire::Bytes;
use xshield_wire::message::{
    EventKind, EventReport, EventSource, FirewallEvent, Report, ReportBody, VERSION,
};
use xshield_wire::threat::{PolicyVerdict, ThreatAction, ThreatMatch, ThreatReport};

use super::fixture::{Disk, Fixture};
use super::simulated_host::{SimulatedHost, now};
use crate::figure::Figure;
use crate::smtp::{Options, SmtpServer};
use crate::sys;
use crate::wait::until;

/// What does not work again within this time counts as broken.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Large enough for a database, and soon full.
const SMALL: u32 = 12;
/// Items that overflow a sum, each with the maximum counter.
const ITEMS: u16 = 1_025;

/// A platform with a host, and a mail server that receives alerts of its matches.
struct Scenario {
    fixture: Fixture,
    host: SimulatedHost,
    mails: SmtpServer,
    /// Reported matches: each of another peer, so that each raises an alert.
    told: u32,
}

/// A fault.
struct Fault {
    name: &'static str,
    disk: Disk,
    happen: fn(&mut Scenario) -> Result<()>,
}

const FAULTS: &[Fault] = &[
    Fault { name: "full disk", disk: Disk::Own(SMALL), happen: fill_disk },
    Fault { name: "overflow", disk: Disk::Machine, happen: overflow },
    Fault { name: "damaged record", disk: Disk::Machine, happen: damage },
    Fault { name: "kill", disk: Disk::Machine, happen: kill },
];

/// `program`: the platform.
pub(super) fn run(program: &Path) -> Result<()> {
    let mut all = true;
    for fault in FAULTS {
        let mut scenario = Scenario::begin(program, fault.disk)?;
        scenario.works().context("before the fault")?;
        (fault.happen)(&mut scenario).with_context(|| fault.name)?;
        match scenario.works() {
            Ok(()) => eprintln!("{}: everything works again", fault.name),
            Err(error) => {
                eprintln!("{}: {error:#}", fault.name);
                all = false;
            }
        }
    }
    Figure::new("hostile.recovered", f64::from(u8::from(all)), "bool").print();
    Ok(())
}

impl Scenario {
    fn begin(program: &Path, disk: Disk) -> Result<Self> {
        let fixture = Fixture::begin(program, disk)?;
        let host = SimulatedHost::new(1, &fixture.key("web")?)?;
        let mails =
            SmtpServer::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, Options::default())?;
        let settings = json!({
            "kind": "mail", "host": "127.0.0.1", "port": mails.address().port(),
            "security": "plain", "allow_unencrypted": true, "allow_private": true,
            "from": "Xshield <x@example.com>", "to": ["ops@example.com"],
        });
        fixture.put("/api/v1/alert-channels/ops", &json!({"settings": settings}))?;
        let rule = json!({
            "when": {"condition": "first-time", "scope": "asset"}, "channels": ["ops"],
        });
        fixture.put("/api/v1/alert-rules/each", &rule)?;
        Ok(Self { fixture, host, mails, told: 0 })
    }

    /// Everything works again within the limit: the platform is ready, writes, answers its host, runs its
    /// jobs, reads its lists, and a new match reaches the mail server.
    fn works(&mut self) -> Result<()> {
        until("the platform is ready", TIMEOUT, || Ok(self.fixture.is_ready()?.ok()))?;
        self.fixture.key("works").context("nothing can be written")?;
        self.check_in().context("its host can't check in")?;
        for list in ["events", "paths", "threat/events", "assets", "alerts", "audit"] {
            self.fixture.get(&format!("/api/v1/{list}"))?;
        }
        until("all jobs run", TIMEOUT, || {
            let health = self.fixture.get("/api/v1/health")?;
            let jobs = health["jobs"].as_array().context("no jobs")?;
            let run = !jobs.is_empty() && jobs.iter().all(|job| job["standing"] == "running");
            Ok(run.then_some(()))
        })?;
        self.told += 1;
        let peer = Ipv4Addr::from(0xcb00_7100 + self.told);
        self.report(ReportBody::Threats(ThreatReport { matches: vec![found(peer, 3)], lost: 0 }))?;
        let peer = peer.to_string();
        // Alerts of the fault itself may arrive before.
        until("a mail tells of the match", TIMEOUT, || {
            let mails = self.mails.wait_for(0, Duration::ZERO);
            Ok(mails.iter().any(|mail| mail.text().contains(&peer)).then_some(()))
        })
    }

    /// As hosts do: with their session, or with a new one if it is refused.
    fn check_in(&mut self) -> Result<()> {
        let mut connection = self.fixture.endpoint.open(self.host.from)?;
        if self.host.check_in(&mut connection, None).is_err() {
            self.host.register(&mut connection)?;
            self.host.check_in(&mut connection, None)?;
        }
        Ok(())
    }

    /// Delivers a report that must be accepted.
    fn report(&self, body: ReportBody) -> Result<()> {
        let packed = packed(body)?;
        let mut connection = self.fixture.endpoint.open(self.host.from)?;
        self.host.report(&mut connection, &packed)?.well("a report").map(drop)
    }
}

/// Fills the disk until reports are refused and the platform reports that it is not ready; then frees space.
fn fill_disk(scenario: &mut Scenario) -> Result<()> {
    let filler = scenario.fixture.data().join("filler");
    let room = usize::try_from(SMALL)? << 20;
    ensure!(fs::write(&filler, vec![0; room]).is_err(), "{} did not fill up", filler.display());
    let mut number = 0;
    until("the platform says that its disk is full", TIMEOUT, || {
        number += 1;
        drop(scenario.report(events(number, 500, 1)));
        Ok(scenario.fixture.is_ready()?.err().filter(|reason| reason.contains("disk is full")))
    })?;
    ensure!(scenario.report(events(0, 500, 1)).is_err(), "a report was accepted on a full disk");
    fs::remove_file(&filler).context("could not create room")
}

/// One report with maximum counters of each kind that is summed up.
fn overflow(scenario: &mut Scenario) -> Result<()> {
    scenario.report(events(1, ITEMS, u64::MAX))?;
    // One peer, and so one alert: a rule sends a thousand alerts an hour at most.
    let peer = Ipv4Addr::new(198, 51, 100, 1);
    let of_port = |port| ThreatMatch { port, ..found(peer, u64::MAX) };
    let matches = (0..ITEMS).map(of_port).collect();
    scenario.report(ReportBody::Threats(ThreatReport { matches, lost: u64::MAX }))
}

/// Values that no column can hold, written while the platform runs.
fn damage(scenario: &mut Scenario) -> Result<()> {
    scenario.report(events(1, 10, 1))?;
    let database = scenario.fixture.data().join("xshield.db");
    let blows = "PRAGMA busy_timeout = 20000; \
                 UPDATE firewall_event SET bytes = 1e300 WHERE port = 3; \
                 UPDATE threat_event SET packets = 'many', first_seen = x'00ff'; \
                 UPDATE alert_memory SET counts = x'ff', last_alert = 'soon';";
    let done = Command::new("sqlite3").arg(&database).arg(blows).output();
    let done = done.context("could not start sqlite3 (package sqlite3)")?;
    if !done.status.success() {
        bail!("sqlite3: {}", String::from_utf8_lossy(&done.stderr));
    }
    let events = scenario.fixture.get("/api/v1/events")?;
    let rows = events["items"].as_array().map_or(0, Vec::len);
    ensure!(rows == 9, "{rows} of 10 events are listed, one of them damaged");
    let health = scenario.fixture.get("/api/v1/health")?;
    ensure!(health["damaged"] != Value::Array(Vec::new()), "nothing is said of the damaged record");
    Ok(())
}

/// Kills the platform while its host reports, and starts it again.
fn kill(scenario: &mut Scenario) -> Result<()> {
    let over = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let mut taken = 0;
            while !over.load(Ordering::SeqCst) && scenario.report(events(taken, 500, 1)).is_ok() {
                taken += 1;
            }
            taken
        });
        let begun = until("some reports are taken", TIMEOUT, || {
            let events = scenario.fixture.get("/api/v1/events")?;
            Ok(events["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(()))
        });
        let killed = begun.and_then(|()| scenario.fixture.kill());
        over.store(true, Ordering::SeqCst);
        killed?;
        reporter.join().map_err(|_| anyhow::anyhow!("the reporting host panicked"))
    })?;
    ensure!(taken > 0, "no report was accepted");
    scenario.fixture.start_again()
}

fn packed(body: ReportBody) -> Result<Vec<u8>> {
    let report = Report { version: VERSION, batch: Bytes(sys::random()?), created: now(), body };
    let text = serde_json::to_vec(&report)?;
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    Ok(ruzstd::encoding::compress_to_vec(text.as_slice(), level))
}

/// Flows that are in no report with another number.
fn events(number: u32, items: u16, count: u64) -> ReportBody {
    let time = now();
    let event = |port: u16| FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: Ipv4Addr::from(0x0b00_0000 + number).into(),
        destination: Ipv4Addr::new(10, 200, 0, 1).into(),
        protocol: Protocol::Tcp,
        port,
        packets: count,
        bytes: count,
        first_seen: time,
        last_seen: time,
        rule: None,
        process: None,
        from: EventSource::Recorder,
    };
    ReportBody::Events(EventReport { events: (0..items).map(event).collect(), lost: 0 })
}

fn found(remote: Ipv4Addr, packets: u64) -> ThreatMatch {
    let time = now();
    ThreatMatch {
        action: ThreatAction::Blocked,
        direction: Direction::Inbound,
        local: Ipv4Addr::new(10, 200, 0, 1).into(),
        remote: remote.into(),
        protocol: Protocol::Tcp,
        port: 443,
        rule: None,
        policy: PolicyVerdict::Allowed,
        process: None,
        service: None,
        packets,
        bytes: packets,
        first_seen: time,
        last_seen: time,
        from: EventSource::Recorder,
        revision: 1,
    }
}
