//! What is read as a prefix is written and read again as the same prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::text::{prefix, range, without_port};

fuzz_target!(|bytes: &[u8]| {
    let _ = without_port(bytes);
    if let Ok(read) = prefix(bytes) {
        assert_eq!(prefix(read.to_string().as_bytes()), Ok(read));
    }
    if let Ok(read) = range(bytes) {
        let mut prefixes = 0;
        read.each_prefix(|_| prefixes += 1);
        assert!((1..=254).contains(&prefixes));
    }
});
