//! The threat part of the cycle with a platform that may send anything, each test in its own network
//! namespace. `nft` verifies independently.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod faults;
mod host;
mod order;
mod platform;
mod reported;
mod rulesets;
