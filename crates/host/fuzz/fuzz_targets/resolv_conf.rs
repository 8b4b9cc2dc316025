//! Any resolv.conf and hosts file can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_host::resolver::{ResolvConf, parse_hosts};

fuzz_target!(|text: &str| {
    let conf = ResolvConf::parse(text);
    assert!(conf.ndots <= 15);
    assert!(conf.scoped.iter().all(|server| conf.servers.contains(server)));
    let _ = parse_hosts(text);
});
