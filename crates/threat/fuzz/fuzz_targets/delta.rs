//! A delta applied to its base is its target; what is read as a delta is the one encoding of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xshield_threat::codec::{Change, Limits, delta};
use xshield_threat::{Net, Prefix, ThreatSet};

fuzz_target!(|input: (&[u8], Vec<(u32, u8)>, Vec<(u32, u8)>)| {
    let (damage, a, b) = input;
    let set = |entries: Vec<(u32, u8)>| -> ThreatSet {
        entries.into_iter().map(|(at, len)| Prefix::V4(Net::around(at, len % 33))).collect()
    };
    let (a, b) = (set(a), set(b));
    let limits = Limits { entries: 10_000 };
    let apply = |bytes: &[u8]| {
        Change::read(bytes, a.iter().map(Ok), limits).and_then(|change| change.apply(&a))
    };
    let mut bytes = delta(&a, &b);
    assert_eq!(apply(&bytes).ok(), Some(b));
    for (byte, damage) in bytes.iter_mut().skip(69).zip(damage) {
        *byte ^= damage;
    }
    if let Ok(result) = apply(&bytes) {
        assert_eq!(delta(&a, &result), bytes);
    }
});
