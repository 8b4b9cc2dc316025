//! Candidate policy, validation, commit, revisions.

use std::sync::Arc;

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::{FromRef, FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::policy::{
    CandidatePolicy, CommitProspect, DiffQuery, Differences, ImpactQuery, PolicyFile, PolicyInput,
    PolicyRevision, PutQuery, Restore, Restored, Synchronize, Synchronized, Validated,
    WholeRevision,
};
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_operations::OperationError;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Pages as _;
use xshield_operations::policy::candidate::{self, Comparison};
use xshield_operations::policy::documents::{self, CheckedPolicy};
use xshield_operations::policy::restore as restored;
use xshield_operations::policy::simulate::{self, Prospect};
use xshield_operations::policy::simulations::Simulations;
use xshield_operations::policy::synchronize as committed;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::bodies::Held;
use crate::json;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::query::QueryOf;
use crate::request_body;
use crate::request_body::JsonBody;
use crate::signals::HostEffects;
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

/// The candidate policy
#[utoipa::path(get, path = "/api/v1/policy", tag = "policy",
    responses((status = 200, body = CandidatePolicy)))]
async fn get(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<CandidatePolicy>> {
    Ok(Json(candidate::get(&mut *store.read().await?).await?))
}

/// A policy in the request body, not parsed yet: JSON, or YAML as `application/yaml`.
struct Body {
    is_yaml: bool,
    bytes: Held,
}

impl Body {
    async fn of(request: Request, limits: &Limits) -> Answer<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_yaml = kind.and_then(|kind| kind.to_str().ok()).is_some_and(|k| k.contains("yaml"));
        let bytes = request_body::take(limits, request).await?;
        Ok(Self { is_yaml, bytes })
    }

    fn read(&self) -> Answer<CheckedPolicy> {
        let input = if self.is_yaml { yaml(&self.bytes)? } else { json::parse(&self.bytes)? };
        Ok(documents::read(&input).map_err(OperationError::InvalidPolicy)?)
    }
}

/// A policy in the request body.
struct Sent(CheckedPolicy);

impl<S> FromRequest<S> for Sent
where
    S: Send + Sync,
    Arc<Limits>: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorResponse> {
        let body = Body::of(request, &Arc::from_ref(state)).await?;
        tokio::task::spawn_blocking(move || body.read()).await?.map(Self)
    }
}

fn yaml(body: &[u8]) -> Answer<PolicyInput> {
    let text = std::str::from_utf8(body)
        .map_err(|error| ErrorResponse::invalid("", format!("the YAML is not UTF-8: {error}")))?;
    let file = PolicyFile { name: "policy.yaml".to_owned(), text: text.to_owned() };
    Ok(PolicyInput { documents: None, files: Some(vec![file]) })
}

/// Replace the candidate policy as a whole
#[utoipa::path(put, path = "/api/v1/policy", tag = "policy", params(PutQuery),
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = CandidatePolicy)))]
async fn put(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    QueryOf(query): QueryOf<PutQuery>,
    Sent(checked): Sent,
) -> Answer<Json<CandidatePolicy>> {
    let version = query.expected_version;
    let candidate = candidate::apply(&store, &allowed, &checked, version, Timestamp::now()).await?;
    Ok(Json(candidate))
}

/// The largest policy that a viewer may have simulated, in bytes.
const LARGEST_OF_A_VIEWER: usize = 1 << 20;

/// Validates a policy without changing anything.
pub(crate) const VALIDATE: &str = "/api/v1/policy/validate";

/// Check a policy, also against the inventory, without changing anything
///
/// One policy is checked at a time per account. The check ends when the connection does.
#[utoipa::path(post, path = "/api/v1/policy/validate", tag = "policy",
    request_body(content((PolicyInput = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = Validated)))]
async fn validate(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(simulations): State<Arc<Simulations>>,
    State(limits): State<Arc<Limits>>,
    allowed: Allowed<Viewer>,
    request: Request,
) -> Answer<Json<Validated>> {
    let place = simulations.place(allowed.actor())?;
    let told = request.body().size_hint().lower();
    let bound = |bytes: u64| {
        if allowed.caller().role >= Role::Operator || bytes <= LARGEST_OF_A_VIEWER as u64 {
            return Ok(());
        }
        let title = "Policy too large";
        Err(ErrorResponse::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title).detail(format!(
            "viewers can check policies of up to {LARGEST_OF_A_VIEWER} bytes; ask an operator"
        )))
    };
    bound(told)?;
    let body = Body::of(request, &limits).await?;
    bound(body.bytes.len() as u64)?;
    let (permit, _waiting) = place.permit().await?;
    let read = tokio::task::spawn_blocking(move || (body.read(), permit));
    let (checked, permit) = read.await?;
    let checked = checked?;
    let documents = checked.documents.len();
    let Prospect { warnings, impact } =
        simulate::simulate(&store, &compiler, checked, permit).await?;
    Ok(Json(Validated { documents, warnings, impact }))
}

/// Preview what committing the candidate or restoring a revision would do to assets, without changing
/// anything
///
/// One policy is compiled for this at a time per account.
#[utoipa::path(get, path = "/api/v1/policy/impact", tag = "policy", params(ImpactQuery),
    responses((status = 200, body = CommitProspect)))]
async fn impact(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(simulations): State<Arc<Simulations>>,
    allowed: Allowed<Viewer>,
    QueryOf(query): QueryOf<ImpactQuery>,
) -> Answer<Json<CommitProspect>> {
    let (store, simulations) = (&store, &simulations);
    let revision = query.revision;
    let prospect = simulate::prospect(store, &compiler, simulations, &allowed, revision).await?;
    Ok(Json(prospect))
}

/// The differences between two policies, by document and line
#[utoipa::path(get, path = "/api/v1/policy/diff", tag = "policy", params(DiffQuery),
    responses((status = 200, body = Differences)))]
async fn diff(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Answer<Json<Differences>> {
    let Comparison { from, changes } = candidate::compare(&store, query.from, query.to).await?;
    Ok(Json(Differences { from, to: query.to, changes }))
}

/// Commit the candidate policy
///
/// Refused with status 409 and the actual impact when that is not the expected one.
#[utoipa::path(post, path = "/api/v1/policy/synchronize", tag = "policy",
    request_body = Synchronize, responses((status = 200, body = Synchronized)))]
async fn synchronize(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    JsonBody(body): JsonBody<Synchronize>,
) -> Answer<Json<Synchronized>> {
    let (store, compiler) = (&store, &compiler);
    Ok(Json(committed::synchronize(store, compiler, &effects, &allowed, body).await?))
}

/// List revisions, newest first
#[utoipa::path(get, path = "/api/v1/policy/revisions", tag = "policy", params(PageQuery),
    responses((status = 200, body = Page<PolicyRevision>)))]
async fn revisions(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<PolicyRevision>>> {
    let paging = page.paging()?;
    Ok(Json(candidate::revisions(&mut *store.read().await?, paging).await?))
}

/// Get a revision
#[utoipa::path(get, path = "/api/v1/policy/revisions/{revision}", tag = "policy",
    params(("revision" = u64, Path)), responses((status = 200, body = WholeRevision)))]
async fn revision(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(revision): Path<String>,
) -> Answer<Json<WholeRevision>> {
    Ok(Json(candidate::revision(&mut *store.read().await?, &revision).await?))
}

/// Make an earlier revision the candidate, and optionally commit it
#[utoipa::path(post, path = "/api/v1/policy/revisions/{revision}/restore", tag = "policy",
    params(("revision" = u64, Path)), request_body = Restore,
    responses((status = 200, body = Restored)))]
async fn restore(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(revision): Path<String>,
    JsonBody(body): JsonBody<Restore>,
) -> Answer<Json<Restored>> {
    let (store, compiler) = (&store, &compiler);
    let restored = restored::restore(store, compiler, &effects, &allowed, &revision, body).await?;
    Ok(Json(restored))
}
