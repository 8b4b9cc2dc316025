//! The enforcement cycle, and what belongs to it: state on disk, boot unit, status, removal.
//!
//! Read [`cycle`] first: `Run::enforce` is the whole of it on one page.

mod behind;
pub mod boot_unit;
mod client;
pub mod closing;
pub mod commands;
pub mod config;
pub mod cycle;
mod delivery;
pub mod diagnostics;
pub mod discover;
mod empty;
pub mod errand;
mod evidence;
pub mod explain;
pub mod followed;
mod forwarded;
mod gather;
mod happenings;
pub mod kernel;
mod link;
mod older;
pub mod outcome;
pub mod paths;
pub mod preflight;
pub mod prove;
mod reports;
pub mod resident;
mod resolve;
pub mod routes;
pub mod state;
mod step;
pub mod surroundings;
pub mod threat;
mod time;
mod trace;
pub mod verbs;
mod ways;
pub mod whereabouts;

pub use config::Config;
pub use cycle::{Cycle, CycleError};
pub use errand::Errand;
pub use older::{AlignError, align_connection_tracking};
pub use outcome::{Outcome, RunStatus};
pub use surroundings::{Downloaded, Surroundings};

// What a program around the cycle passes in and shows.
pub use xshield_firewall::{FlowCount, FlowKind, LiveCounters, LiveGroup};
pub use xshield_host::{files, lock};
pub use xshield_policy::Direction;
pub use xshield_transport::{
    EndpointError, Handover, Line, PlatformUrl, ProxyList, ProxyListError, ProxyText, Route,
};
pub use xshield_wire::control::{HostConfiguration, Usage};
pub use xshield_wire::foreign;
pub use xshield_wire::keys::KeyError;
pub use xshield_wire::message::{InForce, Problem, Program, ProgramKind, Report, ReportBody};
pub use xshield_wire::telemetry;
pub use xshield_wire::{DeploymentKey, EnforcementKey, PolicyPublicKey};
