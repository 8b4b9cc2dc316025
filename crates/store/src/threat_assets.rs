//! Orders to assets, their reported threat list state, and the modes set by operators.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::threat_settings::{ScopeModes, ThreatSettings};
use xshield_policy::AssetId;
use xshield_threat::ThreatMode;
use xshield_wire::message::Digest;
use xshield_wire::threat::{ThreatOrder, ThreatStanding, ThreatWanted};

use super::rows::{Columns as _, push_in, unsigned};
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, rows, to_json};

/// The stored threat state of one asset.
#[derive(Debug, Clone, Default)]
pub struct StoredThreat {
    /// The modes set for it.
    pub modes: ScopeModes,
    /// The budget in bytes set for it; otherwise it gets a share of its memory.
    pub budget: Option<u64>,
    /// The number of the last order; 0 if there is none.
    pub sequence: u64,
    /// The last order.
    pub order: Option<SignedOrder>,
    /// Its reported state, and when it was reported.
    pub standing: Option<(ThreatStanding, Timestamp)>,
}

/// A signed order.
#[derive(Debug, Clone)]
pub struct SignedOrder {
    /// Its content.
    pub order: ThreatOrder,
    /// Digest of its payload.
    pub digest: Digest,
    /// The envelope's JSON.
    pub envelope: String,
    /// Since when it is in effect.
    pub ordered_at: Timestamp,
}

impl SignedOrder {
    /// The order as named in answers to hosts.
    #[must_use]
    pub fn wanted(&self) -> ThreatWanted {
        ThreatWanted { sequence: self.order.sequence, order: self.digest }
    }
}

/// The stored state of an asset; the defaults if there is none.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, asset: &AssetId) -> StoreResult<StoredThreat> {
    let row = sqlx::query("SELECT * FROM threat_asset WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_optional(conn)
        .await
        .doing("read an asset's threat order")?;
    row.as_ref().map_or_else(|| Ok(StoredThreat::default()), stored)
}

/// The stored state of all assets that have one.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<Vec<(String, StoredThreat)>> {
    let rows = sqlx::query(
        "SELECT a.name, t.* FROM threat_asset t JOIN asset a ON a.id = t.asset_id ORDER BY a.name",
    )
    .fetch_all(conn)
    .await
    .doing("list threat orders")?;
    let of_one = |row: &Row| Ok((row.col("name")?, stored(row)?));
    Ok(rows::readable("threat orders", &rows, of_one))
}

/// The stored state of these assets, by their ids.
///
/// # Errors
/// When the database fails.
pub async fn some(
    conn: &mut Conn,
    ids: impl Iterator<Item = &AssetId>,
) -> StoreResult<BTreeMap<String, StoredThreat>> {
    let mut query = QueryBuilder::<Db>::new("SELECT * FROM threat_asset WHERE asset_id");
    push_in(&mut query, ids);
    let rows = query.build().fetch_all(conn).await.doing("read threat orders")?;
    let of_one = |row: &Row| Ok((row.col("asset_id")?, stored(row)?));
    Ok(rows::readable("threat orders", &rows, of_one).into_iter().collect())
}

/// Stores the reported state of an asset.
///
/// # Errors
/// When the database fails.
pub async fn put_standing(
    conn: &mut Conn,
    asset: &AssetId,
    standing: &ThreatStanding,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_asset (asset_id, sequence, standing, standing_at) \
         VALUES ($1, 0, $2, $3) ON CONFLICT (asset_id) DO UPDATE SET \
         standing = excluded.standing, standing_at = excluded.standing_at",
    )
    .bind(asset.as_str())
    .bind(to_json(standing)?)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store the threat state of an asset")?;
    Ok(())
}

/// Stores an order.
///
/// # Errors
/// When the database fails.
pub async fn put_order(conn: &mut Conn, signed: &SignedOrder) -> StoreResult<()> {
    let sequence = i64::try_from(signed.order.sequence).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO threat_asset (asset_id, sequence, ordered, digest, envelope, ordered_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (asset_id) DO UPDATE SET \
         sequence = excluded.sequence, ordered = excluded.ordered, digest = excluded.digest, \
         envelope = excluded.envelope, ordered_at = excluded.ordered_at",
    )
    .bind(signed.order.asset.as_str())
    .bind(sequence)
    .bind(to_json(&signed.order)?)
    .bind(signed.digest.to_base64())
    .bind(&signed.envelope)
    .bind(signed.ordered_at.0)
    .execute(conn)
    .await
    .doing("store a threat order")?;
    Ok(())
}

/// Stores the number of an asset's last order, without the order itself.
///
/// # Errors
/// When the database fails.
pub async fn put_sequence(conn: &mut Conn, asset: &AssetId, sequence: u64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_asset (asset_id, sequence) VALUES ($1, $2) \
         ON CONFLICT (asset_id) DO UPDATE SET sequence = excluded.sequence",
    )
    .bind(asset.as_str())
    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
    .execute(conn)
    .await
    .doing("store the number of a threat order")?;
    Ok(())
}

/// Stores modes and budget of an asset.
///
/// # Errors
/// When the database fails.
pub async fn put_wish(
    conn: &mut Conn,
    asset: &AssetId,
    modes: ScopeModes,
    budget: Option<u64>,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_asset (asset_id, sequence, inbound, outbound, budget) \
         VALUES ($1, 0, $2, $3, $4) ON CONFLICT (asset_id) DO UPDATE SET \
         inbound = excluded.inbound, outbound = excluded.outbound, budget = excluded.budget",
    )
    .bind(asset.as_str())
    .bind(modes.inbound.map(ThreatMode::as_str))
    .bind(modes.outbound.map(ThreatMode::as_str))
    .bind(budget.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .execute(conn)
    .await
    .doing("store what is wanted of an asset")?;
    Ok(())
}

/// The modes of segments, by name.
///
/// # Errors
/// When the database fails.
pub async fn segments(conn: &mut Conn) -> StoreResult<Vec<(String, ScopeModes)>> {
    let rows = sqlx::query("SELECT * FROM threat_segment ORDER BY segment")
        .fetch_all(conn)
        .await
        .doing("list threat modes")?;
    rows::every("threat modes", &rows, |row| Ok((row.col("segment")?, modes(row)?)))
}

/// Stores the modes of a segment; deletes them if none are set.
///
/// # Errors
/// When the database fails.
pub async fn put_segment(conn: &mut Conn, segment: &str, modes: ScopeModes) -> StoreResult<()> {
    let query = if modes == ScopeModes::default() {
        sqlx::query("DELETE FROM threat_segment WHERE segment = $1").bind(segment)
    } else {
        sqlx::query(
            "INSERT INTO threat_segment (segment, inbound, outbound) VALUES ($1, $2, $3) \
             ON CONFLICT (segment) DO UPDATE SET inbound = excluded.inbound, \
             outbound = excluded.outbound",
        )
        .bind(segment)
        .bind(modes.inbound.map(ThreatMode::as_str))
        .bind(modes.outbound.map(ThreatMode::as_str))
    };
    query.execute(conn).await.doing("store a segment's threat modes")?;
    Ok(())
}

/// The settings of the platform.
///
/// # Errors
/// When the database fails.
pub async fn settings(conn: &mut Conn) -> StoreResult<ThreatSettings> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT settings FROM threat_setting WHERE id = 1")
            .fetch_optional(conn)
            .await
            .doing("read the threat settings")?;
    text.map_or_else(|| Ok(ThreatSettings::default()), |text| from_json(&text))
}

/// Stores the settings of the platform.
///
/// # Errors
/// When the database fails.
pub async fn put_settings(conn: &mut Conn, settings: &ThreatSettings) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_setting (id, settings) VALUES (1, $1) \
         ON CONFLICT (id) DO UPDATE SET settings = excluded.settings",
    )
    .bind(to_json(settings)?)
    .execute(conn)
    .await
    .doing("store the threat settings")?;
    Ok(())
}

fn modes(row: &Row) -> StoreResult<ScopeModes> {
    let mode = |column: &str| {
        let mode = row.col::<Option<String>>(column)?;
        mode.map(|mode| mode.parse()).transpose().doing("read a stored threat mode")
    };
    Ok(ScopeModes { inbound: mode("inbound")?, outbound: mode("outbound")? })
}

fn stored(row: &Row) -> StoreResult<StoredThreat> {
    let text = |column: &str| row.col::<Option<String>>(column);
    let time = |column: &str| Ok(row.maybe_time(column)?.unwrap_or(Timestamp(0)));
    let order = match (text("ordered")?, text("digest")?, text("envelope")?) {
        (Some(order), Some(digest), Some(envelope)) => Some(SignedOrder {
            order: from_json(&order)?,
            digest: Digest::from_base64(&digest).doing("read a stored digest")?,
            envelope,
            ordered_at: time("ordered_at")?,
        }),
        _ => None,
    };
    let standing = text("standing")?.map(|text| from_json(&text)).transpose()?;
    let standing_at = time("standing_at")?;
    Ok(StoredThreat {
        modes: modes(row)?,
        budget: row.col::<Option<i64>>("budget")?.map(unsigned),
        sequence: row.count("sequence")?,
        order,
        standing: standing.map(|standing| (standing, standing_at)),
    })
}

/// The stored state of all assets that have one, by the asset's id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(conn: &mut Conn) -> StoreResult<BTreeMap<String, StoredThreat>> {
    let rows = sqlx::query("SELECT * FROM threat_asset")
        .fetch_all(conn)
        .await
        .doing("list threat orders")?;
    let of_one = |row: &Row| Ok((row.col("asset_id")?, stored(row)?));
    Ok(rows::readable("threat orders", &rows, of_one).into_iter().collect())
}
