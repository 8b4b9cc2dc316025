//! The enforcement cycle, and what belongs to it: state on disk, boot unit, status, removal.
//!
//! Read [`cycle`] first: `Run::enforce` is the whole of it on one page.

pub mod boot_unit;
mod client;
pub mod config;
pub mod cycle;
mod delivery;
pub mod errand;
mod gather;
mod happenings;
pub mod kernel;
pub mod outcome;
pub mod preflight;
mod reports;
mod resolve;
pub mod routes;
pub mod state;
mod step;
pub mod surroundings;
pub mod threat;
pub mod verbs;

pub use config::Config;
pub use cycle::{Cycle, CycleError};
pub use errand::Errand;
pub use outcome::{Outcome, RunStatus};
pub use surroundings::Surroundings;

// What a program around the cycle passes in and shows.
pub use xshield_firewall::{FlowCount, FlowKind};
pub use xshield_policy::Packet;
pub use xshield_wire::message::{Problem, Program, ProgramKind};
