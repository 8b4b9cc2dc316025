//! Signing in with a password, for the API and the console; and changing the password.
//!
//! Password guessing is slowed down in three ways. From one source, for one account, each failure doubles the
//! delay, up to a minute. All failures from sources that have not signed in to the account recently count
//! together, so that many machines guess no faster than one. And a source may try only a limited number of
//! accounts. No delay exceeds a minute, and sources that have signed in before are only delayed by their own
//! failures: nobody can lock an account.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
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
use xshield_store::{Store, accounts, sign_in_sources};

use crate::client::Client;
use crate::connections::party::Party;
use crate::connections::registry::Connection;
use crate::failed_sign_ins::{Place, is_here};
use crate::limits::Limits;
use crate::passwords::Passwords;
use crate::problem::{Answer, ErrorResponse};
use crate::refusal_batch::Refusal;
use crate::settings::Settings;
use crate::source::Source;

/// The problem for a wrong account or password; which of the two is not revealed.
pub(crate) const WRONG: &str = "wrong-password";
/// The longest account name, in characters.
const LONGEST_NAME: usize = 128;
/// Seconds for which a source counts as known.
const KNOWN_FOR: i64 = 90 * 24 * 3600;

/// Hashes passwords, a limited number at a time.
#[derive(Debug, Clone)]
pub(crate) struct PasswordHashing {
    pub(crate) limits: Arc<Limits>,
    pub(crate) passwords: Passwords,
}

/// What signing in needs of the platform.
#[derive(Debug, Clone)]
pub(crate) struct SignInParts {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) hashing: PasswordHashing,
}

/// Permission to try to sign in. Obtained before the body is read, so that excess requests are cheap.
pub(crate) struct SignInPermit(IpAddr);

impl<S> FromRequestParts<S> for SignInPermit
where
    S: Send + Sync,
    Arc<Limits>: FromRef<S>,
{
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        let Client(from) = *parts.extensions.get::<Client>().ok_or_else(|| {
            ErrorResponse::internal(&std::io::Error::other("the request has no connection"))
        })?;
        Arc::<Limits>::from_ref(state).sign_in_permit(from.ip())?;
        Ok(Self(from.ip()))
    }
}

/// Checks a password and creates a token called `name` with the configured lifetime.
pub(crate) async fn with_password(
    parts: &SignInParts,
    sign_in_permit: SignInPermit,
    connection: &Connection,
    user: &str,
    password: String,
    name: &str,
) -> Answer<Admitted> {
    let from = sign_in_permit.0;
    let now = Timestamp::now();
    let account = proven(parts, sign_in_permit, user, password, now).await?;
    let place = Source::from(from).to_string();
    let from = From { address: from, place: &place };
    let lasts = parts.settings.login_for;
    let admitted = sign_in::admit(&parts.store, &account, name, from, lasts, now).await?;
    connection.identify(&Party::Account(account.name))?;
    Ok(admitted)
}

/// The account with this password.
async fn proven(
    parts: &SignInParts,
    SignInPermit(from): SignInPermit,
    user: &str,
    password: String,
    now: Timestamp,
) -> Answer<Account> {
    let source = Source::from(from);
    let name: String = user.chars().take(LONGEST_NAME).collect();
    let (account, place) = {
        let mut conn = parts.store.read().await?;
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
        parts.hashing.limits.note_refused(Refusal {
            action: "user.login-refused",
            reason: reason.to_owned(),
            subject: account.as_ref().map(|account| account.name.clone()),
            from: source,
        });
    };
    if place != Place::Known {
        parts
            .hashing
            .limits
            .login(from)
            .inspect_err(|_| refused("too many sign-ins from this source"))?;
    }
    if let Err(wait) = parts.hashing.limits.sign_ins.begin(&name, source, place, now) {
        metrics::counter!("xshield_refused_total", "reason" => "rate").increment(1);
        refused("too many failed attempts");
        return Err(ErrorResponse::too_many(
            "failed sign-ins to this account",
            wait.unsigned_abs(),
        ));
    }
    let hash = account.as_ref().map(|account| account.password.clone());
    let good = {
        let lane = match place {
            Place::Known => &parts.hashing.limits.passwords_from_known_places,
            Place::Here | Place::New => &parts.hashing.limits.passwords,
        };
        let _permit = lane.acquire().await;
        let passwords = parts.hashing.passwords.clone();
        tokio::task::spawn_blocking(move || passwords.check(&password, hash.as_deref())).await?
    };
    match account {
        Some(account) if good => {
            parts.hashing.limits.sign_ins.succeeded(&name, source, place);
            Ok(account)
        }
        _ => {
            metrics::counter!("xshield_refused_total", "reason" => "password").increment(1);
            refused("wrong user or password");
            Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, WRONG, "Wrong user or password"))
        }
    }
}

/// Changes the password of the caller's account, and ends its other sign-ins and tokens. The old password is
/// required, and guesses at it are slowed down as at sign-in.
pub(crate) async fn change_password(
    parts: &SignInParts,
    sign_in_permit: SignInPermit,
    by: &By<Viewer>,
    old: String,
    new: String,
) -> Answer<()> {
    let from = sign_in_permit.0;
    let now = Timestamp::now();
    // Whether the new one is acceptable is reported regardless of the old one.
    let hash = hashed(&parts.hashing, "/new", new).await?;
    let account = proven(parts, sign_in_permit, &by.caller().account, old, now).await;
    let account = account.map_err(|problem| {
        // The caller is signed in; the field is wrong.
        if problem.slug() == WRONG {
            ErrorResponse::new(StatusCode::UNPROCESSABLE_ENTITY, WRONG, "Wrong old password")
                .field("/old")
        } else {
            problem
        }
    })?;
    Ok(sign_in::set_own_password(&parts.store, by, account, hash, from, now).await?)
}

/// Hashes with the configured cost and concurrency.
impl HashPasswords for PasswordHashing {
    async fn hash(&self, password: String) -> xshield_operations::Result<String> {
        const ACTION: &str = "hash a password";
        let _permit = self.limits.passwords.acquire().await;
        let passwords = self.passwords.clone();
        let hash = tokio::task::spawn_blocking(move || passwords.hash(&password)).await;
        hash.doing(ACTION)?.doing(ACTION)
    }
}
