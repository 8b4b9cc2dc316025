//! What all pages have in common.

use askama::Template;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use xshield_api::field_error::FieldError;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_operations::enforcement_keys::{expiring, warning};

use crate::auth::Caller;
use crate::problem::{Answer, Problem};
use crate::state::App;

/// Only what the platform itself serves is loaded and run, nothing that stands in a page; no other
/// site frames it, and forms go nowhere else.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; object-src 'none'";

/// A page as an answer.
pub(super) fn answer<T: Template>(status: StatusCode, page: &T) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => return Problem::internal(&error).into_response(),
    };
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Within the console the address is told (sign-in forms need no more), to others nothing.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Where in the console a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What needs attention.
    Overview,
    /// Assets with a resident agent.
    Agents,
    /// Assets that Spark runs on.
    Spark,
    /// Commands to hosts.
    Commands,
    /// What is committed, and what would be.
    Policy,
    /// How hosts come here.
    Installation,
    /// Somewhere else.
    Elsewhere,
}

/// What an operator has to hear in time, wherever hosts are spoken of.
pub(super) async fn warnings(app: &App) -> Answer<Vec<String>> {
    let now = Timestamp::now();
    let within = app.settings.key_expiry_warning;
    let keys = expiring(&mut *app.store.read().await?, within, now).await?;
    Ok(keys.iter().map(|key| warning(key, now)).collect())
}

/// What is around a page's own content.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    section: Section,
    pub(super) account: String,
    role: Role,
}

impl Frame {
    /// For this caller.
    pub(super) fn new(title: impl Into<String>, section: Section, caller: &Caller) -> Self {
        let (account, role) = (caller.account.clone(), caller.role);
        Self { title: title.into(), section, account, role }
    }

    /// Whether controls are shown that change something.
    pub(super) fn acts(&self) -> bool {
        self.role >= Role::Operator
    }

    pub(super) fn role(&self) -> &'static str {
        match self.role {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// For the link of a section.
    pub(super) fn current(&self, section: Section) -> &'static str {
        if self.section == section { "page" } else { "false" }
    }
}

/// Asks for account and password.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    to: String,
    user: String,
    refused: bool,
}

impl SignInPage {
    /// That leads on to `to`, a place of this console.
    pub(super) fn new(to: String) -> Self {
        Self { to, user: String::new(), refused: false }
    }

    /// The same after a wrong password.
    pub(super) fn refused(to: String, user: &str) -> Self {
        Self { to, user: user.to_owned(), refused: true }
    }
}

/// A problem.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage {
    status: u16,
    title: String,
    detail: String,
    field: String,
    errors: Vec<FieldError>,
}

impl ErrorPage {
    pub(super) fn of(problem: &Problem) -> Self {
        Self {
            status: problem.status.as_u16(),
            title: problem.title.clone(),
            detail: problem.detail.clone().unwrap_or_default(),
            field: problem.field.clone().unwrap_or_default(),
            errors: problem.errors.clone(),
        }
    }
}
