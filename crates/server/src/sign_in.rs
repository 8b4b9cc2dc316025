//! Signing in with a password: the one way in, for the API and the console; and changing the password.
//!
//! Guesses are slowed down three ways. From one source, for one account, each failure doubles the wait,
//! up to a minute. From sources from which nobody has signed in to the account lately, all failures
//! count together, so that many machines guess no faster than one. And a source may try only so many
//! accounts. Nobody waits longer than a minute, and whoever has signed in from there before is held up
//! by their own failures alone: nobody can lock an account.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use xshield_model::Timestamp;
use xshield_operations::By;
use xshield_operations::caller::Viewer;
use xshield_operations::error::Doing as _;
use xshield_operations::passwords::{HashPasswords, hashed};
pub(crate) use xshield_operations::sign_in::Admitted;
use xshield_operations::sign_in::{self, From};
use xshield_store::accounts::Account;
use xshield_store::{accounts, sign_in_sources};

use crate::client::Client;
use crate::door::guest::{Guest, Party};
use crate::failed_sign_ins::{Place, is_here};
use crate::problem::{Answer, Problem};
use crate::refusal_batch::Refusal;
use crate::source::Source;
use crate::state::{App, Platform};

/// The problem of a wrong account or password; which of the two is not said.
pub(crate) const WRONG: &str = "wrong-password";
/// No account's name is longer, in characters.
const LONGEST_NAME: usize = 128;
/// Seconds for which a source counts as known.
const KNOWN_FOR: i64 = 90 * 24 * 3600;

/// Somebody who may try to sign in. To be asked for before the body, so that what is too much costs
/// nothing.
pub(crate) struct Knock(IpAddr);

impl FromRequestParts<App> for Knock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Client(from) = *parts.extensions.get::<Client>().ok_or_else(|| {
            Problem::internal(&std::io::Error::other("the request came by no connection"))
        })?;
        app.limits.knock(from.ip())?;
        Ok(Self(from.ip()))
    }
}

/// Checks a password and makes a token called `name` that ends as the settings say.
pub(crate) async fn with_password(
    app: &App,
    knock: Knock,
    guest: &Guest,
    user: &str,
    password: String,
    name: &str,
) -> Answer<Admitted> {
    let from = knock.0;
    let now = Timestamp::now();
    let account = proven(app, knock, user, password, now).await?;
    let place = Source::from(from).to_string();
    let from = From { address: from, place: &place };
    let lasts = app.settings.login_for;
    let admitted = sign_in::admit(&app.store, &account, name, from, lasts, now).await?;
    guest.vouch(&Party::Account(account.name))?;
    Ok(admitted)
}

/// The account whose password this is.
async fn proven(
    app: &App,
    Knock(from): Knock,
    user: &str,
    password: String,
    now: Timestamp,
) -> Answer<Account> {
    let source = Source::from(from);
    let name: String = user.chars().take(LONGEST_NAME).collect();
    let (account, place) = {
        let mut conn = app.store.read().await?;
        let account = accounts::get(&mut conn, user).await?;
        let (known, since) = (source.to_string(), now.plus(-KNOWN_FOR));
        let place = if sign_in_sources::is_known(&mut conn, &name, &known, since).await? {
            Place::Known
        } else if is_here(from) {
            Place::Here
        } else {
            Place::New
        };
        (account, place)
    };
    let refused = |reason: &str| {
        app.limits.note_refused(Refusal {
            action: "user.login-refused",
            reason: reason.to_owned(),
            subject: account.as_ref().map(|account| account.name.clone()),
            from: source,
        });
    };
    if place != Place::Known {
        app.limits.login(from).inspect_err(|_| refused("too many sign-ins from there"))?;
    }
    if let Err(wait) = app.limits.sign_ins.begin(&name, source, place, now) {
        metrics::counter!("xshield_refused_total", "reason" => "rate").increment(1);
        refused("too many failures before");
        return Err(Problem::too_many("failed sign-ins to this account", wait.unsigned_abs()));
    }
    let hash = account.as_ref().map(|account| account.password.clone());
    let good = {
        let lane = match place {
            Place::Known => &app.limits.passwords_from_known_places,
            Place::Here | Place::New => &app.limits.passwords,
        };
        let _permit = lane.acquire().await;
        let app = app.clone();
        tokio::task::spawn_blocking(move || app.passwords.check(&password, hash.as_deref())).await?
    };
    match account {
        Some(account) if good => {
            app.limits.sign_ins.succeeded(&name, source, place);
            Ok(account)
        }
        _ => {
            metrics::counter!("xshield_refused_total", "reason" => "password").increment(1);
            refused("wrong user or password");
            Err(Problem::new(StatusCode::UNAUTHORIZED, WRONG, "User or password is wrong"))
        }
    }
}

/// Gives the caller's account another password, and ends its other sign-ins and tokens. The old
/// password is asked for, and guesses at it are slowed down like those of somebody who signs in.
pub(crate) async fn change_password(
    app: &App,
    knock: Knock,
    by: &By<Viewer>,
    old: String,
    new: String,
) -> Answer<()> {
    let from = knock.0;
    let now = Timestamp::now();
    // Whether the new one will do is said whatever the old one is.
    let hash = hashed(&**app, "/new", new).await?;
    let account = proven(app, knock, &by.caller().account, old, now).await;
    let account = account.map_err(|problem| {
        // The caller is signed in; it is the field that is wrong.
        if problem.slug() == WRONG {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, WRONG, "The old password is wrong")
                .field("/old")
        } else {
            problem
        }
    })?;
    Ok(sign_in::set_own_password(&app.store, by, account, hash, from, now).await?)
}

/// Hashes with the platform's cost, and so many at a time as the limits say.
impl HashPasswords for Platform {
    async fn hash(&self, password: String) -> xshield_operations::Result<String> {
        const ACTION: &str = "hash a password";
        let _permit = self.limits.passwords.acquire().await;
        let passwords = self.passwords.clone();
        let hash = tokio::task::spawn_blocking(move || passwords.hash(&password)).await;
        hash.doing(ACTION)?.doing(ACTION)
    }
}
