//! Commits the candidate policy as a whole.

use xshield_api::changes;
use xshield_api::impact::in_short;
use xshield_api::policy::{Synchronize, Synchronized};
use xshield_model::Timestamp;
use xshield_policy::Revision;
use xshield_store::policy::{self as stored, CommittedPolicy};
use xshield_store::{Store, assets};

use super::candidate::changed_since;
use super::documents::{CheckedPolicy, read_stored};
use super::impact;
use super::simulate::{claimed_names, compiles};
use super::simulations::Permit;
use super::stored::{compared, to_json};
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::{Committed, RulesetCompiler};
use crate::error::{OperationError, Result};
use crate::signals::Signals;

/// The version of a candidate that nobody has written yet.
const NEVER_WRITTEN: u64 = 0;

/// Commits the candidate: compiles it for every asset, and only if that succeeds stores revision and
/// rulesets, all or nothing.
///
/// # Errors
/// When there is no candidate yet, the candidate or its impact is not the expected one, it can't be
/// compiled for all assets, or the database fails.
pub async fn synchronize(
    store: &Store,
    compiler: &RulesetCompiler,
    signals: &impl Signals,
    by: &By<Operator>,
    request: Synchronize,
) -> Result<Synchronized> {
    let mut turn = compiler.turn().await;
    let before = compiler.committed_in(&mut turn).await?;
    let (candidate, last, inventory) = {
        let mut conn = store.read().await?;
        let candidate = stored::candidate(&mut conn).await?;
        let last = stored::committed(&mut conn).await?;
        (candidate, last, assets::inventory(&mut conn).await?)
    };
    if request.expected_version != candidate.version {
        return Err(changed_since("/expected_version", &candidate));
    }
    if candidate.version == NEVER_WRITTEN {
        let detail = "there is no candidate policy to commit; create one first: xshield policy apply \
                      -f DIRECTORY";
        return Err(OperationError::conflict("no-candidate", detail));
    }
    let CheckedPolicy { policy, documents } =
        read_stored(&candidate.documents).map_err(OperationError::InvalidPolicy)?;
    let (last, committed_before) = match last {
        Some(policy) => (Some(policy.revision), policy.documents),
        None => (None, "[]".to_owned()),
    };
    let changes = compared(committed_before, candidate.documents.clone()).await?;
    let revision = Revision(last.unwrap_or_default().0 + 1);
    let committed = Committed { revision, policy };
    let permit = Permit::unlimited();
    let mut compiled = compiler.compile_policy(before, committed, inventory, permit).await?;
    compiles(&compiled)?;
    let impact = compiled.impact(&to_json(&documents)?)?;
    impact::check(&request.expected_impact, &impact)?;
    let mut warnings = compiled.take_warnings();
    warnings.extend(claimed_names(&mut *store.read().await?, compiled.policy()).await?);

    let now = Timestamp::now();
    let mut change = AuditedChange::begin(store, by, now).await?;
    let assets = compiled.digests().len();
    let entry = AuditEntry {
        action: "policy.synchronize",
        target: "policy",
        before: last.map_or_else(String::new, |last| format!("revision {last}")),
        after: format!(
            "revision {revision}, {assets} assets; {}; note {:?}; {}",
            in_short(&impact),
            request.note,
            changes::summary(&changes)
        ),
    };
    let policy = CommittedPolicy {
        revision,
        documents: candidate.documents,
        note: request.note,
        committed_at: now,
        committed_by: by.actor(),
    };
    stored::insert_revision(&mut change, &policy).await?;
    compiled.store(&mut change, now).await?;
    change.commit(entry).await?;
    compiled.digests().iter().for_each(|(asset, _)| signals.wake_host(asset));
    compiler.adopt(turn, compiled);
    signals.policy_committed();
    Ok(Synchronized { revision: revision.0, assets, warnings, impact })
}
