//! Communication paths from the flow recorder, for hosts where connection tracking can't provide them: flows
//! that passed since the last run, with their programs as far as they still run.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use xshield_host::operating_system::OperatingSystem;
use xshield_host::program::Program;
use xshield_wire::message::{EventKind, FirewallEvent, ReportBody};
use xshield_wire::telemetry::{ActivePath, PathReport, PathSource};

use xshield_host::program::Place;

use crate::flow_programs::FlowPrograms;
use crate::reports::Interval;

/// The most paths in one report.
const PER_REPORT: usize = 2_000;

/// Whether a run reports the paths in the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RecordedPaths {
    /// They are reported by other means, or not at all.
    #[default]
    Left,
    /// They are reported once, with the counts from which they are made.
    Told,
}

/// Reports the paths of recorded flows. A denied flow is no path; a would-be-denied flow is one, since it
/// passed.
pub(crate) fn reports(
    os: &dyn OperatingSystem,
    events: &[FirewallEvent],
    interval: Interval,
) -> Vec<ReportBody> {
    let passed: Vec<&FirewallEvent> =
        events.iter().filter(|event| event.kind != EventKind::Denied).collect();
    let behind = FlowPrograms::of(os, passed.iter().map(|event| place(event)));
    in_reports(&paths(&passed, |place| behind.get(&place)), interval, PathSource::Recorder)
}

/// Paths in reports of limited size.
pub(crate) fn in_reports(
    paths: &[ActivePath],
    Interval { since, until }: Interval,
    from: PathSource,
) -> Vec<ReportBody> {
    let report = |paths: &[ActivePath]| {
        let paths = paths.to_vec();
        ReportBody::Paths(PathReport { since, until, from, paths, lost: 0 })
    };
    paths.chunks(PER_REPORT).map(report).collect()
}

/// One path for each pair of addresses, port and program. A new connection is counted by its first packet,
/// and so are its bytes.
fn paths<'a>(
    passed: &[&FirewallEvent],
    program: impl Fn(Place) -> Option<&'a Program>,
) -> Vec<ActivePath> {
    let mut paths: BTreeMap<_, ActivePath> = BTreeMap::new();
    for event in passed {
        let FirewallEvent { direction, source, destination, protocol, port, .. } = **event;
        let key = (direction, source, destination, protocol, port);
        let path = paths.entry(key).or_insert_with(|| {
            let program = program(place(event));
            let user = program.and_then(|program| {
                program.user.clone().or_else(|| program.uid.map(|uid| uid.to_string()))
            });
            let process = program.and_then(|it| it.path.clone().or_else(|| it.name.clone()));
            ActivePath {
                direction,
                source,
                destination,
                protocol,
                port,
                process,
                user,
                service: program.and_then(|program| program.service.clone()),
                connections: 0,
                bytes_forth: 0,
                bytes_back: 0,
                first_seen: event.first_seen,
                last_seen: event.last_seen,
            }
        });
        path.first_seen = path.first_seen.min(event.first_seen);
        path.last_seen = path.last_seen.max(event.last_seen);
        path.connections = path.connections.saturating_add(event.packets);
        path.bytes_forth = path.bytes_forth.saturating_add(event.bytes);
    }
    paths.into_values().collect()
}

fn place(event: &FirewallEvent) -> Place {
    let end: IpAddr = event.destination;
    (event.direction, event.protocol, SocketAddr::new(end, event.port))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::linux::this_system;
    use xshield_policy::{Direction, Protocol};
    use xshield_wire::message::EventSource;

    const INTERVAL: Interval = Interval { since: 100, until: 160 };

    fn event(kind: EventKind, direction: Direction, port: u16, packets: u64) -> FirewallEvent {
        FirewallEvent {
            kind,
            direction,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: Protocol::Tcp,
            port,
            rule: None,
            packets,
            bytes: packets * 60,
            first_seen: 100,
            last_seen: 160,
            from: EventSource::Recorder,
            process: None,
        }
    }

    #[test]
    fn accepted_flows_are_paths_and_denied_ones_are_not() {
        use Direction::{Inbound, Outbound};
        use EventKind::{Accepted, Denied, WouldDeny};
        let events = [
            event(Accepted, Inbound, 22, 3),
            event(WouldDeny, Inbound, 22, 2),
            event(Denied, Inbound, 23, 9),
            event(Accepted, Outbound, 22, 1),
        ];
        let reports = reports(&this_system(), &events, INTERVAL);
        let [ReportBody::Paths(report)] = reports.as_slice() else { panic!("{reports:?}") };
        assert_eq!((report.from, report.lost), (PathSource::Recorder, 0));
        assert_eq!((report.since, report.until), (100, 160));
        let told: Vec<_> = report
            .paths
            .iter()
            .map(|path| (path.direction, path.port, path.connections, path.bytes_forth))
            .collect();
        assert_eq!(told, [(Inbound, 22, 5, 300), (Outbound, 22, 1, 60)]);
    }

    #[test]
    fn a_path_has_the_program_of_its_local_end() {
        let daemon = Program {
            name: Some("sshd".into()),
            path: Some("/usr/sbin/sshd".into()),
            uid: Some(0),
            user: None,
            service: Some("ssh.service".into()),
        };
        let events = [event(EventKind::Accepted, Direction::Inbound, 22, 1)];
        let passed: Vec<&FirewallEvent> = events.iter().collect();
        let here = (Direction::Inbound, Protocol::Tcp, "10.0.0.2:22".parse().unwrap());
        let told = paths(&passed, |place| (place == here).then_some(&daemon));
        let [path] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(path.process.as_deref(), Some("/usr/sbin/sshd"));
        assert_eq!(
            (path.user.as_deref(), path.service.as_deref()),
            (Some("0"), Some("ssh.service"))
        );
    }

    #[test]
    fn no_flows_make_no_report_and_many_make_several() {
        assert!(reports(&this_system(), &[], INTERVAL).is_empty());
        let events: Vec<FirewallEvent> = (0..4_001_u16)
            .map(|port| event(EventKind::Accepted, Direction::Outbound, port, 1))
            .collect();
        let passed: Vec<&FirewallEvent> = events.iter().collect();
        assert_eq!(paths(&passed, |_| None).len(), 4_001);
        assert_eq!(reports(&this_system(), &events, INTERVAL).len(), 3);
    }
}
