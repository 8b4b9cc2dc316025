//! What a program that stays can be asked, besides what every host program can.

use std::cmp::Reverse;
use std::net::IpAddr;

use serde::Serialize;
use xshield_firewall::{Firewall, FlowKind, KernelState};
use xshield_host::linux::system;
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::InForce;

use crate::config::Config;
use crate::linux::verbs::{Restored, VerbError, open, restore};
use crate::surroundings::Surroundings;

/// After a boot, puts the last-known-good ruleset and the threat list into the kernel unless a
/// ruleset is there already. What was
/// taken away while the host was up is left to the next run, which says so.
///
/// # Errors
/// When the state can't be read or the kernel refuses.
pub fn restore_after_boot(
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Option<Restored>, VerbError> {
    let progress = open(config)?.progress(&mut Vec::new())?;
    let boot = system::boot_id()?;
    let of_this_boot = progress.generation.is_some_and(|(known, _)| known == boot);
    if of_this_boot || Firewall::open()?.state()? != KernelState::Absent {
        return Ok(None);
    }
    match restore(config, surroundings) {
        Ok(restored) => Ok(Some(restored)),
        Err(VerbError::NothingToRestore { reasons }) if reasons.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is programmed.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyReport {
    /// The last-known-good ruleset.
    pub last_known_good: Option<InForce>,
    /// The table as the kernel returned it, in nft's syntax.
    pub text: String,
}

/// Reads back what the kernel holds.
///
/// # Errors
/// When nothing is in force, or the kernel or the state directory can't be read.
pub fn policy(config: &Config) -> Result<PolicyReport, VerbError> {
    let known = open(config)?.last_known_good(&config.keys_of_stored(), &mut Vec::new())?;
    let text = Firewall::open()?.read_back()?.to_string();
    Ok(PolicyReport { last_known_good: known.map(|known| known.ruleset.in_force()), text })
}

/// A flow in the kernel's recorder, with everything it counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedFlow {
    /// `denied`, `would-deny` or `accepted`.
    pub kind: &'static str,
    /// Who opened it.
    pub direction: Direction,
    /// Of the first packet.
    pub source: IpAddr,
    /// Of the first packet.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port; the type for ICMP.
    pub port: u16,
    /// Packets counted.
    pub packets: u64,
    /// Bytes counted.
    pub bytes: u64,
}

/// The `most` flows with most packets in the kernel's recorder.
///
/// # Errors
/// When the kernel can't be read.
pub fn flows(most: usize) -> Result<Vec<RecordedFlow>, VerbError> {
    let mut flows = Firewall::open()?.flows()?.flows;
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
