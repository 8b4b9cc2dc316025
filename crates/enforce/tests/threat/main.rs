//! The threat list's part of the cycle against a platform that may lie, each test in a network namespace
//! of its own. `nft` reads independently.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod faults;
mod host;
mod order;
mod platform;
mod rulesets;
mod told;
