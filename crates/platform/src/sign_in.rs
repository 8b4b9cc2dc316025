//! Signing in with a password: the one way in, for the API and the console.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::api::Client;
use crate::auth::{Caller, new_token};
use crate::clock::Timestamp;
use crate::door::guest::{Guest, Party};
use crate::problem::{Answer, Problem};
use crate::state::App;
use crate::store::accounts::{self, ApiToken};
use crate::store::audit::{self, Deed};
use crate::store::commit;

/// The problem of a wrong account or password; which of the two is not said.
pub(crate) const WRONG: &str = "wrong-password";

/// Somebody who may try to sign in. To be asked for before the body, so that what is too much costs
/// nothing.
pub(crate) struct Knock(IpAddr);

impl FromRequestParts<App> for Knock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Client(from) = *parts.extensions.get::<Client>().ok_or_else(|| {
            Problem::internal(&std::io::Error::other("the request came by no connection"))
        })?;
        app.limits.login(from.ip())?;
        Ok(Self(from.ip()))
    }
}

/// Somebody who gave the right password.
pub(crate) struct Admitted {
    /// What is stored.
    pub(crate) token: ApiToken,
    /// The token's text, shown once.
    pub(crate) text: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// Checks a password and makes a token called `name` that ends as the settings say.
pub(crate) async fn with_password(
    app: &App,
    Knock(from): Knock,
    guest: &Guest,
    user: &str,
    password: String,
    name: &str,
) -> Answer<Admitted> {
    let now = Timestamp::now();
    let account = accounts::get(&mut *app.store.read().await?, user).await?;
    let hash = account.as_ref().map(|account| account.password.clone());
    let good = {
        let _permit = app.limits.passwords.acquire().await;
        let app = app.clone();
        tokio::task::spawn_blocking(move || app.passwords.check(&password, hash.as_deref())).await?
    };
    let Some(account) = account.filter(|_| good) else {
        metrics::counter!("xshield_refused_total", "reason" => "password").increment(1);
        return Err(Problem::new(StatusCode::UNAUTHORIZED, WRONG, "User or password is wrong"));
    };
    let expires_at = now.plus(app.settings.login_for);
    let (token, text) = new_token(&account.name, name, account.role, Some(expires_at), now)
        .map_err(|error| Problem::internal(&error))?;
    let mut tx = app.store.write().await?;
    accounts::insert_token(&mut tx, &token).await?;
    let deed = Deed {
        actor: &format!("user:{}", account.name),
        action: "user.login",
        target: &account.name,
        before: String::new(),
        after: format!("token {} from {from}", token.id),
    };
    audit::record(&mut tx, deed, now).await?;
    commit(tx).await?;
    guest.vouch(&Party::Account(account.name))?;
    Ok(Admitted { token, text, expires_at })
}

/// Ends the token that the caller uses.
pub(crate) async fn out(app: &App, caller: &Caller) -> Answer<()> {
    let mut tx = app.store.write().await?;
    accounts::revoke_token(&mut tx, &caller.token, Timestamp::now()).await?;
    Ok(commit(tx).await?)
}
