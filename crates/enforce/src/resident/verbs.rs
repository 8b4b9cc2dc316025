//! Operations of a resident program in addition to those of every host program.

use std::cmp::Reverse;
use std::net::IpAddr;

use serde::Serialize;
use xshield_firewall::FlowKind;
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::InForce;

use crate::config::Config;
use crate::core::kernel::{Kernel, KernelRuleset};
use crate::environment::RunEnvironment;
use crate::os;
use crate::verbs::{Restored, VerbError, open, restore};

/// After a boot, puts the last-known-good ruleset and the threat list into the kernel unless a ruleset is
/// there already. A ruleset that was removed while the host was up is left to the next run, which reports it.
///
/// # Errors
/// When the state can't be read or the kernel refuses.
pub fn restore_after_boot(
    config: &Config,
    environment: &RunEnvironment,
) -> Result<Option<Restored>, VerbError> {
    let progress = open(config)?.progress(&mut Vec::new())?;
    let boot = os::boot_id()?;
    let of_this_boot = progress.generation.is_some_and(|(known, _)| known == boot);
    if of_this_boot || Kernel::state(&mut os::open_firewall()?)? != KernelRuleset::Nothing {
        return Ok(None);
    }
    match restore(config, environment) {
        Ok(restored) => Ok(Some(restored)),
        Err(VerbError::NothingToRestore { reasons }) if reasons.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is programmed in the kernel.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyReport {
    /// The last-known-good ruleset.
    pub last_known_good: Option<InForce>,
    /// The table as read from the kernel, in the syntax of its system.
    pub text: String,
}

/// Reads back what the kernel holds.
///
/// # Errors
/// When nothing is in force, or the kernel or the state directory can't be read.
pub fn policy(config: &Config) -> Result<PolicyReport, VerbError> {
    let known = open(config)?.last_known_good(&config.keys_of_stored(), &mut Vec::new())?;
    let text = os::read_back()?.to_string();
    Ok(PolicyReport { last_known_good: known.map(|known| known.ruleset.in_force()), text })
}

/// A flow in the kernel's recorder, with all its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedFlow {
    /// `denied`, `would-deny` or `accepted`.
    pub kind: &'static str,
    /// The direction of the flow.
    pub direction: Direction,
    /// The source address of its first packet.
    pub source: IpAddr,
    /// The destination address of its first packet.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The destination port, or the type for ICMP.
    pub port: u16,
    /// Packets counted.
    pub packets: u64,
    /// Bytes counted.
    pub bytes: u64,
}

/// The flows with the most packets in the kernel's recorder, at most `most`.
///
/// # Errors
/// When the kernel can't be read, or has no recorder.
pub fn flows(most: usize) -> Result<Vec<RecordedFlow>, VerbError> {
    let mut flows = os::recorded_flows()?;
    flows.sort_by_key(|flow| Reverse(flow.packets));
    flows.truncate(most);
    let read = flows.into_iter().map(|flow| RecordedFlow {
        kind: match flow.kind {
            FlowKind::Denied => "denied",
            FlowKind::WouldDeny => "would-deny",
            FlowKind::Accepted => "accepted",
        },
        direction: flow.direction,
        source: flow.source,
        destination: flow.destination,
        protocol: flow.protocol,
        port: flow.port,
        packets: flow.packets,
        bytes: flow.bytes,
    });
    Ok(read.collect())
}
