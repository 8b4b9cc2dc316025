//! Any log line results in a line of ours or nothing, and lines add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::log_line::{LogLine, flows};

fuzz_target!(|text: &str| {
    let lines: Vec<_> = text.lines().filter_map(LogLine::parse).map(|line| (None, line)).collect();
    let count = lines.len() as u64;
    let packets: u64 = flows(lines, 1).iter().map(|flow| flow.packets).sum();
    assert_eq!(packets, count);
});
