//! The resident agent: the cycle at every heartbeat, and at once when something is pending.
//!
//! Read [`worker`] first, then [`listen`] and [`schedule`]. What is enforced and how is the cycle's
//! affair (`xshield_enforce::cycle`); here is only when it runs and who may ask.

pub mod addresses;
pub mod agent;
pub mod config_file;
pub mod control;
pub mod guard;
pub mod held;
pub mod listen;
pub mod live;
pub mod log;
mod metadata;
pub mod observe;
pub mod paths;
pub mod register;
pub mod restart;
pub mod schedule;
pub mod service;
pub mod show;
pub mod supervisor;
pub mod systemd;
pub mod worker;
pub mod yaml;

use xshield_enforce::{Program, ProgramKind};

/// Who this is to the platform.
fn this_program() -> Program {
    Program { kind: ProgramKind::Agent, version: env!("CARGO_PKG_VERSION").to_owned() }
}
