//! Signing in and out.

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use xshield_model::Timestamp;
use xshield_operations::sign_in;
use xshield_store::Store;

use super::form::Form;
use super::page::{SignInPage, answer};
use super::session::{Visitor, forgotten, kept};
use crate::auth::Viewer;
use crate::connections::registry::Connection;
use crate::problem::Answer;
use crate::query::QueryOf;
use crate::sign_in::SignInParts;
use crate::sign_in::{Admitted, SignInPermit, WRONG, with_password};
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/sign-in", get(ask).post(enter)).route("/sign-out", post(leave))
}

/// The sign-in page that redirects to `to`.
pub(super) fn href(to: &str) -> String {
    match local(to).as_str() {
        "/" => "/sign-in".to_owned(),
        to => {
            let to = [("to", to)];
            format!("/sign-in?{}", serde_urlencoded::to_string(to).unwrap_or_default())
        }
    }
}

#[derive(Deserialize)]
struct SignInForm {
    #[serde(default)]
    to: Option<String>,
}

async fn ask(QueryOf(parameters): QueryOf<SignInForm>) -> Response {
    let page = SignInPage::new(local(parameters.to.as_deref().unwrap_or("/")));
    answer(StatusCode::OK, &page)
}

async fn enter(
    State(parts): State<SignInParts>,
    sign_in_permit: SignInPermit,
    Extension(connection): Extension<Connection>,
    form: Form,
) -> Answer<Response> {
    let (user, password) = (form.one("user"), form.one("password"));
    let to = local(form.one("to").unwrap_or("/"));
    let password = password.unwrap_or_default().to_owned();
    let admitted = with_password(
        &parts,
        sign_in_permit,
        &connection,
        user.unwrap_or_default(),
        password,
        "console",
    )
    .await;
    let Admitted { text, expires_at, .. } = match admitted {
        Ok(admitted) => admitted,
        Err(problem) if problem.kind.ends_with(WRONG) => {
            let page = SignInPage::refused(to, user.unwrap_or_default());
            return Ok(answer(problem.status, &page));
        }
        Err(problem) => return Err(problem),
    };
    let seconds = expires_at.0.saturating_sub(Timestamp::now().0);
    Ok(([(header::SET_COOKIE, kept(&text, seconds)?)], Redirect::to(&to)).into_response())
}

async fn leave(State(store): State<Store>, Visitor(allowed): Visitor<Viewer>) -> Answer<Response> {
    sign_in::out(&store, &allowed, Timestamp::now()).await?;
    Ok(([(header::SET_COOKIE, forgotten()?)], Redirect::to("/sign-in")).into_response())
}

/// A page of this console as a browser will interpret it; the overview for anything else. What counts is the
/// interpretation by the URL parser that browsers use, not the look of the text.
fn local(to: &str) -> String {
    const FIRST: &str = "/";
    let Ok(here) = url::Url::parse("https://console.invalid/") else { return FIRST.to_owned() };
    let Ok(meant) = here.join(to) else { return FIRST.to_owned() };
    if meant.origin() != here.origin() || !to.starts_with('/') || meant.path().starts_with("//") {
        return FIRST.to_owned();
    }
    match meant.query() {
        Some(query) => format!("{}?{query}", meant.path()),
        None => meant.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_console_are_redirected_to() {
        for (to, place) in [
            ("/", "/"),
            ("/assets/web-1", "/assets/web-1"),
            ("/sensors/agents?status=late&name=a%20b", "/sensors/agents?status=late&name=a%20b"),
            ("/a/../b", "/b"),
            ("", "/"),
            ("sensors", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("///evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("\\\\evil.example/", "/"),
            ("/.//evil.example/", "/"),
            ("/..//evil.example", "/"),
            ("/%2e//evil.example", "/"),
            ("/\t/evil.example/", "/"),
            ("\n//evil.example/", "/"),
            ("javascript:alert(1)", "/"),
            ("https:evil.example", "/"),
            ("/x\r\nset-cookie: a=b", "/xset-cookie:%20a=b"),
        ] {
            assert_eq!(local(to), place, "{to:?}");
        }
    }
}
