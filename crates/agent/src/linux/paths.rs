//! The thread that follows connections and reports their paths at intervals. If it can't, the cycle reports
//! the paths in the flow recorder.

use std::time::{Duration, Instant};

use xshield_enforce::problems::chain;
use xshield_enforce::resident::host::conntrack::{
    ConnectionDirection, Monitor, Path, Report, Settings,
};
use xshield_enforce::telemetry::{ActivePath, PathReport, PathSource};
use xshield_enforce::{ReportBody, align_connection_tracking};

use crate::agent::Agent;
use crate::health::ActivePathSource;

/// The longest wait of one read.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The pause between two reads, so that a busy host's connections are read in large batches.
const BREATH: Duration = Duration::from_millis(100);
/// The pause before a failed attempt is repeated.
const AGAIN: Duration = Duration::from_secs(60);
/// How long connection events are not used after most of them were lost.
const AFTER_LOSSES: Duration = Duration::from_secs(600);
/// The most paths in one report.
const PER_REPORT: usize = 2_000;
/// In debug builds, if this variable is `conntrack`, connection tracking is not used, so that tests need no
/// other kernel.
const WITHOUT: &str = "XSHIELD_WITHOUT";

/// Follows connections until the agent stops.
pub(super) fn run(agent: &Agent) {
    while !agent.is_stopping() {
        if agent.is_throttled() {
            agent.set_path_source(ActivePathSource::None);
            agent.rest(AGAIN);
            continue;
        }
        if let Err(Failure { why, rest }) = follow(agent) {
            let path_source = ActivePathSource::Recorder { why };
            let said = format!("paths come {path_source}");
            // On a kernel without connection events this does not change.
            if agent.set_path_source(path_source) {
                agent.log.warn(&said);
            }
            agent.rest(rest);
        }
    }
}

/// Why connections can't be followed, and how long to wait before trying again.
struct Failure {
    why: String,
    rest: Duration,
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { why: chain(&error), rest: AGAIN }
    }
}

fn follow(agent: &Agent) -> Result<(), Failure> {
    if cfg!(debug_assertions) && std::env::var_os(WITHOUT).is_some_and(|it| it == "conntrack") {
        return Err(Failure { why: "connection tracking is switched off".to_owned(), rest: AGAIN });
    }
    let now = || agent.environment.now();
    let mut monitor = Monitor::open(Settings::default(), now())?;
    agent.set_path_source(ActivePathSource::Conntrack);
    let (mut since, mut began) = (now(), Instant::now());
    let mut loss = MessageLoss::default();
    let mut lost_connections = LostConnections::default();
    let opened = Instant::now();
    loop {
        let activity = monitor.read(TIMEOUT, now())?;
        if lost_connections.is_due(activity.cut_off > 0, opened.elapsed()) {
            told_again(agent);
        }
        agent.rest(BREATH);
        let is_hopeless =
            loss.turns(activity.began + activity.ended, activity.lost, opened.elapsed());
        let stopping = agent.is_stopping() || agent.is_throttled() || is_hopeless;
        if stopping || began.elapsed() >= agent.settings().telemetry {
            let report = monitor.drain(now())?;
            report_paths(agent, report, (since, now()));
            (since, began) = (now(), Instant::now());
        }
        if is_hopeless {
            let why = "the kernel loses most of its messages about connections".to_owned();
            return Err(Failure { why, rest: AFTER_LOSSES });
        }
        if stopping {
            return Ok(());
        }
    }
}

/// If connection tracking lost open connections, it is informed of them again, before packets of the side
/// that did not open them are denied for long.
fn told_again(agent: &Agent) {
    match align_connection_tracking() {
        Ok(aligned) if aligned.new + aligned.turned > 0 => agent.log.info(&format!(
            "connection tracking lost open connections; {} were added to it again",
            aligned.new + aligned.turned
        )),
        Ok(_) => {}
        Err(error) => agent.log.warn(&chain(&error)),
    }
}

/// Open connections that connection tracking lost, and when it was last informed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct LostConnections {
    waits: bool,
    told: Option<Duration>,
}

/// The least time between two updates, for programs that remove connections one by one.
const TOLD_AGAIN: Duration = Duration::from_secs(2);

impl LostConnections {
    /// Whether connection tracking is to be informed now; `now` is on any monotonic clock.
    fn is_due(&mut self, lost: bool, now: Duration) -> bool {
        self.waits |= lost;
        let is_due =
            self.waits && self.told.is_none_or(|told| now.saturating_sub(told) >= TOLD_AGAIN);
        if is_due {
            *self = Self { waits: false, told: Some(now) };
        }
        is_due
    }
}

/// Whether so many messages are lost for so long that the recorder is more complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct MessageLoss {
    received: u64,
    lost: u64,
    looked: Duration,
    /// The number of consecutive checks with more messages lost than received.
    bad: u32,
}

/// The interval of checks.
const LOOK: Duration = Duration::from_secs(60);
/// The number of consecutive checks after which the losses count as permanent.
const PERSISTENT: u32 = 3;

impl MessageLoss {
    /// Adds a read at `now`, on any monotonic clock; `true` if the losses are permanent.
    fn turns(&mut self, received: u64, lost: u64, now: Duration) -> bool {
        self.received += received;
        self.lost += lost;
        if now.saturating_sub(self.looked) < LOOK {
            return false;
        }
        let bad = if self.lost > self.received { self.bad + 1 } else { 0 };
        *self = Self { looked: now, bad, ..Self::default() };
        bad >= PERSISTENT
    }
}

/// Splits paths into several reports, of which the spool delivers the smallest first.
fn report_paths(agent: &Agent, report: Report, (since, until): (u64, u64)) {
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

/// Forwarded traffic does not count as this host's.
fn active(path: Path) -> Option<ActivePath> {
    let direction = match path.key.way {
        ConnectionDirection::Inbound => xshield_enforce::Direction::Inbound,
        ConnectionDirection::Outbound => xshield_enforce::Direction::Outbound,
        ConnectionDirection::Forwarded => return None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_connections_are_reported_at_once_and_then_every_two_seconds() {
        let mut lost_connections = LostConnections::default();
        let looks = [
            (false, 0, false),
            (true, 500, true),
            (false, 600, false),
            (true, 700, false),
            (true, 2_400, false),
            (false, 2_500, true),
            (false, 9_000, false),
            (true, 9_100, true),
        ];
        for (lost, at, due) in looks {
            assert_eq!(lost_connections.is_due(lost, Duration::from_millis(at)), due, "at {at}");
        }
    }

    #[test]
    fn continued_message_loss_counts_as_permanent() {
        let minute = |at: u64| Duration::from_secs(60 * at);
        let table: [(&[(u64, u64)], bool); 5] = [
            (&[(1, 9), (1, 9), (1, 9)], true),
            (&[(1, 9), (1, 9)], false),
            (&[(1, 9), (9, 1), (1, 9), (1, 9)], false),
            (&[(0, 0), (0, 0), (0, 0), (0, 0)], false),
            (&[(9, 1), (0, 1), (5, 6), (0, 2)], true),
        ];
        for (looks, hopeless) in table {
            let mut loss = MessageLoss::default();
            let mut last = false;
            for (at, (received, lost)) in (1..).zip(looks) {
                // Between two checks nothing is decided.
                let before = minute(at) - Duration::from_secs(1);
                assert!(!loss.turns(0, 0, before.saturating_sub(Duration::from_secs(30))));
                last = loss.turns(*received, *lost, minute(at));
            }
            assert_eq!(last, hopeless, "{looks:?}");
        }
    }
}
