//! An accepted prefix is written and parsed again as the same prefix; so are hosts of URLs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::feed::unix_seconds;
use xshield_threat::text::{address, host_of_url, prefix, range, without_port};

fuzz_target!(|bytes: &[u8]| {
    let _ = without_port(bytes);
    let _ = str::from_utf8(bytes).map(unix_seconds);
    if let Ok(Some(host)) = host_of_url(bytes) {
        assert_eq!(address(host.to_string().as_bytes()), Ok(host));
    }
    if let Ok(read) = prefix(bytes) {
        assert_eq!(prefix(read.to_string().as_bytes()), Ok(read));
    }
    if let Ok(read) = range(bytes) {
        let mut prefixes = 0;
        read.each_prefix(|_| prefixes += 1);
        assert!((1..=254).contains(&prefixes));
    }
});
