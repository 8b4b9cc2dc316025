//! Which processes of this host a rule matches, and which only look like them.
//!
//! What a process can choose (its name, the path at which it sees its file) is not used. Only its
//! executable's device and inode, its user and its systemd unit are. See decision 23.

mod absent;
mod accounts;
mod executable_match;
mod identities;
mod inbound;
mod lookalikes;
mod outbound;
mod places;
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use xshield_policy::facts::{Listener, Owners};
use xshield_policy::{Direction, LocalProgram};

use super::cgroups;
use super::sockets::ListeningSocket;
use lookalikes::LookalikeCollector;
use survey::Survey;

pub use identities::{Identity, identities};
pub use lookalikes::{Lookalike, Lookalikes};

/// Whether the kernel's firewall can match a socket's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMatching {
    /// `socket cgroupv2` works.
    Available,
    /// It doesn't; only users can be matched.
    Missing,
}

/// What was found of the programs that rules name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recognised {
    /// The ports of each program of an inbound rule. A program that does not listen has no entry; its rules
    /// open nothing.
    pub listeners: BTreeMap<LocalProgram, Vec<Listener>>,
    /// What was found of each program of an inbound rule that does not listen, as text.
    pub absent: BTreeMap<LocalProgram, String>,
    /// The programs of inbound rules that can't be identified on this host, and why.
    pub unknown: BTreeMap<LocalProgram, String>,
    /// The owners matched in the kernel for each program of an outbound rule, or why there are none.
    pub owners: BTreeMap<LocalProgram, Owners>,
    /// Processes that look like one of these programs but are not accepted as such.
    pub lookalikes: Vec<Lookalikes>,
}

/// Searches the programs of inbound rules among the processes that hold these sockets, and those of outbound
/// rules among all processes of this network namespace.
#[must_use]
pub fn recognise(
    inbound: &BTreeSet<LocalProgram>,
    outbound: &BTreeSet<LocalProgram>,
    sockets: &[ListeningSocket],
    matching: CgroupMatching,
) -> Recognised {
    let mut found = Recognised::default();
    if inbound.is_empty() && outbound.is_empty() {
        return found;
    }
    let mut survey = Survey::of_this_host();
    for program in inbound {
        let mut lookalikes = LookalikeCollector::default();
        match inbound::listeners(program, sockets, &mut survey, &mut lookalikes) {
            Err(reason) => drop(found.unknown.insert(program.clone(), reason)),
            Ok(ports) if ports.is_empty() => {
                let instead = absent::found(program, &mut survey);
                found.absent.insert(program.clone(), instead);
            }
            Ok(ports) => drop(found.listeners.insert(program.clone(), ports)),
        }
        found.lookalikes.extend(lookalikes.told(program, Direction::Inbound, &survey.accounts));
    }
    let mount = match matching {
        CgroupMatching::Available if !outbound.is_empty() => cgroups::cgroup2_mount(),
        _ => None,
    };
    for program in outbound {
        let mut lookalikes = LookalikeCollector::default();
        let owners = outbound::owners(program, &mut survey, mount.as_deref(), &mut lookalikes);
        found.owners.insert(program.clone(), owners);
        found.lookalikes.extend(lookalikes.told(program, Direction::Outbound, &survey.accounts));
    }
    found
}
