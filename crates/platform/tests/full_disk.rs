//! The real program on a disk that becomes full and has space again.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::sync::Arc;

use support::reports::event;
use support::{TestHost, TestPlatform, eventually, report};
use xshield_wire::message::{EventReport, ReportBody};

/// Large enough for a database, and soon full.
const DISK: &str = "size=6m,mode=0700";

#[test]
fn writes_resume_after_a_full_disk_without_a_restart() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (platform, _child) = TestPlatform::start_process_on(dir, DISK);
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let readiness = || platform.raw("GET", "/readyz", &[], b"");
    assert_eq!(readiness().status, 200);

    let filler = platform.data_dir().join("filler");
    let full = fs::write(&filler, vec![0; 32 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let tell = |from: u16| {
        let events = (from..from + 500).map(|port| event(port, 1)).collect();
        host.report(&platform, &report(ReportBody::Events(EventReport { events, lost: 0 }))).status
    };
    let mut failures = 0;
    for round in 0..60_u16 {
        failures += u16::from(tell(round * 500) != 200);
    }
    assert!(failures >= 20, "{failures}: the disk is full");
    let told = eventually("it is not ready", || {
        let answer = readiness();
        (answer.status == 503).then_some(answer)
    });
    assert!(told.json()["detail"].as_str().unwrap().contains("disk is full"), "{}", told.json());
    assert!(told.header("retry-after").is_some());

    fs::remove_file(&filler).unwrap();
    eventually("it is ready", || (readiness().status == 200).then_some(()));
    for round in 0..40 {
        assert_eq!(tell(0), 200, "{round}");
    }
    host.check_in(&platform);
    platform.login("admin", support::PASSWORD);
    let jobs = platform.get("/api/v1/health")["jobs"].clone();
    let running = |job: &serde_json::Value| job["standing"] == "running";
    assert!(jobs.as_array().unwrap().iter().all(running), "{jobs}");
}
