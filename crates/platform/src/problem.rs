//! Errors as RFC 9457 problem documents, which name the field at fault.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xshield_api::field_error::FieldError;
use xshield_api::impact::ImpactSummary;
use xshield_operations::OperationError;
use xshield_operations::pointer::pointer;
use xshield_store::StoreError;

pub use crate::request_body::JsonBody;

/// An error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

/// What an error answer says.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// A URI reference that names the kind, e.g. `/problems/clock-skew`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: String,
    /// HTTP status.
    #[serde(serialize_with = "status_number")]
    #[schema(value_type = u16)]
    pub status: StatusCode,
    /// This occurrence; says what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The field at fault, as a JSON pointer into the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Everything that is wrong, where there is more than one thing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What a commit would do, where another impact was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impact: Option<Box<ImpactSummary>>,
    /// Seconds to wait before trying again.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after: Option<u64>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

/// The answer of a handler.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of the kind `/problems/{slug}`.
    #[must_use]
    pub fn new(status: StatusCode, slug: &str, title: &str) -> Self {
        Self(Box::new(Details {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            status,
            detail: None,
            field: None,
            errors: Vec::new(),
            impact: None,
            retry_after: None,
        }))
    }

    /// The last part of the kind.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }

    /// Says what happened and what to do.
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

    /// Lists everything that is wrong.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// A value that is not what the field takes.
    #[must_use]
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", "A value is not valid")
            .field(field)
            .detail(reason)
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing")
            .detail(format!("there is no {what} {id:?}"))
    }

    /// The change does not fit what is there.
    #[must_use]
    pub fn conflict(slug: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, slug, "The change does not fit what is there")
            .detail(detail)
    }

    /// Nobody is signed in at this browser.
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

    /// Something failed that the caller can't change. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        tracing::error!(cause = text, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The platform failed")
            .detail("the platform could not do this; its log says why. Try again later")
    }
}

impl std::ops::Deref for Problem {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What operations refuse, as HTTP says it.
impl From<OperationError> for Problem {
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
                let title = "The asset's ruleset can't be compiled";
                Self::new(StatusCode::CONFLICT, "ruleset-not-compiled", title).detail(text)
            }
            E::Store(error) => Self::internal(&error),
            error @ E::Failed { .. } => Self::internal(&error),
        }
    }
}

/// Everything that is wrong in a set of documents.
fn invalid_policy(errors: Vec<FieldError>) -> Problem {
    let problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", "The policy is not valid");
    let first = errors.first().map(|error| {
        let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        format!("{place}{}", error.reason)
    });
    let field = errors.first().map(|error| error.field.clone()).unwrap_or_default();
    problem.field(field).detail(first.unwrap_or_default()).errors(errors)
}

/// Every reason why a policy can't be compiled.
fn does_not_compile(errors: Vec<FieldError>) -> Problem {
    let first = errors.first().map(|error| error.reason.clone()).unwrap_or_default();
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "policy-does-not-compile",
        "The policy can't be compiled, and nothing was changed",
    )
    .detail(format!("{first}; nothing was changed"))
    .errors(errors)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after;
        let status = self.status;
        let body = serde_json::to_vec(&*self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the console, which makes a page of it.
        response.extensions_mut().insert(self);
        response
    }
}

/// Reads JSON; an empty body is an empty object.
///
/// # Errors
/// A problem that names the field.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = pointer(error.path());
        let reason = error.into_inner().to_string();
        Problem::new(StatusCode::BAD_REQUEST, "invalid-json", "The body is not as documented")
            .field(field)
            .detail(reason)
    })?;
    reader.end().map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid-json", "The body is not as documented")
            .detail(format!("more after the end: {error}"))
    })?;
    Ok(value)
}
