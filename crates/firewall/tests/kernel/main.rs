//! The plan in a real kernel, each test in network namespaces of its own. `nft` reads independently.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod lifecycle;
mod packets;
mod policies;
mod world;
