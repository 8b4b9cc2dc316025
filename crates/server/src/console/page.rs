//! Elements common to all pages.

use askama::Template;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use xshield_api::field_error::FieldError;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_operations::enforcement_keys::{expiring, warning};
use xshield_store::Store;

use crate::auth::Caller;
use crate::problem::{Answer, ErrorResponse};
use crate::settings::Settings;

/// Only content of the platform itself is loaded and run, no inline scripts or styles; no other site may
/// frame a page, and forms go nowhere else.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; object-src 'none'";

/// Renders a page as a response.
pub(super) fn answer<T: Template>(status: StatusCode, page: &T) -> Response {
    let text = match page.render() {
        Ok(text) => text,
        Err(error) => return ErrorResponse::internal(&error).into_response(),
    };
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // The referrer is sent within the console (sign-in forms need no more), not to other sites.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The section of the console that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Hosts that need attention.
    Overview,
    /// Assets with a resident agent.
    Agents,
    /// Assets that Spark runs on.
    Spark,
    /// Commands to hosts.
    Commands,
    /// The committed policy and the candidate.
    Policy,
    /// How to connect hosts.
    Installation,
    /// No section.
    Elsewhere,
}

/// Warnings that operators should see in time, on all pages about hosts.
pub(super) async fn warnings(store: &Store, settings: &Settings) -> Answer<Vec<String>> {
    let now = Timestamp::now();
    let within = settings.key_expiry_warning;
    let keys = expiring(&mut *store.read().await?, within, now).await?;
    Ok(keys.iter().map(|key| warning(key, now)).collect())
}

/// The common frame around the content of a page.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) title: String,
    section: Section,
    pub(super) account: String,
    role: Role,
}

impl Frame {
    /// For this visitor.
    pub(super) fn new(title: impl Into<String>, section: Section, caller: &Caller) -> Self {
        let (account, role) = (caller.account.clone(), caller.role);
        Self { title: title.into(), section, account, role }
    }

    /// Whether controls that change something are shown.
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

    /// The `aria-current` value for the link of a section.
    pub(super) fn current(&self, section: Section) -> &'static str {
        if self.section == section { "page" } else { "false" }
    }
}

/// The sign-in form.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    to: String,
    user: String,
    refused: bool,
}

impl SignInPage {
    /// Redirects to `to`, a page of this console, afterwards.
    pub(super) fn new(to: String) -> Self {
        Self { to, user: String::new(), refused: false }
    }

    /// The form after a wrong password.
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
    pub(super) fn of(problem: &ErrorResponse) -> Self {
        Self {
            status: problem.status.as_u16(),
            title: problem.title.clone(),
            detail: problem.detail.clone().unwrap_or_default(),
            field: problem.field.clone().unwrap_or_default(),
            errors: problem.errors.clone(),
        }
    }
}
