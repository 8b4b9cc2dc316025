//! Authentication and authorization of callers of the admin API.

use std::ops::Deref;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use xshield_model::Timestamp;
use xshield_operations::By;
pub use xshield_operations::caller::{Admin, AtLeast, Caller, Operator, Viewer};
use xshield_operations::tokens;
use xshield_store::Store;

use crate::connections::party::Party;
use crate::connections::registry::identify;
use crate::problem::ErrorResponse;

/// A request by a caller who has at least the role `R`: a handler that takes it can't be reached without.
#[derive(Debug)]
pub struct Allowed<R>(pub By<R>);

impl<R> Deref for Allowed<R> {
    type Target = By<R>;

    fn deref(&self) -> &By<R> {
        &self.0
    }
}

impl<R: AtLeast, S> FromRequestParts<S> for Allowed<R>
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).ok_or_else(|| {
            unauthenticated("send an API token: 'Authorization: Bearer xat1_…' ('xshield login')")
        })?;
        let caller = authenticate(&Store::from_ref(state), token.trim()).await?;
        identify(&mut parts.extensions, Party::Account(caller.account.clone()))?;
        Ok(Self(By::new(caller)?))
    }
}

fn unauthenticated(detail: &str) -> ErrorResponse {
    ErrorResponse::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in").detail(detail)
}

/// The owner of the token, if it is valid.
pub(crate) async fn authenticate(store: &Store, text: &str) -> Result<Caller, ErrorResponse> {
    let caller = tokens::authenticate(store, text, Timestamp::now()).await?;
    caller.ok_or_else(|| {
        unauthenticated("the API token is unknown, revoked or expired; sign in again")
    })
}
