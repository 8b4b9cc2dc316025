//! Signing in with a password: the one way in, for the API and the console.

use std::net::IpAddr;

use axum::http::StatusCode;

use crate::auth::{Caller, new_token};
use crate::clock::Timestamp;
use crate::problem::{Answer, Problem};
use crate::state::App;
use crate::store::accounts::{self, ApiToken};
use crate::store::audit::{self, Deed};
use crate::store::commit;

/// The problem of a wrong account or password; which of the two is not said.
pub(crate) const WRONG: &str = "wrong-password";

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
    from: IpAddr,
    user: &str,
    password: String,
    name: &str,
) -> Answer<Admitted> {
    app.limits.login(from)?;
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
    Ok(Admitted { token, text, expires_at })
}

/// Ends the token that the caller uses.
pub(crate) async fn out(app: &App, caller: &Caller) -> Answer<()> {
    let mut tx = app.store.write().await?;
    accounts::revoke_token(&mut tx, &caller.token, Timestamp::now()).await?;
    Ok(commit(tx).await?)
}
