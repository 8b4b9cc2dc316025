//! Tests of the crate's public interface: feeds to lists to bytes and back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod access_log;
mod codec;
mod compile;
mod documents;
mod feeds;
mod flat;
mod guard;
mod keep;
mod listing;
mod samples;

use proptest::prelude::*;
use xshield_threat::{Net, Prefix, ThreatSet};

/// The set of these addresses, prefixes and ranges.
fn set(text: &str) -> ThreatSet {
    let ranges = text.split_whitespace().map(|part| xshield_threat::text::range(part.as_bytes()));
    ranges.map(|range| range.unwrap()).collect()
}

/// Sets with clusters, so that neighbours are joined and prefixes contain each other.
fn sets() -> impl Strategy<Value = ThreatSet> {
    let v4 = (any::<u32>(), 0u32..40, 0u8..=32).prop_map(|(wide, near, len)| {
        let address = if len % 3 == 0 { wide } else { 0x0a00_0000 + near };
        let len = if len % 5 == 0 { len } else { 28 + len % 5 };
        Prefix::V4(Net::around(address, len))
    });
    let v6 = (any::<u128>(), 0u128..40, 0u8..=128).prop_map(|(wide, near, len)| {
        let address = if len % 3 == 0 { wide } else { near };
        let len = if len % 5 == 0 { len } else { 124 + len % 5 };
        Prefix::V6(Net::around(address, len))
    });
    let mixed = prop_oneof![4 => v4, 1 => v6];
    prop::collection::vec(mixed, 0..60).prop_map(|prefixes| prefixes.into_iter().collect())
}
