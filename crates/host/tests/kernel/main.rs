//! Live events against a real kernel: each test in its own network namespace.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod addresses;
mod conntrack;
mod forwarding;
mod nflog;
mod watch;
mod world;
