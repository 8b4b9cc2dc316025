//! Sessions of authenticated people.

use std::net::IpAddr;

use xshield_model::Timestamp;
use xshield_store::accounts::{self, Account, ApiToken, TokenKind};
use xshield_store::{Store, sign_in_sources};

use crate::caller::{AtLeast, By, Caller, Viewer};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{Doing as _, Result};
use crate::tokens::Wanted;

/// The maximum number of concurrent sign-ins of one account; the oldest are dropped.
const MOST_SIGN_INS: i64 = 32;

/// A sign-in.
#[derive(Debug)]
pub struct Admitted {
    /// The stored token.
    pub token: ApiToken,
    /// The token's text, shown once.
    pub text: String,
    /// Its expiry.
    pub expires_at: Timestamp,
}

/// Where a person signs in from.
#[derive(Debug, Clone, Copy)]
pub struct From<'a> {
    /// The address.
    pub address: IpAddr,
    /// What is stored of it, to recognize the source again.
    pub place: &'a str,
}

/// Signs in a person who has given the account's password: creates a token called `name` with the given
/// lifetime in seconds.
///
/// # Errors
/// When the system provides no random bytes, or the database fails.
pub async fn admit(
    store: &Store,
    account: &Account,
    name: &str,
    from: From<'_>,
    lasts: i64,
    now: Timestamp,
) -> Result<Admitted> {
    let expires_at = now.plus(lasts);
    let Account { name: user, role, .. } = account;
    let kind = TokenKind::SignIn;
    let wanted = Wanted { kind, account: user, name, role: *role, expires_at: Some(expires_at) };
    let (token, text) = wanted.make(now).doing("create the token of a sign-in")?;
    let caller = Caller { account: user.clone(), role: *role, token: token.id.clone() };
    let by = By::<Viewer>::new(caller)?;
    let mut change = AuditedChange::begin(store, &by, now).await?;
    accounts::insert_token(&mut change, &token).await?;
    accounts::trim_sign_ins(&mut change, user, &token.id, MOST_SIGN_INS - 1).await?;
    sign_in_sources::note(&mut change, user, from.place, now).await?;
    let after = format!("token {} from {}", token.id, from.address);
    let entry = AuditEntry { action: "user.login", target: user, before: String::new(), after };
    change.commit(entry).await?;
    Ok(Admitted { token, text, expires_at })
}

/// Sets the caller's password, already hashed, and ends the account's other sign-ins and tokens.
///
/// # Errors
/// When the database fails.
pub async fn set_own_password<R: AtLeast>(
    store: &Store,
    by: &By<R>,
    account: Account,
    hash: String,
    from: IpAddr,
    now: Timestamp,
) -> Result<()> {
    let Caller { account: name, token, .. } = by.caller();
    let mut change = AuditedChange::begin(store, by, now).await?;
    accounts::put(&mut change, &Account { password: hash, ..account }).await?;
    accounts::revoke_others(&mut change, name, token, now).await?;
    let entry = AuditEntry {
        action: "user.change-password",
        target: name,
        before: String::new(),
        after: format!("from {from}; other sign-ins and tokens have ended"),
    };
    change.commit(entry).await
}

/// Revokes the caller's token. The audit log only contains its prefix.
///
/// # Errors
/// When the database fails.
pub async fn out<R: AtLeast>(store: &Store, by: &By<R>, now: Timestamp) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    accounts::revoke_token(&mut change, &by.caller().token, now).await?;
    change.commit_recorded().await
}

#[cfg(test)]
mod tests {
    use xshield_model::role::Role;

    use super::*;
    use crate::testing::{NOW, account, audited, store};
    use crate::tokens::authenticate;

    #[tokio::test]
    async fn a_sign_in_expires_and_a_new_password_ends_other_sessions() {
        let (_dir, store) = store().await;
        let ann = account(&store, "ann", Role::Operator).await;
        let from = From { address: "10.0.0.9".parse().unwrap(), place: "10.0.0.9" };
        let first = admit(&store, &ann, "cli", from, 60, NOW).await.unwrap();
        let second = admit(&store, &ann, "console", from, 60, NOW).await.unwrap();
        let caller = async |text: &str, now| authenticate(&store, text, now).await.unwrap();
        assert!(caller(&first.text, NOW.plus(59)).await.is_some());
        assert!(caller(&first.text, NOW.plus(60)).await.is_none());

        let by = By::<Viewer>::new(caller(&second.text, NOW).await.unwrap()).unwrap();
        let hash = "another".to_owned();
        set_own_password(&store, &by, ann, hash, from.address, NOW).await.unwrap();
        assert!(caller(&first.text, NOW).await.is_none(), "ended with the old password");
        assert!(caller(&second.text, NOW).await.is_some(), "the one that changed it goes on");
        out(&store, &by, NOW).await.unwrap();
        assert!(caller(&second.text, NOW).await.is_none());
        let expected = [
            format!("user:ann user.login ann:  -> token {} from 10.0.0.9", first.token.id),
            format!("user:ann user.login ann:  -> token {} from 10.0.0.9", second.token.id),
            "user:ann user.change-password ann:  -> from 10.0.0.9; other sign-ins and tokens have \
             ended"
                .to_owned(),
        ];
        assert_eq!(audited(&store).await, expected);
    }
}
