//! The enforcement cycle, and what belongs to it: state on disk, boot unit, status, removal.
//!
//! Read [`core`] first: its `cycle` is a run on one page, and its `policy` decides about the ruleset, without
//! IO. [`cycle`] carries it out on a real host.

mod agent_events;
pub mod boot_unit;
mod client;
pub mod commands;
pub mod config;
mod connect;
mod connection_tracking;
pub mod core;
pub mod cycle;
pub mod delivery;
pub mod diagnostics;
pub mod discover;
mod endpoints;
mod exchange;
pub mod explain;
mod facts;
mod flow_programs;
mod forwarded;
mod ineffective;
mod observed;
pub mod options;
pub mod outcome;
pub mod paths;
pub mod platform_addresses;
pub mod preflight;
pub mod problems;
pub mod progress;
pub mod prove;
mod reached;
mod reports;
pub mod resident;
mod resolve;
mod rollback;
pub mod routes;
mod run;
mod shell;
pub mod state;
pub mod step;
mod succession;
pub mod summary;
pub mod surroundings;

pub mod threat;
mod time_answers;
mod time_servers;
mod trace;
pub mod trust;
mod verb_error;
pub mod verbs;

pub use config::Config;
pub use connection_tracking::{AlignError, align_connection_tracking};
pub use cycle::{Cycle, CycleError};
pub use options::RunOptions;
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
