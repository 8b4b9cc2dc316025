//! Any line of Windows Firewall's log is read or refused, and the next line can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::windows_logs::FirewallLog;

fuzz_target!(|text: &str| {
    let mut log = FirewallLog::default();
    for line in text.lines() {
        let _read = log.line(line);
    }
    assert_eq!(log.line("#Fields: action"), Ok(None));
});
