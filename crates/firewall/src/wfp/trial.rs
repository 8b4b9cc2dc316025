//! A plan on trial: in force above the one that stays, until it is kept or its session ends.
//!
//! ```text
//! prepare   lasting   provider and sublayer, where they are missing
//! begin     dynamic   every filter of the new plan, above the old one's
//! keep      lasting   the new plan in place of the old one, still below the trial
//! end       dynamic   the trial's filters go
//! ```
//!
//! The new plan matches every packet, so as long as it exists, nothing below it in the sublayer is evaluated.
//! If the program is killed after `begin`, its session ends and the old plan decides again; after `keep`, the
//! new one decides, as it did during the trial. `end` without `keep` reverts the new plan.

use super::diff::difference;
use super::filter_engine::{ObjectChange, SessionKind, Transaction};
use super::model::EngineState;
use super::ours::{self, Tier};
use super::plan::Plan;

/// What must exist before a trial, since a sublayer added in a dynamic session would be deleted with it.
/// `None` if it exists.
#[must_use]
pub fn prepare(state: &EngineState) -> Option<Transaction> {
    let (provider, sublayer) = (ours::provider(), ours::sublayer());
    let mut changes = Vec::new();
    if state.providers.iter().all(|known| known.key != provider.key) {
        changes.push(ObjectChange::AddProvider(provider));
    }
    if state.sublayer(&sublayer.key).is_none() {
        changes.push(ObjectChange::AddSubLayer(sublayer));
    }
    let session = SessionKind::Lasting;
    (!changes.is_empty()).then_some(Transaction { session, changes })
}

/// Puts a plan on trial.
#[must_use]
pub fn begin(plan: &Plan) -> Transaction {
    let filters = plan.filters_in(Tier::Trial);
    let changes = filters.map(|filter| ObjectChange::AddFilter(Box::new(filter))).collect();
    Transaction { session: SessionKind::Dynamic, changes }
}

/// Makes the plan on trial the one that stays.
#[must_use]
pub fn keep(plan: &Plan, state: &EngineState) -> Transaction {
    difference(Some(plan), state).transaction()
}

/// Ends the trial: after [`keep`], so that the ending session has nothing left to delete; without it, to
/// revert the new plan.
#[must_use]
pub fn end(plan: &Plan) -> Transaction {
    let filters = plan.filters_in(Tier::Trial);
    let changes = filters.map(|filter| ObjectChange::DeleteFilter(filter.key)).collect();
    Transaction { session: SessionKind::Dynamic, changes }
}
