//! Which threat lists a host keeps, as plain values.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use xshield_firewall::plan;
use xshield_firewall::threat::{Counts, ListName as KernelName, Posture, ThreatState};
use xshield_threat::Digest;
use xshield_threat::plan::Expansion;
use xshield_wire::threat::ListName;

use super::failure::ThreatFailure;

/// A list on this host's disk, and how it is written into the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptList {
    pub(crate) name: ListName,
    pub(crate) counts: Counts,
    /// From which length on IPv4 and IPv6 prefixes stand in the kernel as single addresses. Changes
    /// keep it: another one is another set of elements.
    pub(crate) expanded_from: (u8, u8),
}

impl KeptList {
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.name.digest.0)
    }

    pub(crate) fn expansion(&self) -> Expansion {
        let (v4_from, v6_from) = self.expanded_from;
        Expansion { v4_from, v6_from }
    }

    /// The list as the kernel names it.
    pub(crate) fn kernel_name(&self) -> KernelName {
        let digest = plan::Digest(self.name.digest.0);
        KernelName { revision: self.name.revision, digest, counts: self.counts }
    }

    pub(crate) fn elements(&self) -> u64 {
        let Counts { hosts4, nets4, hosts6, nets6 } = self.counts;
        [hosts4, nets4, hosts6, nets6].into_iter().map(u64::from).sum()
    }

    /// Whether it is in the kernel, complete.
    pub(crate) fn is_held_by(&self, state: &ThreatState) -> bool {
        state.standing().is_some_and(|standing| standing.list == self.kernel_name())
    }
}

/// The elements of a list on disk, in order. The first error ends them.
pub(crate) type Elements = Box<dyn Iterator<Item = Result<IpNet, ThreatFailure>>>;

/// Which lists are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lists {
    /// In the kernel.
    pub(crate) current: Option<KeptList>,
    /// On its way into the kernel, or just arrived.
    pub(crate) prepared: Option<KeptList>,
    /// What is done about the list in the kernel.
    pub(crate) posture: Option<Posture>,
    pub(crate) retention: Retention,
}

impl Lists {
    /// Whether there is a current list, and no other on its way.
    pub(super) fn are_settled(&self) -> bool {
        self.prepared.is_none() && self.current.is_some()
    }
}

/// Whether the lists are to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Retention {
    #[default]
    Keep,
    /// They are being taken out, which a kill may have stopped halfway.
    Remove,
}

/// A list on disk that is not in the kernel yet.
pub(crate) struct Made {
    pub(crate) list: KeptList,
    /// What turns the list before it in the kernel into it; `None`: it has to be loaded whole.
    pub(crate) change: Option<ElementChange>,
}

/// Elements that come and go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ElementChange {
    pub(crate) adds: Vec<IpNet>,
    pub(crate) removes: Vec<IpNet>,
}

/// What a list that is made of fetched files must be.
pub(crate) struct ExpectedList<'a> {
    /// The digest that the path promises.
    pub(crate) to: Digest,
    /// The ordered list.
    pub(crate) ordered: &'a ListName,
    /// The revision that a list on the way to it bears: it is at least as new as the one before.
    pub(crate) before: u64,
}
