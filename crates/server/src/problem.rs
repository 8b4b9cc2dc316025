//! Errors as RFC 9457 problem documents, which name the invalid field.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use xshield_api::field_error::FieldError;
use xshield_api::problem as api;
use xshield_model::causes::in_words;
use xshield_operations::OperationError;
use xshield_store::StoreError;

/// An error response (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone)]
pub struct ErrorResponse {
    /// HTTP status.
    pub status: StatusCode,
    /// Seconds to wait before trying again.
    pub retry_after: Option<u64>,
    document: Box<api::ProblemDocument>,
}

/// The result of a handler.
pub type Answer<T> = Result<T, ErrorResponse>;

impl ErrorResponse {
    /// A problem of type `/problems/{slug}`.
    #[must_use]
    pub fn new(status: StatusCode, slug: &str, title: &str) -> Self {
        let document = Box::new(api::ProblemDocument {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            ..api::ProblemDocument::default()
        });
        Self { status, retry_after: None, document }
    }

    /// The last part of the type.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }

    /// Sets what happened and what to do.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names the field, as a JSON pointer.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Lists all errors.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// A field has an invalid value.
    #[must_use]
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", "Invalid value")
            .field(field)
            .detail(reason)
    }

    /// The resource does not exist.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found")
            .detail(format!("there is no {what} {id:?}"))
    }

    /// The change conflicts with the current state.
    #[must_use]
    pub fn conflict(slug: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, "Conflict").detail(detail)
    }

    /// The browser has no valid session.
    #[must_use]
    pub(crate) fn unauthenticated_here() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in")
            .detail("sign in at /sign-in")
    }

    /// Too many requests.
    #[must_use]
    pub fn too_many(what: &str, seconds: u64) -> Self {
        let mut problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests")
                .detail(format!("too many {what}; try again in {seconds} s"));
        problem.retry_after = Some(seconds);
        problem
    }

    /// An internal failure. The cause is logged, not sent to the caller.
    #[must_use]
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let text = in_words(cause);
        tracing::error!(cause = text, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error").detail(
            "the request failed for an internal reason, see the platform's log. Try \
                 again later",
        )
    }
}

impl std::ops::Deref for ErrorResponse {
    type Target = api::ProblemDocument;

    fn deref(&self) -> &api::ProblemDocument {
        &self.document
    }
}

impl std::ops::DerefMut for ErrorResponse {
    fn deref_mut(&mut self) -> &mut api::ProblemDocument {
        &mut self.document
    }
}

/// Maps the errors of operations to HTTP.
impl From<OperationError> for ErrorResponse {
    fn from(error: OperationError) -> Self {
        use OperationError as E;
        let text = error.to_string();
        match error {
            E::Invalid { field, .. } => Self::invalid(&field, text),
            E::NotFound { what, id } => Self::not_found(what, &id),
            E::Conflict { code, field, .. } => {
                let problem = Self::conflict(code, text);
                match field {
                    Some(field) => problem.field(field),
                    None => problem,
                }
            }
            E::UnexpectedImpact { code, impact, .. } => {
                let mut problem = Self::conflict(code, text).field("/expected_impact");
                problem.impact = Some(impact);
                problem
            }
            E::Forbidden { field, .. } => {
                let problem =
                    Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed").detail(text);
                match field {
                    Some(field) => problem.field(field),
                    None => problem,
                }
            }
            E::TooMany { what, seconds } => Self::too_many(what, seconds),
            E::InvalidPolicy(errors) => invalid_policy(errors),
            E::PolicyDoesNotCompile(errors) => does_not_compile(errors),
            E::RulesetNotCompiled { .. } => {
                let title = "Ruleset can't be compiled";
                Self::new(StatusCode::CONFLICT, "ruleset-not-compiled", title).detail(text)
            }
            E::Store(error) => Self::internal(&error),
            error @ E::Failed { .. } => Self::internal(&error),
        }
    }
}

/// All errors in a set of documents.
fn invalid_policy(errors: Vec<FieldError>) -> ErrorResponse {
    let problem =
        ErrorResponse::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", "Invalid policy");
    let first = errors.first().map(|error| {
        let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        format!("{place}{}", error.reason)
    });
    let field = errors.first().map(|error| error.field.clone()).unwrap_or_default();
    problem.field(field).detail(first.unwrap_or_default()).errors(errors)
}

/// All reasons why a policy can't be compiled.
fn does_not_compile(errors: Vec<FieldError>) -> ErrorResponse {
    let first = errors.first().map(|error| error.reason.clone()).unwrap_or_default();
    ErrorResponse::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "policy-does-not-compile",
        "Policy can't be compiled",
    )
    .detail(format!("{first}; nothing was changed"))
    .errors(errors)
}

impl From<StoreError> for ErrorResponse {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<tokio::task::JoinError> for ErrorResponse {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(mut self) -> Response {
        let retry_after = self.retry_after;
        let status = self.status;
        self.document.status = status.as_u16();
        let body = serde_json::to_vec(&*self.document).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the console, which renders it as a page.
        response.extensions_mut().insert(self);
        response
    }
}
