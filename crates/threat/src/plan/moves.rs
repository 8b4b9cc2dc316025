//! The elements that are removed and added when a list changes, with memory for the change only.

use super::{Expansion, hosts, intervals};
use crate::codec::Step;
use crate::entry::Prefix;
use crate::set::{FamilyBuilder, ThreatSet};

/// The prefixes in which two lists differ, collected from [`crate::codec::Delta::steps`].
///
/// If an address is cut out of a prefix, or two prefixes are joined, the remaining addresses get new elements
/// and lose their old ones. Within one nftables transaction the order of removal and addition does not matter
/// to packets: they see all of it or nothing. Without one transaction, add first and remove afterwards; if
/// the kernel refuses overlapping intervals, only one transaction is safe.
///
/// The expansion must be the one of the elements in the kernel; another one requires a full load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    gone: ThreatSet,
    new: ThreatSet,
}

impl Moves {
    /// Prefixes that are only in the base.
    #[must_use]
    pub fn gone(&self) -> &ThreatSet {
        &self.gone
    }

    /// Prefixes that are only in the target.
    #[must_use]
    pub fn come(&self) -> &ThreatSet {
        &self.new
    }

    /// The removed elements: IPv4 hosts, IPv4 intervals, then the same for IPv6, each ascending.
    pub fn elements_gone(&self, expansion: Expansion) -> impl Iterator<Item = Prefix> + '_ {
        only_in(&self.gone, &self.new, expansion)
    }

    /// The added elements, in the same order.
    pub fn elements_new(&self, expansion: Expansion) -> impl Iterator<Item = Prefix> + '_ {
        only_in(&self.new, &self.gone, expansion)
    }
}

/// Collects [`Moves`] step by step.
#[derive(Default)]
pub struct MovesBuilder {
    gone: SetBuilder,
    new: SetBuilder,
}

impl MovesBuilder {
    /// Adds a step, in the order of the steps.
    pub fn note(&mut self, step: Step) {
        match step {
            Step::Kept(_) => {}
            Step::Gone(prefix) => self.gone.push(prefix),
            Step::New(prefix) => self.new.push(prefix),
        }
    }

    /// The collected moves.
    #[must_use]
    pub fn finish(self) -> Moves {
        Moves { gone: self.gone.finish(), new: self.new.finish() }
    }
}

/// A part of a normal form is itself a normal form, so the prefixes stay as they are.
struct SetBuilder {
    v4: FamilyBuilder<u32>,
    v6: FamilyBuilder<u128>,
}

impl Default for SetBuilder {
    fn default() -> Self {
        Self { v4: FamilyBuilder::with_capacity(0), v6: FamilyBuilder::with_capacity(0) }
    }
}

impl SetBuilder {
    fn push(&mut self, prefix: Prefix) {
        match prefix {
            Prefix::V4(net) => self.v4.push(net.first(), net.last()),
            Prefix::V6(net) => self.v6.push(net.first(), net.last()),
        }
    }

    fn finish(self) -> ThreatSet {
        ThreatSet::new(self.v4.finish(), self.v6.finish())
    }
}

/// Elements of `a` that are not in `b`. An expanded prefix may only have lost or gained a few hosts.
fn only_in<'a>(
    a: &'a ThreatSet,
    b: &'a ThreatSet,
    Expansion { v4_from, v6_from }: Expansion,
) -> impl Iterator<Item = Prefix> + 'a {
    let hosts_v4 = without(hosts(a.v4(), v4_from), hosts(b.v4(), v4_from));
    let hosts_v6 = without(hosts(a.v6(), v6_from), hosts(b.v6(), v6_from));
    hosts_v4
        .map(|host| Prefix::V4(crate::Net::host(host)))
        .chain(intervals(a.v4(), v4_from).map(Prefix::V4))
        .chain(hosts_v6.map(|host| Prefix::V6(crate::Net::host(host))))
        .chain(intervals(a.v6(), v6_from).map(Prefix::V6))
}

/// The items of ascending `a` that are not in ascending `b`.
fn without<T: Ord>(
    a: impl Iterator<Item = T>,
    b: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let mut b = b.peekable();
    a.filter(move |one| {
        while b.next_if(|other| other < one).is_some() {}
        b.peek() != Some(one)
    })
}
