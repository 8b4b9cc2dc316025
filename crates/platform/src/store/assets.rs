//! Assets: who they are, how they said they stand, what is pending for them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use sqlx::{QueryBuilder, Row as _};
use xshield_policy::inventory::{Asset, Inventory, Source};
use xshield_policy::names::{Name, TagKey, TagValue};
use xshield_policy::{AssetId, Revision};
use xshield_wire::Bytes;
use xshield_wire::control::Usage;
use xshield_wire::message::{
    CheckIn, Digest, InForce, Problem, ProgramKind, RouteStanding, Status,
};

use super::{Conn, Db, Doing as _, Row, StoreError, StoreResult, contains, from_json, from_word};
use super::{to_json, word};
use crate::clock::Timestamp;

/// Seconds after which a program that has not run no longer counts as active.
pub const ACTIVE_FOR: i64 = 300;

/// Missed check-ins with which an agent is late; with more it is offline.
pub const MISSED_LATE: i64 = 2;

/// Tags of one asset.
pub type Tags = BTreeMap<TagKey, TagValue>;

/// An asset as it is stored.
#[derive(Debug, Clone)]
pub struct StoredAsset {
    /// Its id.
    pub id: AssetId,
    /// Its host name.
    pub name: Name,
    /// Who reports it.
    pub source: Source,
    /// The pinned identity key.
    pub identity: Bytes<32>,
    /// Another identity that spoke in this name and waits for an operator.
    pub pending: Option<PendingIdentity>,
    /// Operating system.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The reporting program's version.
    pub program_version: String,
    /// The last check-in's sequence number.
    pub sequence: u64,
    /// What it said it enforces.
    pub status: Status,
    /// What it said is in the kernel.
    pub in_force: Option<InForce>,
    /// What it should have.
    pub wanted: Option<InForce>,
    /// What it wants an operator to know.
    pub problems: Vec<Problem>,
    /// Flows that it could not record, ever.
    pub events_lost: u64,
    /// When it registered.
    pub created_at: Timestamp,
    /// When it last checked in.
    pub last_check_in: Option<Timestamp>,
    /// Seconds within which it said it would check in again.
    pub interval: Option<u32>,
    /// Its ways to the platform.
    pub routes: Vec<RouteStanding>,
    /// What its resident program uses.
    pub usage: Option<Usage>,
    /// When an operator took it out of service.
    pub decommissioned_at: Option<Timestamp>,
}

/// An identity that waits for an operator.
#[derive(Debug, Clone, Copy)]
pub struct PendingIdentity {
    /// The new public key.
    pub identity: Bytes<32>,
    /// When it first asked.
    pub since: Timestamp,
}

/// A host that registers.
#[derive(Debug)]
pub struct NewAsset<'a> {
    /// Its id.
    pub id: &'a AssetId,
    /// Its name.
    pub name: &'a Name,
    /// The program that speaks for it.
    pub source: Source,
    /// Its identity key.
    pub identity: Bytes<32>,
    /// Its first tags.
    pub tags: &'a Tags,
}

/// What to list.
#[derive(Debug, Default)]
pub struct AssetFilter {
    /// Part of the name.
    pub name: Option<String>,
    /// Tags it must have.
    pub tags: Vec<(TagKey, Option<TagValue>)>,
    /// How it stands.
    pub standing: Option<Standing>,
    /// Only these.
    pub ids: Option<Vec<AssetId>>,
}

/// How an asset stands, as a filter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Ran within five minutes.
    Active,
    /// Ran, but longer ago.
    Inactive,
    /// Never ran.
    Never,
    /// Says that its ruleset is in the kernel.
    Enforcing,
    /// Another program owns its firewall.
    Blocked,
    /// Something failed.
    Failed,
    /// Has not got a policy.
    NoPolicy,
    /// Does not have the ruleset it should have.
    Outdated,
    /// Another identity waits for an operator.
    IdentityChanged,
    /// A resident agent that checks in as it said.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// Taken out of service.
    Decommissioned,
}

const COLUMNS: &str = "SELECT a.id, a.name, a.source, a.identity, a.pending_identity, \
     a.pending_since, a.os, a.kernel, a.addresses, a.program_version, a.sequence, a.state, \
     a.state_reason, a.in_force_revision, a.in_force_digest, a.problems, a.events_lost, \
     a.created_at, a.last_check_in, a.check_in_interval, a.routes, a.usage, \
     a.decommissioned_at, r.revision AS wanted_revision, r.digest AS wanted_digest \
     FROM asset a LEFT JOIN ruleset r ON r.asset_id = a.id";

/// Registers a host.
///
/// # Errors
/// When the database fails, or name or identity are taken.
pub async fn insert(conn: &mut Conn, asset: &NewAsset<'_>, now: Timestamp) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO asset (id, name, source, identity, os, kernel, addresses, boot_id, \
         program_version, sequence, state, state_reason, problems, events_lost, created_at) \
         VALUES ($1, $2, $3, $4, '', '', '[]', '', '', 0, 'no-policy', '', '[]', 0, $5)",
    )
    .bind(asset.id.as_str())
    .bind(asset.name.as_str())
    .bind(word(&asset.source)?)
    .bind(asset.identity.0.to_vec())
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .doing("register the asset")?;
    set_tags(conn, asset.id, asset.tags).await
}

/// The asset with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(conn: &mut Conn, id: &str) -> StoreResult<Option<StoredAsset>> {
    one(conn, "a.id", id).await
}

/// The asset with this name.
///
/// # Errors
/// When the database fails.
pub async fn by_name(conn: &mut Conn, name: &str) -> StoreResult<Option<StoredAsset>> {
    one(conn, "a.name", name).await
}

/// The asset with this identity key.
///
/// # Errors
/// When the database fails.
pub async fn by_identity(conn: &mut Conn, identity: Bytes<32>) -> StoreResult<Option<StoredAsset>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE a.identity = ").push_bind(identity.0.to_vec());
    let row = query.build().fetch_optional(conn).await.doing("read an asset")?;
    row.as_ref().map(stored).transpose()
}

async fn one(
    conn: &mut Conn,
    column: &'static str,
    value: &str,
) -> StoreResult<Option<StoredAsset>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE ").push(column).push(" = ").push_bind(value.to_owned());
    let row = query.build().fetch_optional(conn).await.doing("read an asset")?;
    row.as_ref().map(stored).transpose()
}

/// Up to `limit` assets after the name `after`, by name.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &AssetFilter,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<StoredAsset>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE 1 = 1");
    if let Some(after) = after {
        query.push(" AND a.name > ").push_bind(after.to_owned());
    }
    if let Some(name) = &filter.name {
        query.push(" AND lower(a.name) LIKE ").push_bind(contains(name)).push(" ESCAPE '\\'");
    }
    for (key, value) in &filter.tags {
        query
            .push(" AND EXISTS (SELECT 1 FROM asset_tag t WHERE t.asset_id = a.id AND t.key = ")
            .push_bind(key.as_str().to_owned());
        if let Some(value) = value {
            query.push(" AND t.value = ").push_bind(value.as_str().to_owned());
        }
        query.push(")");
    }
    if let Some(ids) = &filter.ids {
        query.push(" AND a.id");
        push_in(&mut query, ids.iter());
    }
    if let Some(standing) = filter.standing {
        push_standing(&mut query, standing, now);
    }
    query.push(" ORDER BY a.name LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(conn).await.doing("list assets")?;
    rows.iter().map(stored).collect()
}

/// `IN` these; none of them is nothing.
pub(crate) fn push_in<'a>(query: &mut QueryBuilder<Db>, ids: impl Iterator<Item = &'a AssetId>) {
    // An empty list is no list to PostgreSQL.
    query.push(" IN (NULL");
    for id in ids {
        query.push(", ").push_bind(id.as_str().to_owned());
    }
    query.push(")");
}

fn push_standing(query: &mut QueryBuilder<Db>, standing: Standing, now: Timestamp) {
    let oldest_active = now.plus(-ACTIVE_FOR).0;
    match standing {
        Standing::Active => {
            query.push(" AND a.last_check_in >= ").push_bind(oldest_active);
        }
        Standing::Inactive => {
            query.push(" AND a.last_check_in < ").push_bind(oldest_active);
        }
        Standing::Never => {
            query.push(" AND a.last_check_in IS NULL");
        }
        Standing::Enforcing => {
            query.push(" AND a.state = 'enforcing'");
        }
        Standing::Blocked => {
            query.push(" AND a.state = 'blocked'");
        }
        Standing::Failed => {
            query.push(" AND a.state = 'failed'");
        }
        Standing::NoPolicy => {
            query.push(" AND a.state = 'no-policy'");
        }
        Standing::Outdated => {
            query.push(
                " AND r.digest IS NOT NULL AND (a.in_force_digest IS NULL OR \
                 a.in_force_digest <> r.digest)",
            );
        }
        Standing::IdentityChanged => {
            query.push(" AND a.pending_identity IS NOT NULL");
        }
        Standing::Online => push_missed(query, now, -FAR..=0),
        Standing::Late => push_missed(query, now, 1..=MISSED_LATE),
        Standing::Offline => push_missed(query, now, MISSED_LATE + 1..=FAR),
        Standing::Decommissioned => {
            query.push(" AND a.decommissioned_at IS NOT NULL");
        }
    }
}

/// More check-ins than anything misses, also when a clock jumps.
const FAR: i64 = i64::MAX / 4;

/// Check-ins that an agent has missed: half an interval is left for jitter and the way here.
#[must_use]
pub fn missed(last_check_in: Timestamp, interval: u32, now: Timestamp) -> i64 {
    let interval = i64::from(interval).max(1);
    let elapsed = now.0.saturating_sub(last_check_in.0).clamp(0, FAR / 4);
    ((2 * elapsed - 1 - interval) / (2 * interval)).max(0)
}

/// Agents that missed so many check-ins: [`missed`], in SQL.
fn push_missed(query: &mut QueryBuilder<Db>, now: Timestamp, range: RangeInclusive<i64>) {
    query
        .push(" AND a.decommissioned_at IS NULL AND a.check_in_interval > 0 AND (2 * (")
        .push_bind(now.0)
        .push(" - a.last_check_in) - 1 - a.check_in_interval) / (2 * a.check_in_interval) BETWEEN ")
        .push_bind(*range.start())
        .push(" AND ")
        .push_bind(*range.end());
}

/// How many assets there are of each standing that an operator wants to be warned of.
///
/// # Errors
/// When the database fails.
pub async fn standings(conn: &mut Conn, now: Timestamp) -> StoreResult<[(&'static str, f64); 6]> {
    let row = sqlx::query(
        "SELECT count(*) AS known, \
         count(CASE WHEN a.last_check_in >= $1 THEN 1 END) AS active, \
         count(CASE WHEN a.state = 'enforcing' THEN 1 END) AS enforcing, \
         count(CASE WHEN a.state IN ('blocked', 'failed') THEN 1 END) AS failing, \
         count(CASE WHEN r.digest <> COALESCE(a.in_force_digest, '') THEN 1 END) AS outdated, \
         count(a.pending_identity) AS identity_changed \
         FROM asset a LEFT JOIN ruleset r ON r.asset_id = a.id WHERE a.decommissioned_at IS NULL",
    )
    .bind(now.plus(-ACTIVE_FOR).0)
    .fetch_one(conn)
    .await
    .doing("count assets")?;
    let names = ["known", "active", "enforcing", "failing", "outdated", "identity_changed"];
    // Counts of rows are far below what a float holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    Ok(names.map(|name| (name, row.get::<i64, _>(name) as f64)))
}

/// The tags of these assets.
///
/// # Errors
/// When the database fails.
pub async fn tags_of(
    conn: &mut Conn,
    ids: impl Iterator<Item = &AssetId>,
) -> StoreResult<BTreeMap<AssetId, Tags>> {
    let mut query =
        QueryBuilder::<Db>::new("SELECT asset_id, key, value FROM asset_tag WHERE asset_id");
    push_in(&mut query, ids);
    let rows = query.build().fetch_all(conn).await.doing("read tags")?;
    collect_tags(&rows)
}

fn collect_tags(rows: &[Row]) -> StoreResult<BTreeMap<AssetId, Tags>> {
    let mut tags: BTreeMap<AssetId, Tags> = BTreeMap::new();
    for row in rows {
        let id = parse::<AssetId>(row, "asset_id")?;
        let (key, value) = (parse::<TagKey>(row, "key")?, parse::<TagValue>(row, "value")?);
        tags.entry(id).or_default().insert(key, value);
    }
    Ok(tags)
}

/// Replaces an asset's tags.
///
/// # Errors
/// When the database fails.
pub async fn set_tags(conn: &mut Conn, id: &AssetId, tags: &Tags) -> StoreResult<()> {
    sqlx::query("DELETE FROM asset_tag WHERE asset_id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .doing("take tags away")?;
    for (key, value) in tags {
        sqlx::query("INSERT INTO asset_tag (asset_id, key, value) VALUES ($1, $2, $3)")
            .bind(id.as_str())
            .bind(key.as_str())
            .bind(value.as_str())
            .execute(&mut *conn)
            .await
            .doing("set tags")?;
    }
    Ok(())
}

/// Gives an asset the name its host has now.
///
/// # Errors
/// When the database fails or the name is taken.
pub async fn rename(conn: &mut Conn, id: &AssetId, name: &Name) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET name = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(name.as_str())
        .execute(conn)
        .await
        .doing("rename the asset")?;
    Ok(())
}

/// Forgets an asset and everything it reported.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, id: &AssetId) -> StoreResult<()> {
    sqlx::query("DELETE FROM asset WHERE id = $1")
        .bind(id.as_str())
        .execute(&mut *conn)
        .await
        .doing("delete the asset")?;
    sqlx::query("DELETE FROM host_configuration WHERE scope = $1")
        .bind(format!("asset:{id}"))
        .execute(conn)
        .await
        .doing("forget the asset's configuration")?;
    Ok(())
}

/// Takes an asset out of service at a time, or, without one, into service again.
///
/// # Errors
/// When the database fails.
pub async fn decommission(conn: &mut Conn, id: &AssetId, at: Option<Timestamp>) -> StoreResult<()> {
    sqlx::query("UPDATE asset SET decommissioned_at = $2 WHERE id = $1")
        .bind(id.as_str())
        .bind(at.map(|at| at.0))
        .execute(conn)
        .await
        .doing("take the asset out of service, or into it")?;
    Ok(())
}

/// Everything the compiler wants to know, in order of ids; what is out of service is left out.
///
/// # Errors
/// When the database fails.
pub async fn inventory(conn: &mut Conn) -> StoreResult<Inventory> {
    let rows = sqlx::query("SELECT asset_id, key, value FROM asset_tag")
        .fetch_all(&mut *conn)
        .await
        .doing("read tags")?;
    let mut tags = collect_tags(&rows)?;
    let rows = sqlx::query(
        "SELECT id, name, source, os, addresses FROM asset \
         WHERE decommissioned_at IS NULL ORDER BY id",
    )
    .fetch_all(conn)
    .await
    .doing("read the inventory")?;
    let asset = |row: &Row| {
        let id = parse::<AssetId>(row, "id")?;
        Ok(Asset {
            name: parse(row, "name")?,
            tags: tags.remove(&id).unwrap_or_default(),
            addresses: from_json(row.get("addresses"))?,
            os: row.get("os"),
            source: from_word(row.get("source"))?,
            id,
        })
    };
    Ok(Inventory { assets: rows.iter().map(asset).collect::<StoreResult<_>>()? })
}

/// The source of assets that this program speaks for.
#[must_use]
pub fn source(program: ProgramKind) -> Source {
    match program {
        ProgramKind::Spark => Source::Spark,
        ProgramKind::Agent => Source::Agent,
    }
}

/// What became of a check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedIn {
    /// Stored.
    Stored,
    /// Not newer than the last one, whose sequence number this is.
    Replayed(u64),
}

/// Stores a check-in if it is newer than the last one.
///
/// # Errors
/// When the database fails.
pub async fn check_in(
    conn: &mut Conn,
    id: &AssetId,
    message: &CheckIn,
    now: Timestamp,
) -> StoreResult<CheckedIn> {
    let (state, reason) = match &message.status {
        Status::Enforcing => ("enforcing", ""),
        Status::NoPolicy => ("no-policy", ""),
        Status::Blocked { by } => ("blocked", by.as_str()),
        Status::Failed { reason } => ("failed", reason.as_str()),
    };
    let source = source(message.program.kind);
    let sequence = i64::try_from(message.sequence).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "UPDATE asset SET os = $3, kernel = $4, addresses = $5, boot_id = $6, source = $7, \
         program_version = $8, sequence = $2, state = $9, state_reason = $10, \
         in_force_revision = $11, in_force_digest = $12, problems = $13, last_check_in = $14, \
         check_in_interval = $15, routes = $16, usage = $17 \
         WHERE id = $1 AND sequence < $2",
    )
    .bind(id.as_str())
    .bind(sequence)
    .bind(&message.host.os)
    .bind(&message.host.kernel)
    .bind(to_json(&message.host.addresses)?)
    .bind(&message.host.boot_id)
    .bind(word(&source)?)
    .bind(&message.program.version)
    .bind(state)
    .bind(reason)
    .bind(message.in_force.map(|held| i64::try_from(held.revision.0).unwrap_or(i64::MAX)))
    .bind(message.in_force.map(|held| held.digest.to_base64()))
    .bind(to_json(&message.problems)?)
    .bind(now.0)
    .bind(message.interval.map(i64::from))
    .bind(to_json(&message.routes)?)
    .bind(message.usage.as_ref().map(to_json).transpose()?)
    .execute(&mut *conn)
    .await
    .doing("store the check-in")?;
    if done.rows_affected() > 0 {
        return Ok(CheckedIn::Stored);
    }
    let last: i64 = sqlx::query_scalar("SELECT sequence FROM asset WHERE id = $1")
        .bind(id.as_str())
        .fetch_one(conn)
        .await
        .doing("read the last check-in")?;
    Ok(CheckedIn::Replayed(u64::try_from(last).unwrap_or(0)))
}

fn stored(row: &Row) -> StoreResult<StoredAsset> {
    let reason: String = row.get("state_reason");
    let status = match row.get::<&str, _>("state") {
        "enforcing" => Status::Enforcing,
        "no-policy" => Status::NoPolicy,
        "blocked" => Status::Blocked { by: reason },
        "failed" => Status::Failed { reason },
        other => return Err(StoreError::damaged("read an asset's state", other.to_owned())),
    };
    let pending = match (row.get("pending_identity"), row.get("pending_since")) {
        (Some(identity), Some(since)) => {
            Some(PendingIdentity { identity: bytes(identity)?, since: Timestamp(since) })
        }
        _ => None,
    };
    Ok(StoredAsset {
        id: parse(row, "id")?,
        name: parse(row, "name")?,
        source: from_word(row.get("source"))?,
        identity: bytes(row.get("identity"))?,
        pending,
        os: row.get("os"),
        kernel: row.get("kernel"),
        addresses: from_json(row.get("addresses"))?,
        program_version: row.get("program_version"),
        sequence: unsigned(row.get("sequence")),
        status,
        in_force: ruleset(row.get("in_force_revision"), row.get("in_force_digest"))?,
        wanted: ruleset(row.get("wanted_revision"), row.get("wanted_digest"))?,
        problems: from_json(row.get("problems"))?,
        events_lost: unsigned(row.get("events_lost")),
        created_at: Timestamp(row.get("created_at")),
        last_check_in: row.get::<Option<i64>, _>("last_check_in").map(Timestamp),
        interval: row
            .get::<Option<i64>, _>("check_in_interval")
            .and_then(|seconds| u32::try_from(seconds).ok()),
        routes: from_json(row.get("routes"))?,
        usage: row.get::<Option<&str>, _>("usage").map(from_json).transpose()?,
        decommissioned_at: row.get::<Option<i64>, _>("decommissioned_at").map(Timestamp),
    })
}

fn ruleset(revision: Option<i64>, digest: Option<String>) -> StoreResult<Option<InForce>> {
    let (Some(revision), Some(digest)) = (revision, digest) else { return Ok(None) };
    let digest = Digest::from_base64(&digest).doing("read a stored digest")?;
    Ok(Some(InForce { revision: Revision(unsigned(revision)), digest }))
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn bytes(stored: Vec<u8>) -> StoreResult<Bytes<32>> {
    let bytes: [u8; 32] =
        stored.try_into().map_err(|_| StoreError::damaged("read a stored key", "wrong length"))?;
    Ok(Bytes(bytes))
}

fn parse<T>(row: &Row, column: &'static str) -> StoreResult<T>
where
    T: std::str::FromStr,
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    row.get::<&str, _>(column).parse::<T>().doing("read a stored name")
}
