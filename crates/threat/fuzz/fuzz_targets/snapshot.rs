//! An accepted snapshot is the only encoding of its content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::codec::{Limits, read_snapshot, snapshot};
use xshield_threat::{Net, Prefix, ThreatSet};

fuzz_target!(|input: (&[u8], Vec<(u32, u8)>, Vec<(u128, u8)>)| {
    let (bytes, v4, v6) = input;
    let limits = Limits { entries: 10_000 };
    if let Ok(set) = read_snapshot(bytes, limits) {
        assert_eq!(snapshot(&set), bytes);
    }
    let v4 = v4.into_iter().map(|(address, len)| Prefix::V4(Net::around(address, len % 33)));
    let v6 = v6.into_iter().map(|(address, len)| Prefix::V6(Net::around(address, len % 129)));
    let set: ThreatSet = v4.chain(v6).collect();
    let again = read_snapshot(&snapshot(&set)[..], Limits::default());
    assert_eq!(again.ok(), Some(set));
});
