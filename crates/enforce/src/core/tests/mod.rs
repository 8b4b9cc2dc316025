//! Whole runs against a made-up world: every fault at every call, every answer of the platform.

mod fake;
mod faults;
mod sequences;
