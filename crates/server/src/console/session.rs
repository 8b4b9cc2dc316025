//! The visitor's session: an API token in a cookie.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use xshield_operations::By;
use xshield_operations::caller::AtLeast;
use xshield_store::Store;

use crate::auth::authenticate;
use crate::connections::party::Party;
use crate::connections::registry::identify;
use crate::problem::{Answer, ErrorResponse};

/// The prefix binds it to this host, HTTPS and all paths (RFC 6265bis, 4.1.3).
const COOKIE: &str = "__Host-xshield";

/// A signed-in visitor with at least the role `R`.
#[derive(Debug)]
pub(super) struct Visitor<R>(pub(super) By<R>);

impl<R: AtLeast, S> FromRequestParts<S> for Visitor<R>
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let token = token(&parts.headers).ok_or_else(ErrorResponse::unauthenticated_here)?;
        let caller = authenticate(&Store::from_ref(state), token).await?;
        identify(&mut parts.extensions, Party::Account(caller.account.clone()))?;
        Ok(Self(By::new(caller)?))
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Stores a token in the browser for a number of seconds. `Lax`: a link in a mail opens its page; other
/// cross-site requests arrive without the cookie.
pub(super) fn kept(token: &str, seconds: i64) -> Answer<HeaderValue> {
    let text =
        format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    let mut value =
        HeaderValue::from_str(&text).map_err(|error| ErrorResponse::internal(&error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Deletes the token in the browser.
pub(super) fn forgotten() -> Answer<HeaderValue> {
    kept("", 0)
}
