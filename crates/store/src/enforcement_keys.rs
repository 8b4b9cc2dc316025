//! Enforcement keys. Secrets are sealed before they are passed to this module.

use std::net::IpAddr;

use ipnet::IpNet;
use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::key_kind::KeyKind;
use xshield_policy::names::Name;

use super::assets::Tags;
use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, from_word, rows, to_json, word};

/// An enforcement key as stored.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Public part.
    pub id: String,
    /// Its purpose, and for how many hosts.
    pub kind: KeyKind,
    /// The purpose.
    pub name: String,
    /// The secret, sealed with the platform's storage key.
    pub sealed_secret: String,
    /// Tags of assets that register with it.
    pub tags: Tags,
    /// The hosts that may register with it.
    pub admits: Admission,
    /// The creation time.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
    /// Until when hosts may register with it. Registered hosts are not affected.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Its successor.
    pub replaced_by: Option<String>,
    /// Its use so far.
    pub uses: Uses,
}

/// Which hosts may register with a key. It only concerns registration: a registered host may move, and is
/// recognised by its identity key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// The only name that may register; any name if `None`.
    pub name: Option<Name>,
    /// How many hosts may register; any number if `None`.
    pub most: Option<u32>,
    /// The networks from which they may register.
    pub networks: AllowedNetworks,
}

/// The networks of hosts that register with a key, as stated by the operator who created the key.
///
/// A registration from elsewhere is refused. It also determines the expected addresses of these hosts: an
/// address that a host claims and that is [inside](Self::contains) a named network is accepted.
/// [`Any`](Self::Any) says nothing about addresses, so it vouches for none: check for [`Only`](Self::Only)
/// before accepting a claim. The key with which a host registered is the asset's `registered_with`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AllowedNetworks {
    /// Not restricted.
    #[default]
    Any,
    /// One of these, at least one; each without host bits.
    Only(Vec<IpNet>),
}

impl AllowedNetworks {
    /// Whether a host may register from this address. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(networks) => {
                networks.iter().any(|network| network.contains(&address.to_canonical()))
            }
        }
    }
}

/// The use of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uses {
    /// The number of hosts that registered with it.
    pub registrations: u64,
    /// The time of the last registration.
    pub last_registered_at: Option<Timestamp>,
    /// The time of the last session set up with it.
    pub last_used_at: Option<Timestamp>,
    /// The source address of that session; a proxy's, if there was one.
    pub last_used_from: Option<IpAddr>,
}

impl StoredKey {
    /// Whether hosts can't register with it any more because it has expired.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether its maximum number of hosts has registered.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.admits.most.is_some_and(|most| self.uses.registrations >= u64::from(most))
    }
}

/// Adds a key.
///
/// # Errors
/// When the database fails.
pub async fn insert(conn: &mut Conn, key: &StoredKey) -> StoreResult<()> {
    let networks = match &key.admits.networks {
        AllowedNetworks::Any => None,
        AllowedNetworks::Only(networks) => Some(to_json(networks)?),
    };
    sqlx::query(
        "INSERT INTO enforcement_key (id, name, secret, tags, created_at, created_by, expires_at, \
         kind, bound_name, max_registrations, allowed_networks) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&key.id)
    .bind(&key.name)
    .bind(&key.sealed_secret)
    .bind(to_json(&key.tags)?)
    .bind(key.created_at.0)
    .bind(&key.created_by)
    .bind(key.expires_at.map(|time| time.0))
    .bind(word(&key.kind)?)
    .bind(key.admits.name.as_ref().map(Name::as_str))
    .bind(key.admits.most.map(i64::from))
    .bind(networks)
    .execute(conn)
    .await
    .doing("store an enforcement key")?;
    Ok(())
}

/// The key with this id.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, id: &str) -> StoreResult<Option<StoredKey>> {
    let row = sqlx::query("SELECT * FROM enforcement_key WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .doing("read an enforcement key")?;
    row.as_ref().map(key).transpose()
}

/// Up to `limit` keys after the id `after`.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn, after: &str, limit: u32) -> StoreResult<Vec<StoredKey>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM enforcement_key WHERE id > ");
        query.push_bind(after.to_owned()).push(" ORDER BY id");
        Ok(query)
    };
    rows::page(conn, "enforcement keys", limit, query, key).await
}

/// The keys for several hosts that have an expiry, past or future, ordered by it. Keys that are revoked, used
/// up, or replaced are left out.
///
/// # Errors
/// When the database fails.
pub async fn with_end(conn: &mut Conn) -> StoreResult<Vec<StoredKey>> {
    let rows = sqlx::query(
        "SELECT * FROM enforcement_key WHERE expires_at IS NOT NULL AND kind = 'key' \
         AND revoked_at IS NULL AND replaced_by IS NULL \
         AND (max_registrations IS NULL OR registrations < max_registrations) \
         ORDER BY expires_at, id",
    )
    .fetch_all(conn)
    .await
    .doing("list the enforcement keys that end")?;
    Ok(rows::readable("enforcement keys that end", &rows, key))
}

/// The replaced keys that were not revoked; the newest first, at most 100.
///
/// # Errors
/// When the database fails.
pub async fn followed(conn: &mut Conn) -> StoreResult<Vec<StoredKey>> {
    let rows = sqlx::query(
        "SELECT * FROM enforcement_key WHERE replaced_by IS NOT NULL AND revoked_at IS NULL \
         ORDER BY created_at DESC, id LIMIT 100",
    )
    .fetch_all(conn)
    .await
    .doing("list the enforcement keys that another one follows")?;
    Ok(rows::readable("enforcement keys that another one follows", &rows, key))
}

/// Sets the successor of a key; hosts can register with the old key until `end` at the latest.
///
/// # Errors
/// When the database fails.
pub async fn replace(
    conn: &mut Conn,
    id: &str,
    successor: &str,
    end: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE enforcement_key SET replaced_by = $2, expires_at = CASE \
         WHEN expires_at IS NOT NULL AND expires_at < $3 THEN expires_at ELSE $3 END \
         WHERE id = $1",
    )
    .bind(id)
    .bind(successor)
    .bind(end.0)
    .execute(conn)
    .await
    .doing("rotate an enforcement key")?;
    Ok(())
}

/// Revokes a key.
///
/// # Errors
/// When the database fails.
pub async fn revoke(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE enforcement_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("revoke an enforcement key")?;
    Ok(())
}

/// Records that a session was set up with a key.
///
/// # Errors
/// When the database fails.
pub async fn touch(conn: &mut Conn, id: &str, from: IpAddr, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE enforcement_key SET last_used_at = $2, last_used_from = $3 WHERE id = $1")
        .bind(id)
        .bind(now.0)
        .bind(from.to_string())
        .execute(conn)
        .await
        .doing("record an enforcement key's use")?;
    Ok(())
}

/// Counts a registration with a key. `false`, without counting, if its maximum number of hosts has
/// registered.
///
/// # Errors
/// When the database fails.
pub async fn count_registration(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<bool> {
    let done = sqlx::query(
        "UPDATE enforcement_key SET registrations = registrations + 1, last_registered_at = $2 \
         WHERE id = $1 AND (max_registrations IS NULL OR registrations < max_registrations)",
    )
    .bind(id)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("count a registration")?;
    Ok(done.rows_affected() > 0)
}

fn key(row: &Row) -> StoreResult<StoredKey> {
    let networks = row.col::<Option<&str>>("allowed_networks")?;
    let networks = networks.map(from_json::<Vec<IpNet>>).transpose()?;
    let name = row.col::<Option<&str>>("bound_name")?.map(str::parse).transpose();
    let from = row.col::<Option<&str>>("last_used_from")?.map(str::parse).transpose();
    let most = row.col::<Option<i64>>("max_registrations")?;
    Ok(StoredKey {
        id: row.col("id")?,
        kind: from_word(row.col("kind")?)?,
        name: row.col("name")?,
        sealed_secret: row.col("secret")?,
        tags: from_json(row.col("tags")?)?,
        admits: Admission {
            name: name.doing("read a stored name")?,
            most: most.map(|most| u32::try_from(most).unwrap_or(0)),
            networks: networks.map_or(AllowedNetworks::Any, AllowedNetworks::Only),
        },
        created_at: row.time("created_at")?,
        created_by: row.col("created_by")?,
        expires_at: row.maybe_time("expires_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
        replaced_by: row.col("replaced_by")?,
        uses: Uses {
            registrations: row.count("registrations")?,
            last_registered_at: row.maybe_time("last_registered_at")?,
            last_used_at: row.maybe_time("last_used_at")?,
            last_used_from: from.doing("read a stored address")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_networks_contain_their_addresses_and_an_empty_list_contains_none() {
        let only = |nets: &str| {
            AllowedNetworks::Only(nets.split(' ').map(|net| net.parse().unwrap()).collect())
        };
        for (networks, address, contained) in [
            (AllowedNetworks::Any, "203.0.113.9", true),
            (only("10.0.0.0/8"), "10.1.2.3", true),
            (only("10.0.0.0/8"), "11.1.2.3", false),
            (only("10.0.0.0/8"), "::ffff:10.1.2.3", true),
            (only("10.0.0.0/8 2001:db8::/32"), "2001:db8::1", true),
            (only("2001:db8::/32"), "10.1.2.3", false),
            (AllowedNetworks::Only(Vec::new()), "10.1.2.3", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), contained, "{address}");
        }
    }
}
