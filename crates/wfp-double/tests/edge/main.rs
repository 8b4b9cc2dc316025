//! `wfp::windows` against the double of the filter engine: runs under wine, with `fwpuclnt.dll` beside it.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod contract;
mod double;
mod faults;
mod killed;
mod list;
mod others;
mod read_back;
