//! The enforcement cycle with its state on disk, boot unit, status and removal.
//!
//! Read [`core`] first: its `cycle` is a run on one page, and its `policy` decides about the ruleset, without
//! IO. `linux` implements it on a Linux host; all other modules build for every system.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "the modules that use these items exist only for Linux so far"
    )
)]

mod agent_events;
mod client;
pub mod commands;
pub mod config;
mod connect;
pub mod core;
pub mod delivery;
pub mod diagnostics;
pub mod discover;
mod endpoints;
mod exchange;
mod flow_programs;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod options;
pub mod outcome;
pub mod paths;
pub mod platform_addresses;
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
pub mod state;
pub mod step;
mod succession;
pub mod summary;
pub mod surroundings;

pub mod threat;
mod time_answers;
mod trace;
pub mod trust;
#[cfg(any(windows, test))]
mod wfp_kernel;

pub use config::Config;
#[cfg(target_os = "linux")]
pub use linux::connection_tracking::{AlignError, align_connection_tracking};
#[cfg(target_os = "linux")]
pub use linux::cycle::{Cycle, CycleError};
#[cfg(target_os = "linux")]
pub use linux::{boot_unit, cycle, explain, preflight, verbs};
pub use options::RunOptions;
pub use outcome::{Outcome, RunStatus};
pub use surroundings::{Downloaded, Surroundings};

// Types that a program which runs the cycle passes in and shows.
#[cfg(target_os = "linux")]
pub use xshield_firewall::LiveCounters;
pub use xshield_firewall::{FlowCount, FlowKind, LiveGroup};
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
