//! The visitor's own account: changing the password.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::form::Form;
use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::sign_in::SignInParts;
use crate::sign_in::{SignInPermit, change_password};
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/account", get(show).post(change))
}

/// The result of the form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Done {
    Nothing,
    Changed,
    Refused(String),
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    done: Done,
}

impl AccountPage {
    fn refusal(&self) -> Option<&str> {
        match &self.done {
            Done::Refused(reason) => Some(reason),
            Done::Nothing | Done::Changed => None,
        }
    }

    fn is_changed(&self) -> bool {
        self.done == Done::Changed
    }
}

async fn show(Visitor(person): Visitor<Viewer>) -> Response {
    let frame = Frame::new("Account", Section::Elsewhere, person.caller());
    answer(StatusCode::OK, &AccountPage { frame, done: Done::Nothing })
}

async fn change(
    State(parts): State<SignInParts>,
    Visitor(person): Visitor<Viewer>,
    sign_in_permit: SignInPermit,
    form: Form,
) -> Answer<Response> {
    let given = |name: &str| form.all(name).next().unwrap_or_default().to_owned();
    let (old, new) = (given("old"), given("new"));
    let changed = if new == given("again") {
        change_password(&parts, sign_in_permit, &person, old, new).await
    } else {
        let frame = Frame::new("Account", Section::Elsewhere, person.caller());
        let done = Done::Refused("The two new passwords differ; nothing was changed.".to_owned());
        return Ok(answer(StatusCode::UNPROCESSABLE_ENTITY, &AccountPage { frame, done }));
    };
    let (status, done) = match changed {
        Ok(()) => (StatusCode::OK, Done::Changed),
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
            let detail =
                problem.detail.clone().map_or_else(String::new, |text| format!(": {text}"));
            let done = Done::Refused(format!("{}{detail}. Nothing was changed.", problem.title));
            (problem.status, done)
        }
        Err(problem) => return Err(problem),
    };
    let frame = Frame::new("Account", Section::Elsewhere, person.caller());
    Ok(answer(status, &AccountPage { frame, done }))
}
