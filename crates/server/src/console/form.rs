//! HTML forms as submitted by browsers.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request};

use crate::limits::Limits;
use crate::problem::ErrorResponse;
use crate::request_body;

/// The fields of a form in order; a name may occur several times. No `Debug`: one may be a password.
pub(super) struct Form(Vec<(String, String)>);

impl<S> FromRequest<S> for Form
where
    S: Send + Sync,
    Arc<Limits>: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorResponse> {
        let body = request_body::take(&Arc::from_ref(state), request).await?;
        serde_urlencoded::from_bytes(&body)
            .map(Self)
            .map_err(|error| ErrorResponse::invalid("form", error.to_string()))
    }
}

impl Form {
    /// The first value of this name that is not empty.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.trim().is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
