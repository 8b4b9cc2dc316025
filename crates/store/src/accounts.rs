//! User accounts and their API tokens.

use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::role::Role;

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_word, rows, word};

/// A user account.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name to sign in with.
    pub name: String,
    /// The role of the user.
    pub role: Role,
    /// The password's Argon2 hash (PHC string).
    pub password: String,
    /// The creation time.
    pub created_at: Timestamp,
}

/// How a token was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenKind {
    /// By signing in with a password; the oldest of an account are deleted to make room for new ones.
    SignIn,
    /// By another token, for a program.
    Api,
}

/// An API token, without its secret.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// Public part.
    pub id: String,
    /// How it was created.
    pub kind: TokenKind,
    /// The owner.
    pub account: String,
    /// The purpose.
    pub name: String,
    /// The role of the token itself.
    pub role: Role,
    /// SHA-256 of the secret part.
    pub secret_hash: Vec<u8>,
    /// The creation time.
    pub created_at: Timestamp,
    /// The expiry.
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The number of accounts.
///
/// # Errors
/// When the database fails.
pub async fn count(conn: &mut Conn) -> StoreResult<i64> {
    sqlx::query_scalar("SELECT count(*) FROM account").fetch_one(conn).await.doing("count accounts")
}

/// The account of this name.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, name: &str) -> StoreResult<Option<Account>> {
    let row = sqlx::query("SELECT * FROM account WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .doing("read an account")?;
    row.as_ref().map(account).transpose()
}

/// Up to `limit` accounts after the name `after`.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, after: &str, limit: u32) -> StoreResult<Vec<Account>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM account WHERE name > ");
        query.push_bind(after.to_owned()).push(" ORDER BY name");
        Ok(query)
    };
    rows::page(conn, "accounts", limit, query, account).await
}

/// Adds an account, or gives an existing one this role and password.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut Conn, account: &Account) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO account (name, role, password, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password",
    )
    .bind(&account.name)
    .bind(word(&account.role)?)
    .bind(&account.password)
    .bind(account.created_at.0)
    .execute(conn)
    .await
    .doing("store an account")?;
    Ok(())
}

/// Deletes an account and its tokens.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, name: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM account WHERE name = $1")
        .bind(name)
        .execute(conn)
        .await
        .doing("delete an account")?;
    Ok(done.rows_affected() > 0)
}

/// The number of accounts with the role admin.
///
/// # Errors
/// When the database fails.
pub async fn admins(conn: &mut Conn) -> StoreResult<i64> {
    sqlx::query_scalar("SELECT count(*) FROM account WHERE role = 'admin'")
        .fetch_one(conn)
        .await
        .doing("count admins")
}

/// Revokes every token of an account.
///
/// # Errors
/// When the database fails.
pub async fn revoke_all(conn: &mut Conn, account: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE api_token SET revoked_at = $2 WHERE account = $1 AND revoked_at IS NULL")
        .bind(account)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("revoke an account's tokens")?;
    Ok(())
}

/// Adds a token.
///
/// # Errors
/// When the database fails.
pub async fn insert_token(conn: &mut Conn, token: &ApiToken) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO api_token (id, account, name, role, secret_hash, created_at, expires_at, kind) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&token.id)
    .bind(&token.account)
    .bind(&token.name)
    .bind(word(&token.role)?)
    .bind(&token.secret_hash)
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|time| time.0))
    .bind(word(&token.kind)?)
    .execute(conn)
    .await
    .doing("store a token")?;
    Ok(())
}

/// Deletes the oldest sign-ins of an account, so that a limited number remains besides `newest`.
///
/// # Errors
/// When the database fails.
pub async fn trim_sign_ins(
    conn: &mut Conn,
    account: &str,
    newest: &str,
    most: i64,
) -> StoreResult<()> {
    sqlx::query(
        "DELETE FROM api_token WHERE account = $1 AND kind = 'sign-in' AND id <> $2 \
         AND id NOT IN (SELECT id FROM api_token WHERE account = $1 AND kind = 'sign-in' \
         AND id <> $2 ORDER BY created_at DESC, id LIMIT $3)",
    )
    .bind(account)
    .bind(newest)
    .bind(most)
    .execute(conn)
    .await
    .doing("delete the oldest sign-ins")?;
    Ok(())
}

/// The number of valid tokens of an account that are not sign-ins.
///
/// # Errors
/// When the database fails.
pub async fn count_tokens(conn: &mut Conn, account: &str, now: Timestamp) -> StoreResult<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM api_token WHERE account = $1 AND kind = 'api' \
         AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
    )
    .bind(account)
    .bind(now.0)
    .fetch_one(conn)
    .await
    .doing("count an account's tokens")
}

/// Deletes the oldest of an account's expired and revoked tokens, so that a limited number remains.
///
/// # Errors
/// When the database fails.
pub async fn trim_ended(
    conn: &mut Conn,
    account: &str,
    most: i64,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "DELETE FROM api_token WHERE account = $1 AND (revoked_at IS NOT NULL OR expires_at <= $2) \
         AND id NOT IN (SELECT id FROM api_token WHERE account = $1 \
         AND (revoked_at IS NOT NULL OR expires_at <= $2) ORDER BY created_at DESC, id LIMIT $3)",
    )
    .bind(account)
    .bind(now.0)
    .bind(most)
    .execute(conn)
    .await
    .doing("delete ended tokens")?;
    Ok(())
}

/// Deletes tokens that ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn forget_tokens(conn: &mut Conn, before: Timestamp) -> StoreResult<()> {
    sqlx::query("DELETE FROM api_token WHERE revoked_at < $1 OR expires_at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .doing("delete old tokens")?;
    Ok(())
}

/// Revokes every token of an account but this one.
///
/// # Errors
/// When the database fails.
pub async fn revoke_others(
    conn: &mut Conn,
    account: &str,
    kept: &str,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE api_token SET revoked_at = $3 WHERE account = $1 AND id <> $2 \
         AND revoked_at IS NULL",
    )
    .bind(account)
    .bind(kept)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("revoke an account's other tokens")?;
    Ok(())
}

/// The token with this id, with its account's role.
///
/// # Errors
/// When the database fails.
pub async fn get_token(conn: &mut Conn, id: &str) -> StoreResult<Option<(ApiToken, Role)>> {
    let row = sqlx::query(
        "SELECT t.*, a.role AS account_role FROM api_token t \
         JOIN account a ON a.name = t.account WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await
    .doing("read a token")?;
    row.as_ref().map(|row| Ok((token(row)?, from_word(row.col("account_role")?)?))).transpose()
}

/// Up to `limit` tokens after the id `after`; if an account is given, only its tokens.
///
/// # Errors
/// When the database fails.
pub async fn list_tokens(
    conn: &mut Conn,
    account: Option<&str>,
    after: &str,
    limit: u32,
) -> StoreResult<Vec<ApiToken>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM api_token WHERE id > ");
        query.push_bind(after.to_owned());
        if let Some(account) = account {
            query.push(" AND account = ").push_bind(account.to_owned());
        }
        query.push(" ORDER BY id");
        Ok(query)
    };
    rows::page(conn, "tokens", limit, query, token).await
}

/// Records that a token was used; at most once a minute, so that requests that only read rarely cause a
/// write.
///
/// # Errors
/// When the database fails.
pub async fn touch_token(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE api_token SET last_used_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("record a token's use")?;
    Ok(())
}

/// Revokes a token.
///
/// # Errors
/// When the database fails.
pub async fn revoke_token(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE api_token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("revoke a token")?;
    Ok(())
}

fn account(row: &Row) -> StoreResult<Account> {
    Ok(Account {
        name: row.col("name")?,
        role: from_word(row.col("role")?)?,
        password: row.col("password")?,
        created_at: row.time("created_at")?,
    })
}

fn token(row: &Row) -> StoreResult<ApiToken> {
    Ok(ApiToken {
        id: row.col("id")?,
        kind: from_word(row.col("kind")?)?,
        account: row.col("account")?,
        name: row.col("name")?,
        role: from_word(row.col("role")?)?,
        secret_hash: row.col("secret_hash")?,
        created_at: row.time("created_at")?,
        expires_at: row.maybe_time("expires_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
    })
}
