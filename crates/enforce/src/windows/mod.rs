//! A Windows host: the Windows Filtering Platform, services, the registry. What the modules beside this one
//! use of it has the same names and signatures as in `linux`.
//!
//! What Windows has no counterpart for says so in its own place: there is no boot unit, since boot-time
//! filters are part of every plan; no connection tracking, since Windows knows who opened a flow; and no log
//! group.

mod audit_policy;
mod diagnostic_facts;
mod firewall_log;
mod listed;
mod local_programs;
mod observed;
pub mod preflight;
mod threat_table;

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xshield_firewall::threat::ListTable;
use xshield_firewall::wfp::WfpFirewall;
pub use xshield_firewall::wfp::windows::on_expired_trial;
use xshield_firewall::wfp::windows::{HostEngine, LockLimits};
use xshield_firewall::{Explanation, FirewallError, FlowCount, Programmed, explain};
use xshield_host::time_server::TimeServer;
use xshield_host::windows::{sockets, system};
use xshield_policy::{Interfaces, Packet, Ruleset};
use xshield_threat::plan::{Expansion, Tally};
use xshield_wire::message::{EventSource, HostFacts, Problem};

pub(crate) use diagnostic_facts::facts as diagnostic_facts;
pub(crate) use firewall_log::tell_foreign_drops;
pub(crate) use listed::listed;
pub(crate) use local_programs::{Identity, identities, recognise};
pub(crate) use observed::{Recorded, RecordedMatches, read_flows, tell_flows};
pub(crate) use threat_table::ThreatTable;
pub use xshield_host::windows::Windows;
pub use xshield_host::windows::application_log;
pub use xshield_host::windows::console::on_interruption;
pub use xshield_host::windows::signature;
pub(crate) use xshield_host::windows::sockets::{ListeningSocket, SocketsError, ports};
pub(crate) use xshield_host::windows::system::{SystemError, addresses as all_addresses, boot_id};
pub(crate) use xshield_host::windows::usage::{processor_time, resident_kib};

use crate::config::Config;
use crate::environment::RunEnvironment;
use crate::problems::problem;
use crate::reached;
use crate::run::Run;
use crate::step::Step;
use crate::verb_error::VerbError;
pub(crate) use crate::wfp_kernel::FilterEngineHost as Capabilities;

/// The policy's filters in this host's filter engine.
pub(crate) type Firewall = WfpFirewall<HostEngine>;

/// The environment of a run on this host.
#[must_use]
pub fn this_host(config: PathBuf) -> RunEnvironment {
    RunEnvironment::new(Arc::new(this_system()), PathBuf::from("/"), config)
}

/// This system.
#[must_use]
pub fn this_system() -> Windows {
    Windows
}

/// What the host says about itself in a check-in.
pub(crate) fn host_facts(_: &preflight::Preflight) -> Result<HostFacts, SystemError> {
    system::host_facts()
}

/// The kernel's firewall.
pub(crate) fn open_firewall() -> Result<Firewall, FirewallError> {
    Ok(WfpFirewall::new(HostEngine::new(LockLimits::USUAL)))
}

/// What is programmed in the filter engine.
pub(crate) fn read_back() -> Result<Programmed, FirewallError> {
    Ok(open_firewall()?.read_back(None)?.programmed)
}

/// There is no recorder.
pub(crate) fn recorded_flows() -> Result<Vec<FlowCount>, VerbError> {
    Err(VerbError::NoRecorder)
}

/// There are no log groups.
pub(crate) fn can_hand_over(_: &mut Firewall) -> bool {
    false
}

/// The table of the threat list.
pub(crate) fn open_threat_table() -> Result<Box<dyn ListTable>, FirewallError> {
    Ok(Box::new(threat_table::table()))
}

/// Where flows with listed peers are found.
pub(crate) const LOG: EventSource = EventSource::SecurityLog;

/// What the threat list may take, in bytes as the platform counts them, unless the configuration says it:
/// some 100,000 addresses. How many filters the filter engine bears is not known.
pub(crate) const THREAT_BUDGET: Option<u64> = Some(8 << 20);

/// Each prefix is one filter, however long.
pub(crate) fn expansion(_: &Tally) -> Expansion {
    Expansion { v4_from: 32, v6_from: 128 }
}

/// The sockets on which programs of this host listen.
pub(crate) fn listening_sockets(_: &mut Run<'_>) -> Result<Vec<ListeningSocket>, SocketsError> {
    sockets::listening_sockets()
}

/// The filter engine is part of Windows; what may be missing are its events.
pub(crate) fn provision(run: &mut Run<'_>) {
    audit_policy::bring(run);
}

/// Windows itself knows who opened each flow. Its events name filters by numbers, of which some were read by
/// earlier runs.
pub(crate) fn follow_connections(run: &mut Run<'_>, firewall: &mut Firewall, _: bool) {
    match run.state.filter_numbers(&mut run.problems) {
        Ok(numbers) => firewall.begin_with(numbers),
        Err(error) => run.problems.push(problem("filters-unread", &error)),
    }
}

/// The same before a first ruleset.
pub(crate) fn introduce(_: &mut Run<'_>) {
    reached::step(Step::Introduced);
}

/// The filters are persistent and in force from the start of the driver, so nothing restores them.
pub(crate) fn install_boot_unit(_: &mut Run<'_>) {}

/// Why what restores rulesets could not be removed: never, since there is nothing.
pub type BootUnitError = Infallible;

/// The same.
pub(crate) fn remove_boot_unit(_: &Config, _: &Path) -> Result<(), BootUnitError> {
    Ok(())
}

/// What a plan leaves out of forwarded traffic is reported with the plan.
pub(crate) fn inspect_forwarding(_: &Ruleset, _: &Capabilities) -> Option<Problem> {
    None
}

/// Forwarded traffic is never judged, so no interface is named.
pub(crate) fn interfaces() -> io::Result<Interfaces> {
    Ok(Interfaces::default())
}

/// The peers of open TCP connections, for addresses that stay admitted while a connection to them is open.
/// Windows knows no peers of UDP.
pub(crate) fn connected_peers() -> io::Result<HashSet<IpAddr>> {
    sockets::connected_peers()
}

/// The servers of the Windows Time service.
pub(crate) fn configured_time_servers(_: &Path) -> Vec<TimeServer> {
    xshield_host::windows::time_servers::configured()
}

/// Explains a packet of this host's own.
pub(crate) fn explain_own(programmed: &Programmed, packet: &Packet) -> Explanation {
    explain(programmed, packet)
}
