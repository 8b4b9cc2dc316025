//! The candidate policy, committed revisions, and their differences.

use xshield_api::changes;
use xshield_api::page::Page;
use xshield_api::policy::{CandidatePolicy, DocumentChange, PolicyRevision, WholeRevision};
use xshield_model::Timestamp;
use xshield_policy::Revision;
use xshield_store::policy::{self as stored, Candidate, CommittedPolicy};
use xshield_store::{Conn, Store};

use super::documents::CheckedPolicy;
use super::stored::{compared, shown as documents_of, to_json};
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};
use crate::paging::{Paging, paged};

/// The candidate.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn) -> Result<CandidatePolicy> {
    let candidate = stored::candidate(conn).await?;
    let committed = stored::committed(conn).await?;
    shown(candidate, committed.as_ref())
}

fn shown(candidate: Candidate, committed: Option<&CommittedPolicy>) -> Result<CandidatePolicy> {
    let written = candidate.version > 0;
    let in_force = committed.map_or("[]", |committed| committed.documents.as_str());
    Ok(CandidatePolicy {
        version: candidate.version,
        updated_at: written.then_some(candidate.updated_at),
        updated_by: written.then_some(candidate.updated_by),
        committed_revision: committed.map(|committed| committed.revision.0),
        differs_from_committed: candidate.documents != in_force,
        documents: documents_of(&candidate.documents)?,
    })
}

/// Replaces the candidate policy as a whole. With `expected_version`, only if the candidate has that version.
///
/// # Errors
/// When the candidate has another version, or the database fails.
pub async fn apply(
    store: &Store,
    by: &By<Operator>,
    policy: &CheckedPolicy,
    expected_version: Option<u64>,
    now: Timestamp,
) -> Result<CandidatePolicy> {
    let documents = to_json(&policy.documents)?;
    replace(store, by, "policy.edit", &documents, expected_version, now).await
}

/// Replaces the candidate with stored documents.
pub(super) async fn replace(
    store: &Store,
    by: &By<Operator>,
    action: &'static str,
    documents: &str,
    expected_version: Option<u64>,
    now: Timestamp,
) -> Result<CandidatePolicy> {
    // Compared before taking the write lock.
    let earlier = stored::candidate(&mut *store.read().await?).await?;
    let changes = compared(earlier.documents, documents.to_owned()).await?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let before = stored::candidate(&mut change).await?;
    if expected_version.is_some_and(|expected| expected != before.version) {
        return Err(changed_since("?expected_version", &before));
    }
    if before.documents == documents && before.version > 0 {
        return get(&mut change).await;
    }
    let version = stored::put_candidate(&mut change, documents, &by.actor(), now).await?;
    let candidate = get(&mut change).await?;
    let after = summary(version, documents);
    let entry = AuditEntry {
        action,
        target: "policy",
        before: summary(before.version, &before.documents),
        after: match earlier.version == before.version {
            true => format!("{after}: {}", changes::summary(&changes)),
            false => after,
        },
    };
    change.commit(entry).await?;
    Ok(candidate)
}

/// The candidate is not the one that the caller has seen.
pub(super) fn changed_since(field: &'static str, candidate: &Candidate) -> OperationError {
    let version = candidate.version;
    let detail = format!("the candidate now has version {version}; review it again");
    OperationError::conflict_at(field, "candidate-changed", detail)
}

fn summary(version: u64, documents: &str) -> String {
    let count = documents_of(documents)
        .ok()
        .and_then(|documents| documents.as_array().map(Vec::len))
        .unwrap_or_default();
    format!("version {version}, {count} documents")
}

fn about(policy: CommittedPolicy) -> PolicyRevision {
    PolicyRevision {
        revision: policy.revision.0,
        note: policy.note,
        committed_at: policy.committed_at,
        committed_by: policy.committed_by,
    }
}

/// Revisions, newest first.
///
/// # Errors
/// When the database fails.
pub async fn revisions(conn: &mut Conn, paging: Paging<u64>) -> Result<Page<PolicyRevision>> {
    let found = stored::revisions(conn, paging.after, paging.to_read()).await?;
    Ok(paged(found, paging.limit, |policy| policy.revision.0, about))
}

/// A revision with its documents.
///
/// # Errors
/// When there is none of that number, or the database fails.
pub async fn revision(conn: &mut Conn, number: &str) -> Result<WholeRevision> {
    let policy = committed_as(conn, number).await?;
    let documents = documents_of(&policy.documents)?;
    Ok(WholeRevision { about: about(policy), documents })
}

/// The policy that was committed as the revision of this number.
pub(super) async fn committed_as(conn: &mut Conn, number: &str) -> Result<CommittedPolicy> {
    let missing = || OperationError::not_found("revision", number);
    let number = number.parse().map_err(|_| missing())?;
    stored::revision(conn, Revision(number)).await?.ok_or_else(missing)
}

/// The differences between two policies.
#[derive(Debug)]
pub struct Comparison {
    /// The earlier revision; `None` when nothing was committed yet.
    pub from: Option<u64>,
    /// By document.
    pub changes: Vec<DocumentChange>,
}

/// The differences between a revision, or the committed one, and a later one, or the candidate.
///
/// # Errors
/// When there is no such revision, or the database fails.
pub async fn compare(store: &Store, from: Option<u64>, to: Option<u64>) -> Result<Comparison> {
    let (from, before, after) = {
        let mut conn = store.read().await?;
        let (from, before) = match from {
            Some(number) => (from, committed_as(&mut conn, &number.to_string()).await?.documents),
            None => match stored::committed(&mut conn).await? {
                Some(policy) => (Some(policy.revision.0), policy.documents),
                None => (None, "[]".to_owned()),
            },
        };
        let after = match to {
            Some(number) => committed_as(&mut conn, &number.to_string()).await?.documents,
            None => stored::candidate(&mut conn).await?.documents,
        };
        (from, before, after)
    };
    Ok(Comparison { from, changes: compared(before, after).await? })
}
