//! The plan in a real kernel, each test in its own network namespaces. `nft` verifies independently.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod capabilities;
#[allow(dead_code, reason = "packets are for the plan's own test")]
#[path = "../common/mod.rs"]
mod common;
mod concurrent_changes;
mod earlier_connections;
mod failsafe;
mod forwarded;
mod lifecycle;
mod live;
mod packets;
mod policies;
mod protocols;
mod stances;
mod untracked;
mod world;
