//! A Linux host: nftables, `/proc`, systemd. What the modules beside this one use of it has the same names
//! and signatures as in the module of every other system.

pub mod boot_unit;
pub(crate) mod connection_tracking;
mod diagnostic_facts;
mod forwarded;
mod local_programs;
mod nft_kernel;
mod observed;
pub mod preflight;
mod provision;
pub mod resident_live;
mod resident_usage;
mod translated;

pub(crate) use resident_usage::{processor_time, resident_kib};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xshield_host::log_line::LoggedThreat;
use xshield_policy::Bound;
use xshield_threat::plan::{Costs, Expansion, Tally};
use xshield_wire::message::{EventSource, HostFacts};

pub(crate) use boot_unit::BootUnitError;
pub(crate) use connection_tracking::{follow as follow_connections, introduce};
pub(crate) use diagnostic_facts::facts as diagnostic_facts;
pub(crate) use forwarded::inspect as inspect_forwarding;
pub(crate) use local_programs::recognise;
pub(crate) use observed::{Recorded, RecordedMatches, read_flows, tell_flows};
pub(crate) use provision::provision;
pub(crate) use translated::explain_own;
pub(crate) use xshield_firewall::threat::ThreatTable;
pub(crate) use xshield_firewall::{Capabilities, Firewall};
pub(crate) use xshield_host::linux::connections::connected_peers;
pub(crate) use xshield_host::linux::forwarding::interfaces;
pub(crate) use xshield_host::linux::local::{Identity, identities};
pub(crate) use xshield_host::linux::sockets::{ListeningSocket, SocketsError, ports};
pub(crate) use xshield_host::linux::system::{SystemError, all_addresses, boot_id};

use boot_unit::{BootUnit, Installed};
use xshield_firewall::threat::ListTable;
use xshield_firewall::{FirewallError, FlowCount, Programmed};
pub use xshield_host::linux::Linux;
use xshield_host::linux::{sockets, system};
use xshield_host::time_server::TimeServer;

use crate::config::Config;
use crate::core::threat::ThreatPart;
use crate::environment::RunEnvironment;
use crate::problems::problem;
use crate::run::Run;
use crate::verb_error::VerbError;

/// What is programmed in the kernel.
pub(crate) fn read_back() -> Result<Programmed, FirewallError> {
    Firewall::open()?.read_back()
}

/// The flows in the kernel's recorder.
pub(crate) fn recorded_flows() -> Result<Vec<FlowCount>, VerbError> {
    Ok(Firewall::open()?.flows()?.flows)
}

/// The surroundings of a run on this host.
#[must_use]
pub fn this_host(config: PathBuf) -> RunEnvironment {
    RunEnvironment::new(Arc::new(this_system()), PathBuf::from("/"), config)
}

/// Where flows with listed peers are found that the recorder does not count.
pub(crate) const LOG: EventSource = EventSource::KernelLog;

/// What the threat list may take unless the configuration says it: the platform decides.
pub(crate) const THREAT_BUDGET: Option<u64> = None;

/// From which length on prefixes are single addresses in the kernel, where hash sets take less memory than
/// intervals.
pub(crate) fn expansion(tally: &Tally) -> Expansion {
    tally.cheapest(Costs::KERNEL)
}

/// The kernel's log names the list's own matches.
pub(crate) fn listed(
    _: &ThreatPart,
    _: &mut Run<'_>,
    logged: Vec<LoggedThreat>,
) -> Vec<LoggedThreat> {
    logged
}

/// No other program's log is read: what other tables drop is not known.
pub(crate) fn tell_foreign_drops(_: &mut Run<'_>, _: &ThreatPart, _: Option<&Bound>) {}

/// The servers of the time programs that are configured under `root`.
pub(crate) fn configured_time_servers(root: &Path) -> Vec<TimeServer> {
    xshield_host::linux::time_servers::configured(root)
}

/// This system.
#[must_use]
pub fn this_system() -> Linux {
    Linux::new(PathBuf::from("/"))
}

/// What the host says about itself in a check-in.
pub(crate) fn host_facts(found: &preflight::Preflight) -> Result<HostFacts, SystemError> {
    system::host_facts(&found.os)
}

/// The kernel's firewall.
pub(crate) fn open_firewall() -> Result<Firewall, FirewallError> {
    Firewall::open()
}

/// Whether the kernel can send packets to a log group. One that can't be asked about it enforces nevertheless.
pub(crate) fn can_hand_over(firewall: &mut Firewall) -> bool {
    firewall.can_hand_over().unwrap_or(false)
}

/// The table of the threat list.
pub(crate) fn open_threat_table() -> Result<Box<dyn ListTable>, FirewallError> {
    Ok(Box::new(ThreatTable::open()?))
}

/// The sockets on which programs of this host listen.
pub(crate) fn listening_sockets(run: &mut Run<'_>) -> Result<Vec<ListeningSocket>, SocketsError> {
    sockets::listening_sockets(&mut run.progress.holders)
}

/// Ensures that a restart restores what is in force.
pub(crate) fn install_boot_unit(run: &mut Run<'_>) {
    let RunEnvironment { root, program, config, .. } = run.environment;
    let unit = BootUnit::new(root, &run.config.state_directory);
    match unit.install(program, config) {
        Ok(Installed::Unchanged | Installed::Written | Installed::NoSystemd) => {}
        Err(error) => run.problems.push(problem("boot-unit", &error)),
    }
}

/// Removes what restores the rulesets at a restart.
pub(crate) fn remove_boot_unit(config: &Config, root: &Path) -> Result<(), BootUnitError> {
    BootUnit::new(root, &config.state_directory).remove()
}
