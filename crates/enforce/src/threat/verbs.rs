//! Operations on the threat list besides the cycle: status, look-up, restore, remove.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use xshield_firewall::FlowCount;
use xshield_firewall::threat::{Listed, ThreatState};
use xshield_host::files::FileError;
use xshield_threat::ThreatMode;
use xshield_wire::message::UnixSeconds;
use xshield_wire::threat::ListName;

use crate::config::Config;
use crate::core::known_good::LastKnownGood;
use crate::core::threat::{ThreatFailure, ThreatPart};
use crate::os::{ThreatTable, open_threat_table};
use crate::state::{Repaired, StateDirectory, THREAT_DIRECTORY};
use crate::threat::progress::ThreatProgress;
use crate::threat::shell;
use crate::threat::store::Store;
use crate::verb_error::VerbError;

/// The state of the threat list on this host.
#[derive(Debug, Serialize)]
pub struct ThreatStatus {
    /// The state of table `inet xshield_threat`, as text.
    pub kernel: String,
    /// The list that was last put into the kernel.
    pub list: Option<ListName>,
    /// The mode for flows that listed peers open; `None` without a list.
    pub inbound: Option<ThreatMode>,
    /// The mode for flows to listed peers; `None` without a list.
    pub outbound: Option<ThreatMode>,
    /// When the kernel's list was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// Why the order is not carried out, if it is not.
    pub failure: Option<String>,
}

/// Reads the state of the threat list. Changes nothing.
pub(crate) fn status(
    state: &StateDirectory,
    config: &Config,
    progress: &ThreatProgress,
    repaired: &mut Repaired,
) -> Result<ThreatStatus, VerbError> {
    let threats =
        shell::read(state, &config.keys_of_stored(), repaired, Box::new(open_threat_table))?;
    let state = open_threat_table()?.state()?;
    let kernel = match state {
        ThreatState::Absent => "no threat list is in force".to_owned(),
        ThreatState::InForce(standing) => {
            format!("threat list revision {} is in force", standing.list.revision)
        }
        ThreatState::Disturbed(standing) => format!(
            "threat list revision {} is present, but others changed the rules around it",
            standing.list.revision
        ),
        ThreatState::Broken { what } => format!("the threat list is broken: {what}"),
    };
    let list = threats.lists.current.map(|list| list.name);
    let posture = threats.lists.posture.filter(|_| list.is_some());
    let modes = posture.map(|posture| (posture.inbound, posture.outbound));
    let (inbound, outbound) = modes.unzip();
    let ThreatProgress { verified_at, failure, .. } = progress;
    let (verified_at, failure) = (*verified_at, failure.clone());
    Ok(ThreatStatus { kernel, list, inbound, outbound, verified_at, failure })
}

/// Puts the list on disk into the kernel without contacting the platform: at boot.
pub(crate) fn restore(
    state: &StateDirectory,
    config: &Config,
    known: Option<&LastKnownGood>,
    repaired: &mut Repaired,
) -> Result<Option<ListName>, VerbError> {
    let mut threats =
        shell::read(state, &config.keys_of_stored(), repaired, Box::new(open_threat_table))?;
    restored(&mut threats, &Store::new(state), known)
        .map_err(|error| VerbError::Threat(Box::new(error)))
}

fn restored(
    threats: &mut ThreatPart,
    store: &Store,
    known: Option<&LastKnownGood>,
) -> Result<Option<ListName>, ThreatFailure> {
    let (Some(list), Some(mut posture)) =
        (threats.lists.current.clone(), threats.lists.posture.clone())
    else {
        return Ok(None);
    };
    if let Some(order) = &threats.order {
        (posture.inbound, posture.outbound) = (order.inbound, order.outbound);
    }
    if let Some(known) = known {
        posture.failsafe = known.ruleset.bind_failsafe(&known.facts);
    }
    let found = threats.table()?.state()?;
    if list.is_held_by(&found) {
        threats.table()?.set_posture(&posture)?;
    } else {
        threats.load(&list, &posture, shell::elements(store, &list)?)?;
    }
    Ok(Some(list.name))
}

/// What the kernel holds about one address.
#[derive(Debug, Serialize)]
pub struct Lookup {
    /// The requested address.
    pub address: IpAddr,
    /// The entry of the list in force that contains it; `None` when it is not listed.
    pub entry: Option<Entry>,
    /// The mode for flows that it opens, if it is listed.
    pub inbound: Option<ThreatMode>,
    /// The mode for flows to it, if it is listed.
    pub outbound: Option<ThreatMode>,
    /// The list's revision.
    pub revision: u64,
    /// The list's digest, in hexadecimal digits.
    pub digest: String,
    /// The flows with this address in the kernel's recorder.
    pub matches: Vec<FlowCount>,
}

/// An entry of the list in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its first address.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        let (bits, differing) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (32, 32 - (u32::from(*first) ^ u32::from(*last)).leading_zeros())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                (128, 128 - (u128::from(*first) ^ u128::from(*last)).leading_zeros())
            }
            _ => return write!(f, "{first} - {last}"),
        };
        if differing == 0 {
            write!(f, "{first}")
        } else {
            write!(f, "{first}/{}", bits - differing)
        }
    }
}

/// Looks up an address in the kernel's threat list and recorder.
///
/// # Errors
/// When there is no list in force, or the kernel can't be read.
pub fn lookup(config: &Config, address: IpAddr) -> Result<Lookup, VerbError> {
    let mut table = ThreatTable::open()?;
    let state = table.state()?;
    let standing = state.standing().ok_or(VerbError::NoThreatList)?;
    let entry = table.lookup(address).map_err(|error| VerbError::Threat(Box::new(error)))?;
    let entry = entry.map(|Listed { first, last }| Entry { first, last });
    let (revision, digest) = (standing.list.revision, standing.list.digest.to_string());
    let mut matches = table.matches()?.flows;
    matches.retain(|flow| flow.source == address || flow.destination == address);
    let modes = entry.and(modes(config)?);
    let (inbound, outbound) = modes.unzip();
    Ok(Lookup { address, entry, inbound, outbound, revision, digest, matches })
}

/// The modes that were last programmed. They are read from disk, since the kernel holds only the resulting
/// rules.
fn modes(config: &Config) -> Result<Option<(ThreatMode, ThreatMode)>, FileError> {
    let path = config.state_directory.join(THREAT_DIRECTORY);
    let lists = Store::at(path).lists(&mut Repaired::new())?;
    Ok(lists.posture.map(|posture| (posture.inbound, posture.outbound)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_shown_as_prefixes() {
        for (first, last, text) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
            ("192.0.2.2", "192.0.2.3", "192.0.2.2/31"),
            ("128.0.0.0", "255.255.255.255", "128.0.0.0/1"),
            ("2001:db8::", "2001:db8::ffff", "2001:db8::/112"),
            ("::1", "::1", "::1"),
        ] {
            let entry = Entry { first: first.parse().unwrap(), last: last.parse().unwrap() };
            assert_eq!(entry.to_string(), text);
        }
    }
}
