//! Compares what the filter engine holds with a plan: changes for the host, differences for people. Objects
//! of others are neither changed nor counted as ours.

use std::collections::{HashMap, HashSet};

use super::filter_engine::{ObjectChange, SessionKind, Transaction};
use super::model::{EngineState, Filter, Flags, ObjectKey};
use super::ours::{self, NAME, SUBLAYER, Tier, is_ours, tier_and_class};
use super::plan::Plan;
use crate::Drift;

/// The differences between the filter engine and a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanDifference {
    /// Changes that make it the plan, in an order in which no object is deleted that others refer to.
    pub changes: Vec<ObjectChange>,
    /// The differences for people, including those that our changes can't repair.
    pub drift: Vec<Drift>,
}

impl PlanDifference {
    /// The changes as one transaction.
    #[must_use]
    pub fn transaction(self) -> Transaction {
        Transaction { session: SessionKind::Lasting, changes: self.changes }
    }
}

/// Compares what is in force for good with a plan; without one, none of our objects should exist. What is on
/// trial is ignored.
#[must_use]
pub fn difference(plan: Option<&Plan>, state: &EngineState) -> PlanDifference {
    let mut found = PlanDifference::default();
    let wanted: Vec<Filter> =
        plan.into_iter().flat_map(|plan| plan.filters_in(Tier::Kept)).collect();
    // A sublayer whose weight was changed is created again with everything in it.
    let again = plan.is_some()
        && state
            .sublayer(&SUBLAYER.into())
            .is_some_and(|sublayer| sublayer.weight != ours::SUBLAYER_WEIGHT);
    let by_key: HashMap<&ObjectKey, &Filter> =
        wanted.iter().map(|filter| (&filter.key, filter)).collect();
    let mut right = HashSet::new();
    for filter in state.filters.iter().filter(|filter| is_ours(filter.provider.as_ref())) {
        if is_on_trial(filter, state) {
            continue;
        }
        let name = filter.name.strip_prefix(NAME).unwrap_or(&filter.name);
        let place = format!("{}, {name}", filter.layer);
        match by_key.get(&filter.key) {
            Some(wanted) if wanted.is_same_as(filter) && !again => {
                if filter.flags.contains(Flags::DISABLED) {
                    found.note(format!(
                        "filter at {place}: disabled by Windows; enable the service that our provider \
                         names"
                    ));
                }
                right.insert(&filter.key);
                continue;
            }
            Some(wanted) if wanted.is_same_as(filter) => {}
            Some(_) => found.note(format!("filter at {place}: changed by another program")),
            None if plan.is_some() => found.note(format!("filter at {place}: should not be there")),
            None => {}
        }
        found.changes.push(ObjectChange::DeleteFilter(filter.key.clone()));
    }
    let intruders = state
        .filters
        .iter()
        .filter(|filter| filter.sublayer == SUBLAYER.into() && !is_ours(filter.provider.as_ref()));
    for filter in intruders {
        let provider = state.provider_name(filter.provider.as_ref());
        found.note(format!(
            "filter {:?} at {} of {provider}: not ours, but in our sublayer",
            filter.name, filter.layer
        ));
    }
    found.objects(plan.is_some(), again, state);
    let there: HashSet<&ObjectKey> = state.filters.iter().map(|filter| &filter.key).collect();
    for filter in wanted.into_iter().filter(|filter| !right.contains(&filter.key)) {
        if !there.contains(&filter.key) {
            let name = filter.name.strip_prefix(NAME).unwrap_or_default();
            found.note(format!("filter at {}, {name}: missing", filter.layer));
        }
        found.changes.push(ObjectChange::AddFilter(Box::new(filter)));
    }
    found
}

impl PlanDifference {
    fn note(&mut self, text: String) {
        self.drift.push(Drift { text });
    }

    /// Provider and sublayer.
    fn objects(&mut self, wanted: bool, again: bool, state: &EngineState) {
        let (provider, sublayer) = (ours::provider(), ours::sublayer());
        let has_provider = state.providers.iter().any(|known| known.key == provider.key);
        let has_sublayer = state.sublayer(&sublayer.key).is_some();
        if has_sublayer && (again || !wanted) {
            self.changes.push(ObjectChange::DeleteSubLayer(sublayer.key.clone()));
        }
        if again {
            self.note("our sublayer has another weight than expected".to_owned());
        }
        match (has_provider, wanted) {
            (true, false) => self.changes.push(ObjectChange::DeleteProvider(provider.key)),
            (false, true) => {
                self.note("our provider is missing".to_owned());
                self.changes.push(ObjectChange::AddProvider(provider));
            }
            (true, true) | (false, false) => {}
        }
        if wanted && (again || !has_sublayer) {
            if !has_sublayer {
                self.note("our sublayer is missing".to_owned());
            }
            self.changes.push(ObjectChange::AddSubLayer(sublayer));
        }
    }
}

/// Whether a filter of ours belongs to a trial, which ends with its session.
pub(super) fn is_on_trial(filter: &Filter, state: &EngineState) -> bool {
    let lasts = [Flags::PERSISTENT, Flags::BOOT_TIME];
    let lasts = lasts.into_iter().any(|flag| filter.flags.contains(flag));
    let tier = tier_and_class(filter.rank()).map(|(tier, _)| tier);
    state.dynamic.contains(&filter.key) || (tier == Some(Tier::Trial) && !lasts)
}
