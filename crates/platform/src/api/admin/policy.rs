//! Candidate policy, validation, synchronizing, revisions.

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::changes;
use xshield_api::impact::ExpectedImpact;
use xshield_api::page::Page;
use xshield_api::policy::{
    CandidatePolicy, CommitProspect, Differences, DocumentChange, PolicyFile, PolicyInput,
    PolicyRevision, Restore, Restored, Synchronize, Synchronized, Validated, WholeRevision,
};
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_policy::Revision;
use xshield_store as store;
use xshield_store::audit::Deed;
use xshield_store::policy::{Candidate, CommittedPolicy};
use xshield_store::{audit, commit};

use super::page::{PageQuery, paged};
use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::bodies::Held;
use crate::impact;
use crate::jobs::synchronize::{self, Prospect, compared, invalid_policy, rehearse, to_json};
use crate::policy::{CheckedPolicy, read, read_stored};
use crate::problem::{Answer, JsonBody, Problem, parse_json};
use crate::query::QueryOf;
use crate::rehearsals::Turn;
use crate::request_body;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        .routes(routes!(validate))
        .routes(routes!(impact))
        .routes(routes!(diff))
        .routes(routes!(synchronize))
        .routes(routes!(revisions))
        .routes(routes!(revision))
        .routes(routes!(restore))
}

fn documents_of(json: &str) -> Answer<serde_json::Value> {
    serde_json::from_str(json).map_err(|error| Problem::internal(&error))
}

fn shown(candidate: Candidate, committed: Option<&CommittedPolicy>) -> Answer<CandidatePolicy> {
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

/// The candidate policy
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy",
    responses((status = 200, body = CandidatePolicy)))]
async fn get(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<CandidatePolicy>> {
    let mut conn = app.store.read().await?;
    let candidate = store::policy::candidate(&mut conn).await?;
    let committed = store::policy::committed(&mut conn).await?;
    Ok(Json(shown(candidate, committed.as_ref())?))
}

/// A policy in the body, not yet read: JSON, or YAML as `application/yaml`.
struct Body {
    is_yaml: bool,
    bytes: Held,
}

impl Body {
    async fn of(request: Request, app: &App) -> Answer<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_yaml = kind.and_then(|kind| kind.to_str().ok()).is_some_and(|k| k.contains("yaml"));
        let bytes = request_body::take(app, request).await?;
        Ok(Self { is_yaml, bytes })
    }

    fn read(&self) -> Answer<CheckedPolicy> {
        let input = if self.is_yaml { yaml(&self.bytes)? } else { parse_json(&self.bytes)? };
        read(&input).map_err(invalid_policy)
    }
}

/// A policy in the body.
struct Sent(CheckedPolicy);

impl FromRequest<App> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let body = Body::of(request, app).await?;
        tokio::task::spawn_blocking(move || body.read()).await?.map(Self)
    }
}

fn yaml(body: &[u8]) -> Answer<PolicyInput> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::invalid("", format!("the YAML is not UTF-8: {error}")))?;
    let file = PolicyFile { name: "policy.yaml".to_owned(), text: text.to_owned() };
    Ok(PolicyInput { documents: None, files: Some(vec![file]) })
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct PutQuery {
    /// Refused unless the candidate is of this version.
    #[serde(default, deserialize_with = "crate::query::number")]
    #[param(value_type = Option<u64>)]
    expected_version: Option<u64>,
}

/// Replace the candidate policy, whole or not at all
#[utoipa::path(put, path = "/api/v1/policy", tag = "policy", params(PutQuery),
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = CandidatePolicy)))]
async fn put(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    QueryOf(query): QueryOf<PutQuery>,
    Sent(checked): Sent,
) -> Answer<Json<CandidatePolicy>> {
    let documents = to_json(&checked.documents)?;
    let actor = allowed.caller.actor();
    replace(&app, &actor, "policy.edit", &documents, query.expected_version).await.map(Json)
}

async fn replace(
    app: &App,
    actor: &str,
    action: &'static str,
    documents: &str,
    expected_version: Option<u64>,
) -> Answer<CandidatePolicy> {
    // Compared before anybody has to wait for it.
    let earlier = store::policy::candidate(&mut *app.store.read().await?).await?;
    let changes = compared(earlier.documents, documents.to_owned()).await?;
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let before = store::policy::candidate(&mut tx).await?;
    if expected_version.is_some_and(|expected| expected != before.version) {
        let detail =
            format!("the candidate is of version {} by now; look at it again", before.version);
        return Err(Problem::conflict("candidate-changed", detail).field("?expected_version"));
    }
    let unchanged = before.documents == documents && before.version > 0;
    if !unchanged {
        let version = store::policy::put_candidate(&mut tx, documents, actor, now).await?;
        let deed = Deed {
            actor,
            action,
            target: "policy",
            before: summary(before.version, &before.documents),
            after: match earlier.version == before.version {
                true => format!("{}: {}", summary(version, documents), changes::summary(&changes)),
                false => summary(version, documents),
            },
        };
        audit::record(&mut tx, deed, now).await?;
    }
    let candidate = store::policy::candidate(&mut tx).await?;
    let committed = store::policy::committed(&mut tx).await?;
    commit(tx).await?;
    shown(candidate, committed.as_ref())
}

fn summary(version: u64, documents: &str) -> String {
    let count = documents_of(documents)
        .ok()
        .and_then(|documents| documents.as_array().map(Vec::len))
        .unwrap_or_default();
    format!("version {version}, {count} documents")
}

/// The largest policy that a viewer may have rehearsed, in bytes.
const LARGEST_OF_A_VIEWER: usize = 1 << 20;

/// Where a policy is tried, which changes nothing.
pub(crate) const VALIDATE: &str = "/api/v1/policy/validate";

/// Check a policy, also against the inventory, and change nothing
///
/// One policy is checked at a time, and one of each account. It ends when the connection does.
#[utoipa::path(post, path = "/api/v1/policy/validate", tag = "policy",
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = Validated)))]
async fn validate(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    request: Request,
) -> Answer<Json<Validated>> {
    let place = app.rehearsals.place(allowed.caller.actor())?;
    let told = request.body().size_hint().lower();
    let bound = |bytes: u64| {
        if allowed.caller.role >= Role::Operator || bytes <= LARGEST_OF_A_VIEWER as u64 {
            return Ok(());
        }
        let title = "The policy is too large";
        Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title).detail(format!(
            "viewers may have policies of up to {LARGEST_OF_A_VIEWER} bytes checked; ask an operator"
        )))
    };
    bound(told)?;
    let body = Body::of(request, &app).await?;
    bound(body.bytes.len() as u64)?;
    let (turn, _waiting) = place.turn().await?;
    let read = tokio::task::spawn_blocking(move || (body.read(), turn));
    let (checked, turn) = read.await?;
    let checked = checked?;
    let documents = checked.documents.len();
    let Prospect { warnings, impact } = rehearse(&app, checked, turn).await?;
    Ok(Json(Validated { documents, warnings, impact }))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ImpactQuery {
    /// Of restoring this revision; of the candidate when left out.
    #[serde(default, deserialize_with = "crate::query::number")]
    #[param(value_type = Option<u64>)]
    revision: Option<u64>,
}

/// What committing the candidate, or restoring a revision, would do to assets; nothing is changed
///
/// One policy is compiled for this at a time, and one of each account.
#[utoipa::path(get, path = "/api/v1/policy/impact", tag = "policy", params(ImpactQuery),
    responses((status = 200, body = CommitProspect)))]
async fn impact(
    State(app): State<App>,
    allowed: Allowed<Viewer>,
    QueryOf(query): QueryOf<ImpactQuery>,
) -> Answer<Json<CommitProspect>> {
    prospect(&app, &allowed.caller, query.revision).await.map(Json)
}

/// What committing the candidate, or restoring a revision, would come to.
pub(crate) async fn prospect(
    app: &App,
    caller: &Caller,
    revision: Option<u64>,
) -> Answer<CommitProspect> {
    let place = app.rehearsals.place(caller.actor())?;
    let (turn, _waiting) = place.turn().await?;
    let (candidate, committed_revision) = {
        let mut conn = app.store.read().await?;
        let versions = store::policy::versions(&mut conn).await?;
        (store::policy::candidate(&mut conn).await?, versions.committed)
    };
    let documents = match revision {
        Some(revision) => known(app, &revision.to_string()).await?.documents,
        None => candidate.documents,
    };
    let checked = tokio::task::spawn_blocking(move || read_stored(&documents)).await?;
    let Prospect { warnings, impact } =
        rehearse(app, checked.map_err(invalid_policy)?, turn).await?;
    Ok(CommitProspect {
        candidate_version: candidate.version,
        committed_revision,
        warnings,
        impact,
    })
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// The earlier revision; the committed one when left out.
    #[serde(default, deserialize_with = "crate::query::number")]
    #[param(value_type = Option<u64>)]
    from: Option<u64>,
    /// The later revision; the candidate when left out.
    #[serde(default, deserialize_with = "crate::query::number")]
    #[param(value_type = Option<u64>)]
    to: Option<u64>,
}

/// What differs between two policies, by document and by line
#[utoipa::path(get, path = "/api/v1/policy/diff", tag = "policy", params(DiffQuery),
    responses((status = 200, body = Differences)))]
async fn diff(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Json<Differences>> {
    let (from, changes) = between(&app, query.from, query.to).await?;
    Ok(Json(Differences { from, to: query.to, changes }))
}

/// What differs between a revision, or the committed one, and a later one, or the candidate.
pub(crate) async fn between(
    app: &App,
    from: Option<u64>,
    to: Option<u64>,
) -> Answer<(Option<u64>, Vec<DocumentChange>)> {
    let (from, before) = match from {
        Some(revision) => (from, known(app, &revision.to_string()).await?.documents),
        None => {
            let committed = store::policy::committed(&mut *app.store.read().await?).await?;
            committed.map_or((None, "[]".to_owned()), |policy| {
                (Some(policy.revision.0), policy.documents)
            })
        }
    };
    let after = match to {
        Some(revision) => known(app, &revision.to_string()).await?.documents,
        None => store::policy::candidate(&mut *app.store.read().await?).await?.documents,
    };
    Ok((from, compared(before, after).await?))
}

/// Make the candidate the committed policy
///
/// Refused with status 409, and with the impact that it would have, when that is not the expected one.
#[utoipa::path(post, path = "/api/v1/policy/synchronize", tag = "policy",
    request_body = Synchronize, responses((status = 200, body = Synchronized)))]
async fn synchronize(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(wish): JsonBody<Synchronize>,
) -> Answer<Json<Synchronized>> {
    let actor = allowed.caller.actor();
    let Synchronize { expected_version, expected_impact, note } = wish;
    let request = synchronize::Request { actor, expected_version, expected_impact, note };
    synchronize::synchronize(&app, request).await.map(Json)
}

fn policy_revision(policy: CommittedPolicy) -> PolicyRevision {
    PolicyRevision {
        revision: policy.revision.0,
        note: policy.note,
        committed_at: policy.committed_at,
        committed_by: policy.committed_by,
    }
}

/// List revisions, the newest first
#[utoipa::path(get, path = "/api/v1/policy/revisions", tag = "policy", params(PageQuery),
    responses((status = 200, body = Page<PolicyRevision>)))]
async fn revisions(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<PolicyRevision>>> {
    let limit = page.limit()?;
    let mut conn = app.store.read().await?;
    let found = store::policy::revisions(&mut conn, page.after()?, limit + 1).await?;
    Ok(Json(paged(found, limit, |policy| policy.revision.0, policy_revision)))
}

/// One revision
#[utoipa::path(get, path = "/api/v1/policy/revisions/{revision}", tag = "policy",
    params(("revision" = u64, Path)), responses((status = 200, body = WholeRevision)))]
async fn revision(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(revision): Path<String>,
) -> Answer<Json<WholeRevision>> {
    let policy = known(&app, &revision).await?;
    let documents = documents_of(&policy.documents)?;
    Ok(Json(WholeRevision { about: policy_revision(policy), documents }))
}

async fn known(app: &App, revision: &str) -> Answer<CommittedPolicy> {
    let missing = || Problem::not_found("revision", revision);
    let number = revision.parse().map_err(|_| missing())?;
    let mut conn = app.store.read().await?;
    store::policy::revision(&mut conn, Revision(number)).await?.ok_or_else(missing)
}

/// Make an earlier revision the candidate, and commit it if wished
#[utoipa::path(post, path = "/api/v1/policy/revisions/{revision}/restore", tag = "policy",
    params(("revision" = u64, Path)), request_body = Restore,
    responses((status = 200, body = Restored)))]
async fn restore(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(revision): Path<String>,
    JsonBody(wish): JsonBody<Restore>,
) -> Answer<Json<Restored>> {
    let policy = known(&app, &revision).await?;
    let checked = read_stored(&policy.documents).map_err(invalid_policy)?;
    let Restore { synchronize: commits, expected_impact } = wish;
    if commits && expected_impact != ExpectedImpact::Any {
        // Before the candidate is replaced: a refusal changes nothing.
        let prospect = rehearse(&app, checked, Turn::of_its_own()).await?;
        impact::check(&expected_impact, &prospect.impact)?;
    }
    let actor = allowed.caller.actor();
    let candidate = replace(&app, &actor, "policy.restore", &policy.documents, None).await?;
    let synchronized = if commits {
        let note = format!("restored from revision {}", policy.revision);
        let expected_version = candidate.version;
        let request = synchronize::Request { actor, expected_version, expected_impact, note };
        Some(synchronize::synchronize(&app, request).await?)
    } else {
        None
    };
    Ok(Json(Restored { candidate, synchronized }))
}
