//! Who calls the admin API, and whether they may.

use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_operations::By;
pub use xshield_operations::caller::{Admin, AtLeast, Caller, Operator, Viewer};
use xshield_operations::ids::{NoRandomness, new_id, random};
use xshield_store::accounts;
use xshield_store::accounts::{ApiToken, TokenKind};

use crate::door::guest::{Party, vouch};
use crate::problem::Problem;
use crate::state::App;

/// API tokens begin with this, so that secret scanners know one.
const TOKEN_PREFIX: &str = "xat1_";

/// A request by a caller who has at least the role `R`: a handler that takes it can't be reached
/// without.
#[derive(Debug)]
pub struct Allowed<R>(pub By<R>);

impl<R> Deref for Allowed<R> {
    type Target = By<R>;

    fn deref(&self) -> &By<R> {
        &self.0
    }
}

impl<R: AtLeast> FromRequestParts<App> for Allowed<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).ok_or_else(|| {
            unauthenticated("send an API token: 'Authorization: Bearer xat1_…' ('xshield login')")
        })?;
        let caller = authenticate(app, token.trim()).await?;
        vouch(&mut parts.extensions, Party::Account(caller.account.clone()))?;
        Ok(Self(By::new(caller)?))
    }
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in").detail(detail)
}

/// Whose token it is, when it is one that holds.
pub(crate) async fn authenticate(app: &App, text: &str) -> Result<Caller, Problem> {
    let refuse = || unauthenticated("the API token is unknown, revoked or over; sign in again");
    let (id, secret) =
        text.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(refuse)?;
    let now = Timestamp::now();
    let mut conn = app.store.read().await?;
    let (token, account_role) = accounts::get_token(&mut conn, id).await?.ok_or_else(refuse)?;
    let hash = digest(&SHA256, secret.as_bytes());
    let same = same_bytes(hash.as_ref(), &token.secret_hash);
    let over = token.expires_at.is_some_and(|end| end <= now) || token.revoked_at.is_some();
    if !same || over {
        return Err(refuse());
    }
    if token.last_used_at.is_none_or(|used| used.plus(60) <= now) {
        accounts::touch_token(&mut conn, id, now).await?;
    }
    let role = token.role.min(account_role);
    Ok(Caller { account: token.account, role, token: token.id })
}

/// Compares hashes of secrets without a hint at where they differ.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// A new token: what is stored, and the text that is shown once.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token(
    kind: TokenKind,
    account: &str,
    name: &str,
    role: Role,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(ApiToken, String), NoRandomness> {
    let id = new_id("")?;
    let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let token = ApiToken {
        id: id.clone(),
        kind,
        account: account.to_owned(),
        name: name.to_owned(),
        role,
        secret_hash: digest(&SHA256, secret.as_bytes()).as_ref().to_vec(),
        created_at: now,
        expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    Ok((token, format!("{TOKEN_PREFIX}{id}_{secret}")))
}
