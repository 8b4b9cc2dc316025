//! Policy in the model of the Windows Filtering Platform.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod arbitration;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the tests of nftables use the rest")]
mod common;
mod firewall;
mod others;
mod plans;
mod read_back;
mod threat_list;
mod trials;
mod world;
