//! Hosts and platform communicate, and attackers interfere.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod bounds;
mod envelopes;
mod fixtures;
mod keys;
mod messages;
mod sessions;
mod signatures;
mod telemetry;
mod trust;
