//! The resident agent: the cycle at every heartbeat, and at once when something is pending.
//!
//! Read [`worker`] first, then [`listen`] and [`schedule`]. The cycle itself is `xshield_enforce::cycle`;
//! this crate decides only when it runs, and who may query it.

pub mod addresses;
pub mod agent;
pub mod config_file;
pub mod control;
pub mod cycles;
pub mod guard;
pub mod health;
pub mod held;
pub mod listen;
pub mod live;
pub mod log;
mod metadata;
pub mod observe;
pub mod paths;
pub mod queue;
pub mod register;
pub mod restart;
pub mod schedule;
pub mod service;
pub mod show;
pub mod started_by;
pub mod supervisor;
pub mod systemd;
pub mod this_program;
pub mod worker;
pub mod yaml;
