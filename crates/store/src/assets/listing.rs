//! Filters, orders and states of assets.

use std::ops::RangeInclusive;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::asset_filter::AssetStanding;
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::{TagKey, TagValue};

use super::row::{COLUMNS, StoredAsset, stored};
use crate::rows::{Columns as _, push_in};
use crate::{Conn, Db, Doing as _, StoreResult, contains, rows, word};

/// Seconds without a run after which a program no longer counts as active.
pub const ACTIVE_FOR: i64 = 300;

/// Missed check-ins up to which an agent counts as late; with more it is offline.
pub const MISSED_LATE: i64 = 2;

/// The filter.
#[derive(Debug, Default)]
pub struct AssetFilter {
    /// Part of the name.
    pub name: Option<String>,
    /// Tags that it must have.
    pub tags: Vec<(TagKey, Option<TagValue>)>,
    /// Its state.
    pub standing: Option<AssetStanding>,
    /// The program that reports it.
    pub source: Option<Source>,
    /// Only these.
    pub ids: Option<Vec<AssetId>>,
    /// Those for which the committed policy enforces nothing: for [`AssetStanding::Unprotected`].
    pub open: Vec<AssetId>,
}

/// The order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sorting {
    /// By name.
    #[default]
    Name,
    /// By name, descending.
    NameDown,
    /// The longest silent first, preceded by those that never checked in.
    CheckIn,
    /// The last to check in first.
    CheckInDown,
    /// The oldest version of the program first.
    Version,
    /// The newest version first, compared as text.
    VersionDown,
    /// The oldest revision in force first, preceded by those without one.
    Revision,
    /// The newest revision first.
    RevisionDown,
}

impl Sorting {
    /// The `ORDER BY` clause's content.
    fn sql(self) -> &'static str {
        match self {
            Self::Name => "a.name",
            Self::NameDown => "a.name DESC",
            Self::CheckIn => "COALESCE(a.last_check_in, -1), a.name",
            Self::CheckInDown => "COALESCE(a.last_check_in, -1) DESC, a.name",
            Self::Version => "a.program_version, a.name",
            Self::VersionDown => "a.program_version DESC, a.name",
            Self::Revision => "COALESCE(a.in_force_revision, -1), a.name",
            Self::RevisionDown => "COALESCE(a.in_force_revision, -1) DESC, a.name",
        }
    }
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
    let query = || {
        let mut query = QueryBuilder::<Db>::new(COLUMNS);
        query.push(" WHERE 1 = 1");
        if let Some(after) = after {
            query.push(" AND a.name > ").push_bind(after.to_owned());
        }
        narrow(&mut query, filter, now)?;
        query.push(" ORDER BY a.name");
        Ok(query)
    };
    rows::page(conn, "assets", limit, query, stored).await
}

/// Some assets in an order, without the first `left_out`.
///
/// # Errors
/// When the database fails.
pub async fn sorted(
    conn: &mut Conn,
    filter: &AssetFilter,
    sorting: Sorting,
    (left_out, limit): (u32, u32),
    now: Timestamp,
) -> StoreResult<Vec<StoredAsset>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(COLUMNS);
        query.push(" WHERE 1 = 1");
        narrow(&mut query, filter, now)?;
        query.push(" ORDER BY ").push(sorting.sql());
        Ok(query)
    };
    rows::page_after(conn, "assets", (left_out, limit), query, stored).await
}

/// The number of assets that match a filter.
///
/// # Errors
/// When the database fails.
pub async fn count(conn: &mut Conn, filter: &AssetFilter, now: Timestamp) -> StoreResult<u64> {
    let mut query = QueryBuilder::<Db>::new("SELECT count(*) AS number FROM (");
    query.push(COLUMNS).push(" WHERE 1 = 1");
    narrow(&mut query, filter, now)?;
    query.push(") AS listed");
    let row = query.build().fetch_one(conn).await.doing("count assets")?;
    Ok(u64::try_from(row.col::<i64>("number")?).unwrap_or_default())
}

fn narrow(query: &mut QueryBuilder<Db>, filter: &AssetFilter, now: Timestamp) -> StoreResult<()> {
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
        push_in(query, ids.iter());
    }
    if let Some(source) = &filter.source {
        query.push(" AND a.source = ").push_bind(word(source)?);
    }
    if let Some(standing) = filter.standing {
        push_standing(query, standing, &filter.open, now);
    }
    Ok(())
}

fn push_standing(
    query: &mut QueryBuilder<Db>,
    standing: AssetStanding,
    open: &[AssetId],
    now: Timestamp,
) {
    let oldest_active = now.plus(-ACTIVE_FOR).0;
    match standing {
        AssetStanding::Active => {
            query.push(" AND a.last_check_in >= ").push_bind(oldest_active);
        }
        AssetStanding::Inactive => {
            query.push(" AND a.last_check_in < ").push_bind(oldest_active);
        }
        AssetStanding::Never => {
            query.push(" AND a.last_check_in IS NULL");
        }
        AssetStanding::Unprotected => {
            query.push(
                " AND a.decommissioned_at IS NULL AND (a.in_force_digest IS NULL OR \
                 a.state IN ('blocked', 'no-policy') OR a.id",
            );
            push_in(query, open.iter());
            query.push(")");
        }
        AssetStanding::Problems => {
            query.push(" AND a.decommissioned_at IS NULL AND a.problems <> '[]'");
        }
        AssetStanding::Enforcing => {
            query.push(" AND a.state = 'enforcing'");
        }
        AssetStanding::Blocked => {
            query.push(" AND a.state = 'blocked'");
        }
        AssetStanding::Failed => {
            query.push(" AND a.state = 'failed'");
        }
        AssetStanding::NoPolicy => {
            query.push(" AND a.state = 'no-policy'");
        }
        AssetStanding::Outdated => {
            query.push(
                " AND r.digest IS NOT NULL AND (a.in_force_digest IS NULL OR \
                 a.in_force_digest <> r.digest)",
            );
        }
        AssetStanding::IdentityChanged => {
            query.push(" AND w.identity IS NOT NULL");
        }
        AssetStanding::Waiting => {
            query.push(
                " AND EXISTS (SELECT 1 FROM asset_claim c WHERE c.asset_id = a.id AND \
                 c.standing = 'waiting' AND c.reason <> 'shared')",
            );
        }
        AssetStanding::Online => push_missed(query, now, -FAR..=0),
        AssetStanding::Late => push_missed(query, now, 1..=MISSED_LATE),
        AssetStanding::Offline => push_missed(query, now, MISSED_LATE + 1..=FAR),
        AssetStanding::Refused => {
            query.push(" AND a.decommissioned_at IS NULL AND f.last_at IS NOT NULL");
        }
        AssetStanding::Decommissioned => {
            query.push(" AND a.decommissioned_at IS NOT NULL");
        }
    }
}

/// More check-ins than can be missed, even if a clock jumps.
const FAR: i64 = i64::MAX / 4;

/// Check-ins that an agent has missed: half an interval is allowed for jitter and transmission.
#[must_use]
pub fn missed(last_check_in: Timestamp, interval: u32, now: Timestamp) -> i64 {
    let interval = i64::from(interval).max(1);
    let elapsed = now.0.saturating_sub(last_check_in.0).clamp(0, FAR / 4);
    ((2 * elapsed - 1 - interval) / (2 * interval)).max(0)
}

/// Agents with this many missed check-ins: [`missed`] in SQL.
fn push_missed(query: &mut QueryBuilder<Db>, now: Timestamp, range: RangeInclusive<i64>) {
    query
        .push(" AND a.decommissioned_at IS NULL AND a.check_in_interval > 0 AND (2 * (")
        .push_bind(now.0)
        .push(" - a.last_check_in) - 1 - a.check_in_interval) / (2 * a.check_in_interval) BETWEEN ")
        .push_bind(*range.start())
        .push(" AND ")
        .push_bind(*range.end());
}

/// The number of assets in each state that operators should be warned of.
///
/// # Errors
/// When the database fails.
pub async fn standings(conn: &mut Conn, now: Timestamp) -> StoreResult<[(&'static str, f64); 8]> {
    let row = sqlx::query(
        "SELECT count(*) AS known, \
         count(CASE WHEN a.last_check_in >= $1 THEN 1 END) AS active, \
         count(CASE WHEN a.state = 'enforcing' THEN 1 END) AS enforcing, \
         count(CASE WHEN a.state IN ('blocked', 'failed') THEN 1 END) AS failing, \
         count(CASE WHEN r.digest <> COALESCE(a.in_force_digest, '') THEN 1 END) AS outdated, \
         count(CASE WHEN EXISTS (SELECT 1 FROM other_identity w WHERE w.asset_id = a.id \
         AND w.state = 'waiting') THEN 1 END) AS identity_changed, \
         count(CASE WHEN EXISTS (SELECT 1 FROM asset_claim c WHERE c.asset_id = a.id AND \
         c.standing = 'waiting' AND c.reason <> 'shared') THEN 1 END) AS waiting, \
         count(f.last_at) AS refused \
         FROM asset a LEFT JOIN ruleset r ON r.asset_id = a.id \
         LEFT JOIN refused_check_in f ON f.asset_id = a.id WHERE a.decommissioned_at IS NULL",
    )
    .bind(now.plus(-ACTIVE_FOR).0)
    .fetch_one(conn)
    .await
    .doing("count assets")?;
    let mut counted = [
        "known",
        "active",
        "enforcing",
        "failing",
        "outdated",
        "identity_changed",
        "waiting",
        "refused",
    ]
    .map(|name| (name, 0.0));
    for (name, count) in &mut counted {
        // Numbers of rows are far below the largest exact floating-point integer.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let rows = row.col::<i64>(name)? as f64;
        *count = rows;
    }
    Ok(counted)
}
