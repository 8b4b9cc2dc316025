//! The thread that follows connections, and tells at intervals which paths they made.

use std::time::{Duration, Instant};

use xshield_enforce::ReportBody;
use xshield_enforce::resident::host::conntrack::{Monitor, Path, Report, Settings, Way};
use xshield_enforce::state::chain;
use xshield_enforce::telemetry::{ActivePath, PathReport, PathSource};

use crate::agent::Agent;

/// How long one reading waits.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two readings, so that a busy host's connections come by the hundred.
const BREATH: Duration = Duration::from_millis(100);
/// How long to wait before trying again what failed.
const AGAIN: Duration = Duration::from_secs(60);
/// Paths in one report.
const PER_REPORT: usize = 2_000;

/// Follows connections until the agent comes to an end.
pub fn run(agent: &Agent) {
    let mut said = false;
    while !agent.is_stopping() {
        if agent.state().throttled {
            agent.rest(AGAIN);
            continue;
        }
        if let Err(error) = follow(agent) {
            // On a kernel without connection events this stays so.
            if !std::mem::replace(&mut said, true) {
                agent.log.warn(&format!("paths are not told: {error}"));
            }
            agent.rest(AGAIN);
        }
    }
}

fn follow(agent: &Agent) -> Result<(), String> {
    let now = || agent.surroundings.now();
    let mut monitor = Monitor::open(Settings::default(), now()).map_err(|error| chain(&error))?;
    let (mut since, mut began) = (now(), Instant::now());
    loop {
        monitor.read(PATIENCE, now()).map_err(|error| chain(&error))?;
        agent.rest(BREATH);
        let stopping = agent.is_stopping() || agent.state().throttled;
        if stopping || began.elapsed() >= agent.settings().telemetry {
            let report = monitor.drain(now()).map_err(|error| chain(&error))?;
            tell(agent, report, (since, now()));
            (since, began) = (now(), Instant::now());
        }
        if stopping {
            return Ok(());
        }
    }
}

/// In pieces, of which the spool delivers the smallest first.
fn tell(agent: &Agent, report: Report, (since, until): (u64, u64)) {
    let mut lost = report.drained.overflow_connections + report.lost_events;
    let paths: Vec<ActivePath> = report.drained.paths.into_iter().filter_map(active).collect();
    if paths.is_empty() && lost == 0 {
        return;
    }
    let mut chunks: Vec<Vec<ActivePath>> = paths.chunks(PER_REPORT).map(<[_]>::to_vec).collect();
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    for paths in chunks {
        let lost = std::mem::take(&mut lost);
        let from = PathSource::Conntrack;
        agent.report(ReportBody::Paths(PathReport { since, until, from, paths, lost }));
    }
}

/// Traffic between others is not this host's.
fn active(path: Path) -> Option<ActivePath> {
    let direction = match path.key.way {
        Way::Inbound => xshield_enforce::Direction::Inbound,
        Way::Outbound => xshield_enforce::Direction::Outbound,
        Way::Forwarded => return None,
    };
    let program = path.key.program.as_deref();
    let user = program.and_then(|program| {
        program.user.clone().or_else(|| program.uid.map(|uid| uid.to_string()))
    });
    Some(ActivePath {
        direction,
        source: path.key.source,
        destination: path.key.destination,
        protocol: path.key.protocol,
        port: path.key.port,
        process: program.and_then(|program| program.path.clone().or_else(|| program.name.clone())),
        user,
        service: program.and_then(|program| program.service.clone()),
        connections: path.connections,
        bytes_forth: path.counters.bytes_sent,
        bytes_back: path.counters.bytes_received,
        first_seen: path.first_seen,
        last_seen: path.last_seen,
    })
}
