//! Any configuration of a time program can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::linux::time_servers::{
    Timesyncd, parse_chrony, parse_netif, parse_ntpd, parse_timesyncd,
};

fuzz_target!(|text: &str| {
    for said in [parse_chrony(text), parse_ntpd(text)] {
        assert!(said.servers.len() <= text.lines().count());
    }
    let _ = parse_timesyncd(text, Timesyncd::default());
    let _ = parse_netif(text);
});
