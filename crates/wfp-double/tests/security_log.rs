//! The Security log as host programs read it: runs under wine, with `wevtapi.dll` of this crate beside it.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "chooses the directory of the double")]

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tempfile::TempDir;
use xshield_host::windows::security_log::ThisSecurityLog;
use xshield_host::windows_logs::{Batch, Ends, Event, Gap, OwnAddresses, Position, follow};
use xshield_wfp_double::DIRECTORY;
use xshield_wfp_double::security_log::SecurityLog;

/// The environment belongs to all tests of this program.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

struct Log {
    place: TempDir,
    _environment: MutexGuard<'static, ()>,
}

impl Log {
    fn holding(oldest: u64, records: Vec<String>) -> Self {
        let environment = ENVIRONMENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let place = tempfile::tempdir().unwrap();
        // SAFETY: no other thread reads the environment while this test holds the lock.
        unsafe { std::env::set_var(DIRECTORY, place.path()) };
        let log = Self { place, _environment: environment };
        log.becomes(oldest, records);
        log
    }

    fn becomes(&self, oldest: u64, records: Vec<String>) {
        SecurityLog { oldest, records }.save(self.path()).unwrap();
    }

    fn path(&self) -> &Path {
        self.place.path()
    }
}

/// A denied connection from this port of a peer; `filler` makes the record long.
fn denied(port: u16, filler: usize) -> String {
    let name = "x".repeat(filler);
    format!(
        "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>\
         <Provider Name='Microsoft-Windows-Security-Auditing'/><EventID>5157</EventID>\
         <TimeCreated SystemTime='2026-01-02T12:00:00.1234567Z'/></System><EventData>\
         <Data Name='ProcessID'>4</Data><Data Name='Application'>\\device\\a\\{name}.exe</Data>\
         <Data Name='Direction'>%%14592</Data><Data Name='SourceAddress'>10.0.0.5</Data>\
         <Data Name='SourcePort'>{port}</Data><Data Name='DestAddress'>10.0.0.9</Data>\
         <Data Name='DestPort'>445</Data><Data Name='Protocol'>6</Data>\
         <Data Name='FilterRTID'>70001</Data></EventData></Event>"
    )
}

/// A sign-in: of no interest here.
fn other() -> String {
    "<Event><System><EventID>4624</EventID></System><EventData/></Event>".to_owned()
}

fn read(position: Option<&Position>, most: usize) -> Batch {
    let own: OwnAddresses = ["10.0.0.9".parse().unwrap()].into_iter().collect();
    follow(&mut ThisSecurityLog, &own, position, most).unwrap()
}

/// The peers' ports.
fn ports(batch: &Batch) -> Vec<u16> {
    let port = |event: &Event| match event {
        Event::Flow(flow) => match flow.ends {
            Ends::Peer { remote, .. } => remote.1,
            Ends::ThisHost | Ends::Unplaced { .. } => 0,
        },
        _ => 0,
    };
    batch.events.iter().map(port).collect()
}

#[test]
fn what_is_written_after_the_first_run_is_read_once() {
    let log = Log::holding(1, vec![denied(1, 4), other(), denied(2, 4)]);
    let first = read(None, 100);
    assert_eq!((ports(&first), first.position.record), (vec![], 3));
    let records =
        vec![denied(1, 4), other(), denied(2, 4), other(), denied(3, 4), denied(4, 9_000)];
    log.becomes(1, records.clone());
    let second = read(Some(&first.position), 100);
    assert_eq!(ports(&second), [3, 4]);
    assert_eq!((second.gap, second.unreadable, second.is_complete), (Gap::None, 0, true));
    assert_eq!(second.position.record, 6);
    let third = read(Some(&second.position), 100);
    assert_eq!((ports(&third), third.position.record), (vec![], 6));
    // The bookmark leads on.
    log.becomes(1, [records, vec![denied(5, 4)]].concat());
    assert_eq!(ports(&read(Some(&third.position), 100)), [5]);
}

#[test]
fn many_events_are_read_in_batches() {
    let records = (1..=300).map(|port| denied(port, 4)).collect();
    let _log = Log::holding(1, records);
    let (mut position, mut found) = (Position::default(), Vec::new());
    loop {
        let batch = read(Some(&position), 130);
        found.extend(ports(&batch));
        position = batch.position;
        if batch.is_complete {
            break;
        }
    }
    assert_eq!(found, (1..=300).collect::<Vec<u16>>());
}

#[test]
fn overwritten_and_cleared_logs_are_reported() {
    let log = Log::holding(1, (1..=10).map(|port| denied(port, 4)).collect());
    let read_to_5 = read(Some(&Position::default()), 5).position;
    assert_eq!(read_to_5.record, 5);
    log.becomes(8, (8..=10).map(|port| denied(port, 4)).collect());
    let overwritten = read(Some(&read_to_5), 100);
    assert_eq!((ports(&overwritten), overwritten.gap), (vec![8, 9, 10], Gap::Overwritten(2)));
    log.becomes(1, vec![denied(77, 4)]);
    let cleared = read(Some(&read_to_5), 100);
    assert_eq!((ports(&cleared), cleared.gap), (vec![77], Gap::Cleared));
    log.becomes(1, Vec::new());
    let empty = read(Some(&cleared.position), 100);
    assert_eq!((ports(&empty), empty.gap), (vec![], Gap::Cleared));
}
