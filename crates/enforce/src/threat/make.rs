//! Builds a list from what was fetched, and the resulting change of the kernel's elements.

use std::fs::File;
use std::path::Path;

use ipnet::IpNet;
use xshield_firewall::threat::Counts;
use xshield_threat::Prefix;
use xshield_threat::codec::flat::Trailer;
use xshield_threat::keep;
use xshield_threat::plan::{self, Expansion, Moves};
use xshield_wire::Bytes;
use xshield_wire::threat::ListName;

use super::error::ListFileError;
use super::store::{Store, open};
use crate::core::threat::lists::{ElementChange, ExpectedList, KeptList, Made};
use crate::os;

/// The most elements that one transaction may change. A larger change is put in force as a whole list, which
/// takes a bounded amount of memory.
const MOST_MOVED: usize = 200_000;

/// Writes down the list of a snapshot. `name` says what it must be.
pub(crate) fn from_snapshot(
    store: &Store,
    snapshot: &Path,
    name: &ExpectedList<'_>,
) -> Result<Made, ListFileError> {
    let mut snapshot = open(snapshot)?;
    let unpack = |file: &mut File| keep::unpack(&mut snapshot, name.to, file);
    let (trailer, tally) = store.write_list(name.to, unpack)?;
    let expansion = os::expansion(&tally);
    let list = KeptList {
        name: name_of(name, trailer)?,
        counts: kernel_counts(tally.counts(expansion))?,
        expanded_from: (expansion.v4_from, expansion.v6_from),
    };
    Ok(Made { list, change: None })
}

/// Saves the list that results from a change of `base`. `name` is the list that must result.
pub(crate) fn from_change(
    store: &Store,
    delta: &Path,
    base: &KeptList,
    name: &ExpectedList<'_>,
) -> Result<Made, ListFileError> {
    let mut delta = open(delta)?;
    let (mut first, mut second) = (store.open(base)?, store.open(base)?);
    let (trailer, moves) = store.write_list(name.to, |file| {
        keep::rewrite([&mut first, &mut second], &mut delta, name.to, file)
    })?;
    let counts = counts_after(base, &moves)?;
    let list =
        KeptList { name: name_of(name, trailer)?, counts, expanded_from: base.expanded_from };
    Ok(Made { list, change: element_change(&moves, base.expansion()) })
}

/// The name of a list that was made, when it is the expected one.
fn name_of(expected: &ExpectedList<'_>, trailer: Trailer) -> Result<ListName, ListFileError> {
    let entries = trailer.v4 + trailer.v6;
    if expected.to.0 != expected.ordered.digest.0 {
        let digest = Bytes(expected.to.0);
        let revision = expected.before;
        let (least_confidence, whole_entries) = (0, entries);
        return Ok(ListName { revision, digest, entries, least_confidence, whole_entries });
    }
    match entries == expected.ordered.entries {
        true => Ok(expected.ordered.clone()),
        false => Err(ListFileError::WrongList),
    }
}

fn element_change(moves: &Moves, expansion: Expansion) -> Option<ElementChange> {
    let few = |elements: &mut dyn Iterator<Item = Prefix>| -> Option<Vec<IpNet>> {
        let found: Vec<IpNet> = elements.take(MOST_MOVED + 1).map(IpNet::from).collect();
        (found.len() <= MOST_MOVED).then_some(found)
    };
    let adds = few(&mut moves.elements_new(expansion))?;
    let removes = few(&mut moves.elements_gone(expansion))?;
    Some(ElementChange { adds, removes })
}

fn counts_after(base: &KeptList, moves: &Moves) -> Result<Counts, ListFileError> {
    let expansion = base.expansion();
    let adds = Counts::count(moves.elements_new(expansion).map(IpNet::from));
    let removes = Counts::count(moves.elements_gone(expansion).map(IpNet::from));
    let sum = |base: u32, adds: u32, removes: u32| -> Result<u32, ListFileError> {
        let sum = base.checked_sub(removes).and_then(|rest| rest.checked_add(adds));
        sum.ok_or(ListFileError::TooManyElements)
    };
    Ok(Counts {
        hosts4: sum(base.counts.hosts4, adds.hosts4, removes.hosts4)?,
        nets4: sum(base.counts.nets4, adds.nets4, removes.nets4)?,
        hosts6: sum(base.counts.hosts6, adds.hosts6, removes.hosts6)?,
        nets6: sum(base.counts.nets6, adds.nets6, removes.nets6)?,
    })
}

fn kernel_counts(counts: plan::Counts) -> Result<Counts, ListFileError> {
    let number = |count: u64| u32::try_from(count).map_err(|_| ListFileError::TooManyElements);
    Ok(Counts {
        hosts4: number(counts.v4_hosts)?,
        nets4: number(counts.v4_intervals)?,
        hosts6: number(counts.v6_hosts)?,
        nets6: number(counts.v6_intervals)?,
    })
}
