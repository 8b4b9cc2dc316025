//! The enforcement cycle with its state on disk, boot unit, status and removal.
//!
//! Read [`core`] first: its `cycle` is a run on one page, and its `policy` decides about the ruleset, without
//! IO. `cycle`, `parts`, `shell` and `verbs` carry it out, with what `os` has: the module of the system for
//! which the crate is built, `linux` or `windows`. All other modules build for every system.
#![cfg_attr(
    not(target_os = "linux"),
    allow(
        dead_code,
        unused_imports,
        reason = "the modules that use these items exist only for Linux so far"
    )
)]

mod agent_events;
#[cfg(any(windows, test))]
mod allowed_but_dropped;
#[cfg(any(windows, test))]
mod audit_decision;
pub mod auditing;
mod client;
pub mod commands;
pub mod config;
mod connect;
pub mod core;
pub mod cycle;
mod cycle_error;
pub mod delivery;
pub mod diagnostics;
pub mod discover;
mod ending;
mod endpoints;
pub mod environment;
mod event_reports;
mod exchange;
pub mod explain;
mod facts;
mod flow_programs;
mod ineffective;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod options;
pub mod outcome;
mod parts;
pub mod paths;
pub mod places;
pub mod platform_addresses;
pub mod problems;
mod programmed_report;
pub mod progress;
pub mod prove;
mod reached;
mod recognised;
mod reports;
pub mod resident;
mod resolve;
mod rollback;
pub mod routes;
mod run;
#[cfg(any(windows, test))]
mod security_events;
mod shell;
pub mod state;
pub mod step;
mod succession;
pub mod summary;

pub mod threat;
mod time_answers;
mod time_servers;
mod trace;
pub mod trust;
mod verb_error;
pub mod verbs;
#[cfg(any(windows, test))]
mod wfp_kernel;
#[cfg(windows)]
pub mod windows;
#[cfg(any(windows, test))]
mod windows_programs;

#[cfg(target_os = "linux")]
use linux as os;
#[cfg(windows)]
use windows as os;

pub use config::Config;
pub use cycle::Cycle;
pub use cycle_error::CycleError;
pub use environment::{Downloaded, RunEnvironment};
#[cfg(target_os = "linux")]
pub use linux::boot_unit;
#[cfg(target_os = "linux")]
pub use linux::connection_tracking::{AlignError, align_connection_tracking};
pub use options::RunOptions;
pub use os::preflight;
pub use outcome::{RunOutcome, RunStatus};

// Types that a program which runs the cycle passes in and shows.
#[cfg(target_os = "linux")]
pub use xshield_firewall::LiveCounters;
pub use xshield_firewall::{FlowCount, FlowKind, LiveGroup};
pub use xshield_host::{files, lock};
pub use xshield_policy::Direction;
pub use xshield_transport::{
    CancelHandle, EndpointError, Handover, PlatformUrl, ProxyList, ProxyListError, ProxyText, Route,
};
pub use xshield_wire::control::{HostConfiguration, Usage};
pub use xshield_wire::foreign;
pub use xshield_wire::keys::KeyError;
pub use xshield_wire::message::{InForce, Problem, Program, ProgramKind, Report, ReportBody};
pub use xshield_wire::telemetry;
pub use xshield_wire::{DeploymentKey, EnforcementKey, PolicyPublicKey};
