//! Logs that are written and read.

use xshield_host::windows::application_log::{ApplicationLog, Severity};

#[test]
fn events_are_written_to_the_application_log() {
    let log = ApplicationLog::open().unwrap();
    for severity in [Severity::Information, Severity::Warning, Severity::Error] {
        log.write(severity, "a test of Xshield \u{1f980}\0, %1 and %%14592").unwrap();
    }
    log.write(Severity::Information, &"x".repeat(100_000)).unwrap();
    // The second time, the source is registered.
    ApplicationLog::open().unwrap();
}
