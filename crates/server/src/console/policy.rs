//! The candidate policy: the impact of committing it, and the commit.

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use xshield_api::changes::headline;
use xshield_api::impact::{ExpectedImpact, ImpactLine, NoExpectedImpact, Weight, lines};
use xshield_api::policy::{CommitProspect, DocumentChange, Synchronize};
use xshield_operations::caller::AtLeast;
use xshield_operations::policy::candidate::{Comparison, compare};
use xshield_operations::policy::simulate::prospect;
use xshield_operations::policy::synchronize::synchronize;
use xshield_operations::{By, OperationError};

use super::form::Form;
use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::{Operator, Viewer};
use crate::problem::{Answer, ErrorResponse};
use crate::signals::HostEffects;
use crate::state::{App, CandidateParts};

pub(super) fn router() -> Router<App> {
    Router::new().route("/policy", get(show)).route("/policy/commit", post(commit))
}

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    prospect: CommitProspect,
    lines: Vec<ImpactLine>,
    /// The differences from the committed policy.
    changes: Vec<DocumentChange>,
    /// Why the requested commit was refused.
    refusal: Option<String>,
    note: String,
}

impl PolicyPage {
    fn headline(change: &DocumentChange) -> String {
        headline(change)
    }

    fn tone(line: &ImpactLine) -> &'static str {
        match line.weight {
            Weight::Loss => "bad",
            Weight::Gain => "good",
            Weight::Change => "quiet",
        }
    }
}

async fn show(
    Shared(candidate): Shared<CandidateParts>,
    Visitor(person): Visitor<Viewer>,
) -> Answer<Response> {
    page(&candidate, &person, None, String::new()).await
}

async fn page<R: AtLeast>(
    candidate: &CandidateParts,
    by: &By<R>,
    refusal: Option<&ErrorResponse>,
    note: String,
) -> Answer<Response> {
    let CandidateParts { store, compiler, simulations } = candidate;
    let prospect = prospect(store, compiler, simulations, by, None).await?;
    let lines = lines(&prospect.impact);
    let Comparison { changes, .. } = compare(store, None, None).await?;
    let frame = Frame::new("Policy", Section::Policy, by.caller());
    let status = refusal.map_or(StatusCode::OK, |problem| problem.status);
    let refusal = refusal.map(|problem| problem.detail.clone().unwrap_or_default());
    Ok(answer(status, &PolicyPage { frame, prospect, lines, changes, refusal, note }))
}

async fn commit(
    Shared(candidate): Shared<CandidateParts>,
    Shared(effects): Shared<HostEffects>,
    Visitor(person): Visitor<Operator>,
    form: Form,
) -> Answer<Response> {
    let field = |name: &'static str| {
        form.one(name).ok_or_else(|| ErrorResponse::invalid(name, "missing from the form"))
    };
    let version = field("version")?;
    let expected_version =
        version.parse().map_err(|_| ErrorResponse::invalid("version", "not a number"))?;
    let expected_impact: ExpectedImpact = field("impact")?
        .parse()
        .map_err(|error: NoExpectedImpact| ErrorResponse::invalid("impact", error.to_string()))?;
    let note = form.one("note").unwrap_or_default().to_owned();
    let request = Synchronize { expected_version, expected_impact, note: note.clone() };
    let CandidateParts { store, compiler, .. } = &candidate;
    match synchronize(store, compiler, &effects, &person, request).await {
        Ok(_) => Ok(Redirect::to("/policy").into_response()),
        // It has changed since the page was rendered: shown again with the current state.
        Err(
            refusal @ (OperationError::Conflict { .. } | OperationError::UnexpectedImpact { .. }),
        ) => page(&candidate, &person, Some(&refusal.into()), note).await,
        Err(error) => Err(error.into()),
    }
}
