//! API tokens: created, verified, revoked. A sign-in is one, too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use xshield_api::access::{CreatedToken, NewToken, Token};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::role::Role;
use xshield_store::accounts::{self, ApiToken, TokenKind};
use xshield_store::{Conn, Store};

use crate::caller::{AtLeast, By, Caller};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{Doing as _, OperationError, Result};
use crate::expiry::in_future;
use crate::ids::{NoRandomness, new_id, random};
use crate::paging::{Paging, paged};

/// The prefix of API tokens, so that secret scanners recognize them.
const PREFIX: &str = "xat1_";
/// The maximum number of active tokens of one account, besides sign-ins.
const MOST_TOKENS: i64 = 100;
/// The number of expired tokens of one account that are still listed.
const MOST_ENDED: i64 = 200;
/// The maximum length of a token's name, in characters.
const LONGEST_NAME: usize = 200;
/// Seconds for which a token's use is not recorded again.
const USE_NOTED_EVERY: i64 = 60;

/// The parameters of a new token.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) account: &'a str,
    pub(crate) name: &'a str,
    pub(crate) role: Role,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Wanted<'_> {
    /// The stored row, and the text that is shown once.
    pub(crate) fn make(
        self,
        now: Timestamp,
    ) -> std::result::Result<(ApiToken, String), NoRandomness> {
        let id = new_id("")?;
        let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let token = ApiToken {
            id: id.clone(),
            kind: self.kind,
            account: self.account.to_owned(),
            name: self.name.to_owned(),
            role: self.role,
            secret_hash: digest(&SHA256, secret.as_bytes()).as_ref().to_vec(),
            created_at: now,
            expires_at: self.expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        Ok((token, format!("{PREFIX}{id}_{secret}")))
    }
}

/// The owner of this token; `None` if it is unknown or expired.
///
/// # Errors
/// When the database fails.
pub async fn authenticate(store: &Store, text: &str, now: Timestamp) -> Result<Option<Caller>> {
    let Some((id, secret)) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else {
        return Ok(None);
    };
    let mut conn = store.read().await?;
    let Some((token, account_role)) = accounts::get_token(&mut conn, id).await? else {
        return Ok(None);
    };
    let hash = digest(&SHA256, secret.as_bytes());
    let has_ended = token.expires_at.is_some_and(|end| end <= now) || token.revoked_at.is_some();
    if !same_bytes(hash.as_ref(), &token.secret_hash) || has_ended {
        return Ok(None);
    }
    if token.last_used_at.is_none_or(|used| used.plus(USE_NOTED_EVERY) <= now) {
        accounts::touch_token(&mut conn, id, now).await?;
    }
    let role = token.role.min(account_role);
    Ok(Some(Caller { account: token.account, role, token: token.id }))
}

/// Compares hashes of secrets in constant time.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn shown(token: ApiToken) -> Token {
    Token {
        id: token.id,
        user: token.account,
        name: token.name,
        role: token.role.into(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        revoked_at: token.revoked_at,
    }
}

/// Tokens: admins see all, others their own.
///
/// # Errors
/// When the database fails.
pub async fn list<R: AtLeast>(
    conn: &mut Conn,
    by: &By<R>,
    paging: Paging<String>,
) -> Result<Page<Token>> {
    let caller = by.caller();
    let whose = (caller.role < Role::Admin).then_some(caller.account.as_str());
    let after = paging.after.clone().unwrap_or_default();
    let tokens = accounts::list_tokens(conn, whose, &after, paging.to_read()).await?;
    Ok(paged(tokens, paging.limit, |token| token.id.clone(), shown))
}

/// Creates a token for the caller.
///
/// # Errors
/// When its role exceeds the caller's, a value is out of range, the account has too many, or the database
/// fails.
pub async fn create<R: AtLeast>(
    store: &Store,
    by: &By<R>,
    new: NewToken,
    now: Timestamp,
) -> Result<CreatedToken> {
    let Caller { account, role: own, .. } = by.caller();
    let role = new.role.unwrap_or(*own);
    if role > *own {
        return Err(OperationError::invalid("/role", "more than your own role"));
    }
    if new.name.chars().count() > LONGEST_NAME {
        let reason = format!("longer than {LONGEST_NAME} characters");
        return Err(OperationError::invalid("/name", reason));
    }
    in_future(new.expires_at, now)?;
    let expires_at = new.expires_at;
    let wanted = Wanted { kind: TokenKind::Api, account, name: &new.name, role, expires_at };
    let (token, text) = wanted.make(now).doing("create an API token")?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    if accounts::count_tokens(&mut change, account, now).await? >= MOST_TOKENS {
        let detail = format!("the account has {MOST_TOKENS} active tokens; revoke one first");
        return Err(OperationError::conflict("too-many-tokens", detail));
    }
    accounts::trim_ended(&mut change, account, MOST_ENDED, now).await?;
    accounts::insert_token(&mut change, &token).await?;
    let entry = AuditEntry {
        action: "token.create",
        target: &token.id,
        before: String::new(),
        after: format!("{:?}, role {role:?}", token.name).to_lowercase(),
    };
    change.commit(entry).await?;
    Ok(CreatedToken { token: text, about: shown(token) })
}

/// Revokes a token: admins can revoke any, others their own.
///
/// # Errors
/// When the caller has no such token, or the database fails.
pub async fn revoke<R: AtLeast>(store: &Store, by: &By<R>, id: &str, now: Timestamp) -> Result<()> {
    let caller = by.caller();
    let mut change = AuditedChange::begin(store, by, now).await?;
    let known = accounts::get_token(&mut change, id)
        .await?
        .filter(|(token, _)| caller.role == Role::Admin || token.account == caller.account);
    let (token, _) = known.ok_or_else(|| OperationError::not_found("token", id))?;
    accounts::revoke_token(&mut change, id, now).await?;
    let entry = AuditEntry {
        action: "token.revoke",
        target: id,
        before: format!("{:?} of {}", token.name, token.account),
        after: String::new(),
    };
    change.commit(entry).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Admin, Operator, Viewer};
    use crate::testing::{NOW, account, audited, by, by_account, store};

    fn new(role: Option<Role>, expires_at: Option<Timestamp>) -> NewToken {
        NewToken { name: "CI".to_owned(), role, expires_at }
    }

    #[tokio::test]
    async fn a_token_belongs_to_its_creator_until_it_ends_or_is_revoked() {
        let (_dir, store) = store().await;
        account(&store, "ann", Role::Operator).await;
        let ann = by::<Operator>();
        let whose = async |text: &str, now| {
            let caller = authenticate(&store, text, now).await.unwrap();
            caller.map(|caller| (caller.account, caller.role))
        };
        let owner = |role| Some(("ann".to_owned(), role));

        let ending = new(None, Some(NOW.plus(10)));
        let CreatedToken { token: text, about } = create(&store, &ann, ending, NOW).await.unwrap();
        assert_eq!(whose(&text, NOW).await, owner(Role::Operator));
        assert_eq!(whose(&text, NOW.plus(10)).await, None, "it has ended");
        for wrong in [text.replace(PREFIX, ""), format!("{text}x"), format!("{PREFIX}none_x")] {
            assert_eq!(whose(&wrong, NOW).await, None, "{wrong}");
        }
        let weaker = create(&store, &ann, new(Some(Role::Viewer), None), NOW).await.unwrap();
        assert_eq!(whose(&weaker.token, NOW).await, owner(Role::Viewer));

        let bob = by_account::<Viewer>("bob", Role::Viewer);
        let others = revoke(&store, &bob, &about.id, NOW).await.unwrap_err();
        assert!(matches!(others, OperationError::NotFound { what: "token", .. }), "{others}");
        revoke(&store, &ann, &about.id, NOW).await.unwrap();
        assert_eq!(whose(&text, NOW).await, None);
        let admin = by_account::<Admin>("root", Role::Admin);
        revoke(&store, &admin, &weaker.about.id, NOW).await.unwrap();
        let expected = [
            format!("user:ann token.create {}:  -> \"ci\", role operator", about.id),
            format!("user:ann token.create {}:  -> \"ci\", role viewer", weaker.about.id),
            format!("user:ann token.revoke {}: \"CI\" of ann -> ", about.id),
            format!("user:root token.revoke {}: \"CI\" of ann -> ", weaker.about.id),
        ];
        assert_eq!(audited(&store).await, expected);
    }

    #[tokio::test]
    async fn a_token_never_exceeds_the_role_of_its_creator() {
        let (_dir, store) = store().await;
        account(&store, "ann", Role::Operator).await;
        let long = NewToken { name: "n".repeat(LONGEST_NAME + 1), role: None, expires_at: None };
        for (new, field) in [
            (new(Some(Role::Admin), None), "/role"),
            (new(None, Some(NOW)), "/expires_at"),
            (long, "/name"),
        ] {
            match create(&store, &by::<Operator>(), new, NOW).await.err() {
                Some(OperationError::Invalid { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{other:?}"),
            }
        }
    }
}
