//! The candidate becomes the committed policy, whole or not at all.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use xshield_api::changes;
use xshield_api::impact::{ExpectedImpact, ImpactSummary, in_short};
use xshield_api::policy::{DocumentChange, Synchronized};
use xshield_model::Timestamp;
use xshield_model::claim::Fact;
use xshield_policy::Revision;
use xshield_policy::document::{Document, Policy};
use xshield_store as store;
use xshield_store::audit::Deed;
use xshield_store::policy::CommittedPolicy;
use xshield_store::{assets, audit, commit};

use super::compile::{self, Committed, Failure, Rehearsed};
use crate::claims::named_in_words;
use crate::impact;
use crate::policy::{CheckedPolicy, read_stored};
use crate::problem::{Answer, FieldError, Problem};
use crate::rehearsals::Turn;
use crate::state::App;

/// Who synchronizes what.
#[derive(Debug)]
pub struct Request {
    /// As the audit log writes it.
    pub actor: String,
    /// Refused unless the candidate is of this version.
    pub expected_version: u64,
    /// Refused when it would do something else.
    pub expected_impact: ExpectedImpact,
    /// What the operator says about it.
    pub note: String,
}

/// Makes the candidate the committed policy: compiles it for every asset, and only when that
/// succeeds stores revision and rulesets, all or nothing.
///
/// # Errors
/// A problem that lists what can't be compiled.
pub async fn synchronize(app: &App, request: Request) -> Answer<Synchronized> {
    let mut turn = app.compiling.turn().await;
    let before = turn.committed(app).await?;
    let (candidate, last, inventory) = {
        let mut conn = app.store.read().await?;
        let candidate = store::policy::candidate(&mut conn).await?;
        let last = store::policy::committed(&mut conn).await?;
        (candidate, last, assets::inventory(&mut conn).await?)
    };
    if request.expected_version != candidate.version {
        return Err(Problem::conflict(
            "candidate-changed",
            format!("the candidate is of version {} by now; look at it again", candidate.version),
        )
        .field("/expected_version"));
    }
    let CheckedPolicy { policy, documents } =
        read_stored(&candidate.documents).map_err(invalid_policy)?;
    let (last, committed_before) = match last {
        Some(policy) => (Some(policy.revision), policy.documents),
        None => (None, "[]".to_owned()),
    };
    let changes = compared(committed_before, candidate.documents.clone()).await?;
    let revision = Revision(last.unwrap_or_default().0 + 1);
    let committed = Committed { revision, policy };
    let mut fresh =
        compile::rehearse(app, before, committed, inventory, Turn::of_its_own()).await?;
    compiles(&fresh)?;
    let impact = fresh.impact(&to_json(&documents)?)?;
    impact::check(&request.expected_impact, &impact)?;
    let mut warnings = std::mem::take(&mut fresh.warnings);
    warnings.extend(claimed_names(app, fresh.policy()).await?);

    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let stored = CommittedPolicy {
        revision,
        documents: candidate.documents,
        note: request.note.clone(),
        committed_at: now,
        committed_by: request.actor.clone(),
    };
    store::policy::insert_revision(&mut tx, &stored).await?;
    fresh.store(&mut tx, now).await?;
    let assets = fresh.digests().len();
    let deed = Deed {
        actor: &request.actor,
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
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    fresh.digests().iter().for_each(|(asset, _)| app.waking.wake(asset));
    app.compiling.committed(turn, fresh);
    app.configuring.changed();
    app.threat.changed();
    Ok(Synchronized { revision: revision.0, assets, warnings, impact })
}

/// What committing a policy would come to.
#[derive(Debug)]
pub struct Prospect {
    /// What compiles but probably isn't meant.
    pub warnings: Vec<String>,
    /// What would become of assets.
    pub impact: ImpactSummary,
}

/// Compiles documents that aren't committed, to see what that comes to.
///
/// # Errors
/// A problem that lists what can't be compiled.
pub async fn rehearse(app: &App, checked: CheckedPolicy, turn: Turn) -> Answer<Prospect> {
    let before = compile::committed(app).await?;
    let inventory = assets::inventory(&mut *app.store.read().await?).await?;
    let CheckedPolicy { documents, policy } = checked;
    let documents = to_json(&documents)?;
    let rehearsed = Committed { revision: Revision(0), policy };
    let mut rehearsed = compile::rehearse(app, before, rehearsed, inventory, turn).await?;
    compiles(&rehearsed)?;
    let mut warnings = std::mem::take(&mut rehearsed.warnings);
    warnings.extend(claimed_names(app, rehearsed.policy()).await?);
    Ok(Prospect { warnings, impact: rehearsed.impact(&documents)? })
}

/// What differs between stored documents.
///
/// # Errors
/// When they can't be read.
pub(crate) async fn compared(before: String, after: String) -> Answer<Vec<DocumentChange>> {
    let compare = move || -> Answer<Vec<DocumentChange>> {
        if before == after {
            return Ok(Vec::new());
        }
        let read = |json: &str| -> Answer<Vec<Document>> {
            serde_json::from_str(json).map_err(|error| Problem::internal(&error))
        };
        let changes = changes::changes(&read(&before)?, &read(&after)?);
        changes.map_err(|error| Problem::internal(&error))
    };
    tokio::task::spawn_blocking(compare).await?
}

/// Documents as they are stored.
///
/// # Errors
/// When they can't be written as JSON.
pub fn to_json(documents: &[Document]) -> Answer<String> {
    serde_json::to_string(documents).map_err(|error| Problem::internal(&error))
}

/// Hosts that say that they have names of which the policy speaks.
async fn claimed_names(app: &App, policy: &Policy) -> Answer<Vec<String>> {
    let waiting = store::claims::waiting(&mut *app.store.read().await?).await?;
    let claimed = waiting.iter().filter_map(|(asset, claim)| match &claim.fact {
        Fact::Name(name) if policy.names_asset(name) => Some(named_in_words(asset, name)),
        _ => None,
    });
    Ok(claimed.collect())
}

/// Whether a policy could be compiled for all assets.
fn compiles(rehearsed: &Rehearsed) -> Answer<()> {
    let mut failures = rehearsed.failures().peekable();
    if failures.peek().is_none() { Ok(()) } else { Err(does_not_compile(failures)) }
}

/// The failures, each once, with the first asset that has it.
fn does_not_compile<'a>(failures: impl Iterator<Item = (&'a str, &'a Failure)>) -> Problem {
    let mut reasons: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for (asset, failure) in failures {
        let (_, count) = reasons.entry(failure.to_string()).or_insert((asset, 0));
        *count += 1;
    }
    let told: Vec<String> = reasons
        .into_iter()
        .map(|(reason, (name, count))| match count {
            1 => format!("asset {name}: {reason}"),
            _ => format!("asset {name} and {} more: {reason}", count - 1),
        })
        .collect();
    let first = told.first().cloned().unwrap_or_default();
    let errors = told
        .into_iter()
        .map(|reason| FieldError { field: String::new(), reason, place: None })
        .collect();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "policy-does-not-compile",
        "The policy can't be compiled, and nothing was changed",
    )
    .detail(format!("{first}; nothing was changed"))
    .errors(errors)
}

/// Everything wrong in a set of documents, as a problem.
#[must_use]
pub fn invalid_policy(errors: Vec<FieldError>) -> Problem {
    let problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", "The policy is not valid");
    let first = errors.first().map(|error| {
        let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        format!("{place}{}", error.reason)
    });
    let field = errors.first().map(|error| error.field.clone()).unwrap_or_default();
    problem.field(field).detail(first.unwrap_or_default()).errors(errors)
}
