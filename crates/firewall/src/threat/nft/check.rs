//! Checks the numbers before a list is put in force.

use ipnet::IpNet;

use super::read::{Survey, held};
use crate::installed::Slot;
use crate::threat::error::ThreatError;
use crate::threat::list::{Counts, InstalledList, ListName};
use crate::threat::list_set::{ListSet, SetContent};

/// The complete list in force.
pub(super) fn settled<'s>(
    survey: &'s Survey,
    action: &'static str,
) -> Result<&'s InstalledList, ThreatError> {
    let missing = || ThreatError::NotInForce { action, what: survey.state.describe() };
    survey.state.standing().ok_or_else(missing)
}

/// Refuses a list that would block all of the host's traffic.
pub(super) fn refuse_everything(
    entries: &[IpNet],
    action: &'static str,
) -> Result<(), ThreatError> {
    match entries.iter().any(|entry| entry.prefix_len() == 0) {
        true => Err(ThreatError::Everything { action }),
        false => Ok(()),
    }
}

/// Checks the numbers of a delta, and that there is room for its entries.
pub(super) fn check_delta(
    survey: &Survey,
    slot: Slot,
    list: &ListName,
    base: &Counts,
    adds: &[IpNet],
    removes: &[IpNet],
) -> Result<(), ThreatError> {
    let (more, less) =
        (Counts::count(adds.iter().copied()), Counts::count(removes.iter().copied()));
    let mut found = Counts::default();
    for set in ListSet::ALL {
        *found.of_mut(set) = base.of(set).saturating_add(more.of(set)).saturating_sub(less.of(set));
    }
    if found != list.counts {
        let (revision, named) = (list.revision, list.counts);
        return Err(ThreatError::Miscounted { revision, named, found });
    }
    for set in ListSet::ALL.into_iter().filter(|set| set.holds == SetContent::Hosts) {
        let size = survey.list_set(set, slot).and_then(|read| read.size);
        let (wanted, room) = (found.of(set), size.unwrap_or(u32::MAX));
        // The kernel counts added entries before it subtracts removed ones.
        if base.of(set).saturating_add(more.of(set)) > room {
            return Err(ThreatError::NoRoom { wanted, room });
        }
    }
    Ok(())
}

/// Checks that the kernel holds as many addresses as the list has, if it reports the number.
pub(super) fn check_filled(
    survey: &Survey,
    slot: Slot,
    list: &ListName,
) -> Result<(), ThreatError> {
    let mut found = list.counts;
    for set in ListSet::ALL {
        let read = survey.list_set(set, slot);
        if let Some(count) = read.map_or(Some(0), |read| held(read, set)) {
            *found.of_mut(set) = count;
        }
    }
    match found == list.counts {
        true => Ok(()),
        false => {
            let (revision, named) = (list.revision, list.counts);
            Err(ThreatError::Miscounted { revision, named, found })
        }
    }
}
