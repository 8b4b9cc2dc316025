//! Signing in with a password: the one way in, for the API and the console; and changing the password.
//!
//! Guesses are slowed down three ways. From one source, for one account, each failure doubles the wait,
//! up to a minute. From sources from which nobody has signed in to the account lately, all failures
//! count together, so that many machines guess no faster than one. And a source may try only so many
//! accounts. Nobody waits longer than a minute, and whoever has signed in from there before is held up
//! by their own failures alone: nobody can lock an account.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use xshield_model::Timestamp;
use xshield_store::accounts::{Account, ApiToken, TokenKind};
use xshield_store::audit::Deed;
use xshield_store::{accounts, audit, commit, sign_in_sources};

use crate::api::Client;
use crate::attempts::{Attempts, Backoff};
use crate::auth::{Caller, SHORTEST_PASSWORD, new_token};
use crate::door::guest::{Guest, Party};
use crate::gathered::Refused;
use crate::problem::{Answer, Problem};
use crate::source::Source;
use crate::state::App;

/// The problem of a wrong account or password; which of the two is not said.
pub(crate) const WRONG: &str = "wrong-password";
/// No password is longer, in bytes.
const LONGEST_PASSWORD: usize = 1024;
/// No account's name is longer, in characters.
const LONGEST_NAME: usize = 128;
/// Sign-ins of one account that last at a time; the oldest make room.
const MOST_SIGN_INS: i64 = 32;
/// Seconds for which a source counts as known.
const KNOWN_FOR: i64 = 90 * 24 * 3600;
/// Failures from one source.
const OF_SOURCE: Backoff = Backoff { free: 5, most: 60 };
/// Failures from all sources that are not known.
const OF_ACCOUNT: Backoff = Backoff { free: 10, most: 60 };

/// Sign-ins that failed.
#[derive(Debug)]
pub(crate) struct SignIns(Mutex<Failures>);

#[derive(Debug)]
struct Failures {
    by_source: Attempts<(String, Source)>,
    by_account: Attempts<String>,
}

impl Default for SignIns {
    fn default() -> Self {
        Self(Mutex::new(Failures {
            by_source: Attempts::new(OF_SOURCE),
            by_account: Attempts::new(OF_ACCOUNT),
        }))
    }
}

/// Whether somebody has signed in to the account from there lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Known,
    /// The platform's own machine, so that an admin gets in there whatever goes on elsewhere.
    Here,
    New,
}

/// One address of this machine: with all of 127.0.0.0/8, its users would be as many sources.
fn is_here(from: IpAddr) -> bool {
    from == Ipv4Addr::LOCALHOST || from == Ipv6Addr::LOCALHOST
}

impl SignIns {
    /// An attempt begins, or is told how many seconds to wait.
    fn begin(&self, account: &str, from: Source, place: Place, now: Timestamp) -> Result<(), i64> {
        let mut failures = self.lock();
        let (name, pair) = (account.to_owned(), (account.to_owned(), from));
        let mut wait = failures.by_source.wait(&pair, now);
        if place == Place::New {
            wait = wait.max(failures.by_account.wait(&name, now));
        }
        if wait > 0 {
            return Err(wait);
        }
        failures.by_source.begin(&pair, now);
        if place == Place::New {
            failures.by_account.begin(&name, now);
        }
        Ok(())
    }

    fn succeeded(&self, account: &str, from: Source, place: Place) {
        let mut failures = self.lock();
        failures.by_source.succeeded(&(account.to_owned(), from));
        if place == Place::New {
            // What others guess elsewhere still counts.
            failures.by_account.taken_back(&account.to_owned());
        }
    }

    /// Forgets accounts and sources that are quiet.
    pub(crate) fn forget(&self, now: Timestamp) {
        let mut failures = self.lock();
        failures.by_source.forget(now);
        failures.by_account.forget(now);
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    knock: Knock,
    guest: &Guest,
    user: &str,
    password: String,
    name: &str,
) -> Answer<Admitted> {
    let from = knock.0;
    let now = Timestamp::now();
    let account = proven(app, knock, user, password, now).await?;
    let expires_at = now.plus(app.settings.login_for);
    let (token, text) =
        new_token(TokenKind::SignIn, &account.name, name, account.role, Some(expires_at), now)
            .map_err(|error| Problem::internal(&error))?;
    let mut tx = app.store.write().await?;
    accounts::insert_token(&mut tx, &token).await?;
    accounts::trim_sign_ins(&mut tx, &account.name, &token.id, MOST_SIGN_INS - 1).await?;
    sign_in_sources::note(&mut tx, &account.name, &Source::from(from).to_string(), now).await?;
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
        app.limits.note_refused(Refused {
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
    caller: &Caller,
    old: String,
    new: String,
) -> Answer<()> {
    let from = knock.0;
    let now = Timestamp::now();
    // Whether the new one will do is said whatever the old one is.
    let hash = hashed(app, "/new", new).await?;
    let account = proven(app, knock, &caller.account, old, now).await;
    let account = account.map_err(|problem| {
        // The caller is signed in; it is the field that is wrong.
        if problem.slug() == WRONG {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, WRONG, "The old password is wrong")
                .field("/old")
        } else {
            problem
        }
    })?;
    let mut tx = app.store.write().await?;
    accounts::put(&mut tx, &Account { password: hash, ..account }).await?;
    accounts::revoke_others(&mut tx, &caller.account, &caller.token, now).await?;
    let deed = Deed {
        actor: &caller.actor(),
        action: "user.change-password",
        target: &caller.account,
        before: String::new(),
        after: format!("from {from}; other sign-ins and tokens have ended"),
    };
    audit::record(&mut tx, deed, now).await?;
    Ok(commit(tx).await?)
}

/// A new password as it is stored.
///
/// # Errors
/// When it is too short or too long; names the field.
pub(crate) async fn hashed(app: &App, field: &str, password: String) -> Answer<String> {
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        let reason = format!("expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters");
        return Err(Problem::invalid(field, reason));
    }
    let _permit = app.limits.passwords.acquire().await;
    let app = app.clone();
    let hash = tokio::task::spawn_blocking(move || app.passwords.hash(&password)).await?;
    hash.map_err(|error| Problem::internal(&error))
}

/// Ends the token that the caller uses.
pub(crate) async fn out(app: &App, caller: &Caller) -> Answer<()> {
    let mut tx = app.store.write().await?;
    accounts::revoke_token(&mut tx, &caller.token, Timestamp::now()).await?;
    Ok(commit(tx).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn guesses_are_slow_from_one_source_and_from_many_and_lock_nobody_out() {
        let sign_ins = SignIns::default();
        let guess = |from: &str, place, now| sign_ins.begin("admin", source(from), place, now);
        let from_one = (0..100).filter(|_| guess("192.0.2.1", Place::New, NOW).is_ok()).count();
        assert_eq!(from_one, 6);
        let from_many = (0..100_u8)
            .filter(|number| guess(&format!("198.51.100.{number}"), Place::New, NOW).is_ok());
        assert_eq!(from_many.count(), 5, "all count together");
        // Whoever has signed in from there before, or is at the machine, is not held up.
        assert_eq!(guess("10.0.0.1", Place::Known, NOW), Ok(()));
        assert_eq!(guess("127.0.0.1", Place::Here, NOW), Ok(()));
        // An hour of guesses, as many as may be: at most one a minute, and no wait is longer.
        let mut guesses = 0;
        for second in 0..3600 {
            let from = format!("203.0.113.{}", second % 250);
            match guess(&from, Place::New, NOW.plus(second)) {
                Ok(()) => guesses += 1,
                Err(wait) => assert!((1..=60).contains(&wait)),
            }
        }
        assert!(guesses <= 70, "{guesses} guesses in an hour");
        assert_eq!(guess("10.0.0.1", Place::Known, NOW.plus(3600)), Ok(()));
    }

    #[test]
    fn the_platforms_machine_is_one_place() {
        for (from, here) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("127.0.0.2", false),
            ("127.3.0.9", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_here(from.parse().unwrap()), here, "{from}");
        }
    }

    #[test]
    fn one_s_own_mistakes_are_forgiven_by_the_right_password() {
        let sign_ins = SignIns::default();
        let home = source("2001:db8:1:2::3");
        for _ in 0..6 {
            sign_ins.begin("ann", home, Place::Known, NOW).unwrap();
        }
        let neighbour = source("2001:db8:1:2:ffff::9");
        assert!(sign_ins.begin("ann", neighbour, Place::Known, NOW).is_err(), "the same /64");
        sign_ins.succeeded("ann", home, Place::Known);
        assert_eq!(sign_ins.begin("ann", home, Place::Known, NOW), Ok(()));
    }

    #[test]
    fn programs_that_sign_in_from_ever_new_places_are_not_slowed_down() {
        let sign_ins = SignIns::default();
        for number in 0..200_u8 {
            let runner = source(&format!("198.51.100.{number}"));
            assert_eq!(sign_ins.begin("ci", runner, Place::New, NOW), Ok(()), "{number}");
            sign_ins.succeeded("ci", runner, Place::New);
        }
    }
}
