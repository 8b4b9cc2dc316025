//! A platform on loopback, a client of its admin API, and hosts that use its host API.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod client;
mod host;
pub mod matches;
pub mod plain;
mod platform;
pub mod receivers;
pub mod reports;
pub mod slow_platform;

use std::time::{Duration, Instant};

pub use client::{RawAnswer, TestClient};
pub use host::{TestHost, report};
pub use platform::{KilledOnDrop, TestPlatform, settings};

pub const PASSWORD: &str = "correct horse battery";

pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

pub fn random<const N: usize>() -> [u8; N] {
    xshield_operations::ids::random().unwrap()
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(20), look).unwrap_or_else(|| panic!("{what} did not happen"))
}

/// Waits for so long at most until `look` finds something.
pub fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
