//! Makes an earlier revision the candidate again, and optionally commits it.

use xshield_api::impact::ExpectedImpact;
use xshield_api::policy::{Restore, Restored, Synchronize};
use xshield_model::Timestamp;
use xshield_store::Store;

use super::candidate::{committed_as, replace};
use super::documents::read_stored;
use super::impact;
use super::simulate::simulate;
use super::simulations::Permit;
use super::synchronize::synchronize;
use crate::caller::{By, Operator};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::signals::Signals;

/// Makes the revision of this number the candidate, and optionally commits it.
///
/// # Errors
/// When there is no such revision, it is no longer valid or does not compile, its impact is not the expected
/// one, or the database fails.
pub async fn restore(
    store: &Store,
    compiler: &RulesetCompiler,
    signals: &impl Signals,
    by: &By<Operator>,
    revision: &str,
    request: Restore,
) -> Result<Restored> {
    let policy = committed_as(&mut *store.read().await?, revision).await?;
    let checked = read_stored(&policy.documents).map_err(OperationError::InvalidPolicy)?;
    let Restore { synchronize: commits, expected_impact } = request;
    if commits && expected_impact != ExpectedImpact::Any {
        // Before the candidate is replaced, so that a refusal changes nothing.
        let prospect = simulate(store, compiler, checked, Permit::unlimited()).await?;
        impact::check(&expected_impact, &prospect.impact)?;
    }
    let now = Timestamp::now();
    let documents = &policy.documents;
    let candidate = replace(store, by, "policy.restore", documents, None, now).await?;
    let synchronized = if commits {
        let note = format!("restored from revision {}", policy.revision);
        let expected_version = candidate.version;
        let request = Synchronize { expected_version, expected_impact, note };
        Some(synchronize(store, compiler, signals, by, request).await?)
    } else {
        None
    };
    Ok(Restored { candidate, synchronized })
}
