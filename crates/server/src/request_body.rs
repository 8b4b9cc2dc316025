//! The body of a request, within the memory limits of its sender, as bytes or as JSON.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::bodies::{Held, MAX_BODY, MAX_UNAUTHENTICATED};
use crate::client::Client;
use crate::connections::party::Party;
use crate::json;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::source::Source;

/// Reads the body of a request: up to the full limit from an authenticated sender, and a small one from
/// anyone else.
///
/// # Errors
/// When it is too large, too slow, is aborted, or there is no memory for it.
pub(crate) async fn take(limits: &Limits, request: Request) -> Answer<Held> {
    let known = request.extensions().get::<Party>().cloned();
    let party = match known {
        Some(party) => party,
        None => {
            let Client(from) = *request.extensions().get::<Client>().ok_or_else(no_client)?;
            Party::Unauthenticated(Source::from(from.ip()))
        }
    };
    let most =
        if matches!(party, Party::Unauthenticated(_)) { MAX_UNAUTHENTICATED } else { MAX_BODY };
    Ok(limits.bodies.read(&party, request.into_body(), most).await?)
}

fn no_client() -> ErrorResponse {
    ErrorResponse::internal(&std::io::Error::other("the request has no connection"))
}

/// A JSON body; an invalid one is refused with the field's JSON pointer.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    Arc<Limits>: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, state: &S) -> Result<Self, ErrorResponse> {
        let body = take(&Arc::from_ref(state), request).await?;
        Ok(Self(json::parse(&body)?))
    }
}
