//! `wfp::windows` against the double of the filter engine: runs under wine, with `fwpuclnt.dll` beside it.
#![cfg(windows)]

mod contract;
mod double;
mod faults;
mod killed;
mod others;
mod read_back;
