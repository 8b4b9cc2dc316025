//! The threat list in a real kernel, each test in its own network namespaces. `nft` verifies independently.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod concurrent_changes;
mod exact;
mod faults;
mod forward;
mod lists;
mod live;
mod packets;
mod table;
#[allow(dead_code, reason = "shared with the policy's tests")]
#[path = "../kernel/world.rs"]
mod world;
