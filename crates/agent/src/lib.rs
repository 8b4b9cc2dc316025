//! The resident agent: the cycle at every heartbeat, and at once when something is pending.
//!
//! Read [`worker`] first, then [`listen`] and [`schedule`]. The cycle itself is `xshield_enforce::cycle`;
//! this crate decides only when it runs, and who may query it. `os` is the module of the system for which the
//! crate is built, `linux` or `windows`; all other modules build for both.

pub mod agent;
pub mod config_file;
pub mod control;
pub mod cycles;
pub mod health;
pub mod held;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod listen;
pub mod live;
pub mod log;
pub mod observe;
pub mod queue;
pub mod register;
pub mod restart;
pub mod schedule;
pub mod service;
pub mod show;
pub mod started_by;
pub mod this_program;
mod threads;
#[cfg(windows)]
pub mod windows;
pub mod worker;
pub mod yaml;

#[cfg(target_os = "linux")]
pub use linux as os;
#[cfg(windows)]
pub use windows as os;
