//! Complete runs in a simulated world: every fault at every call, every answer of the platform.

mod fake;
mod faults;
mod sequences;
