//! Reports of hosts besides events: programmed rules, hit counts, listening ports; and which batches were
//! counted.

use xshield_model::Timestamp;
use xshield_policy::{AssetId, Direction, RuleId};
use xshield_wire::Bytes;
use xshield_wire::message::{ListeningPort, ProgrammedReport, RuleHits};

use super::events::bounded;
use super::rows::Columns as _;
use super::{Conn, Doing as _, Row, StoreResult, from_json, from_word, rows, to_json, word};

/// Rules whose hits are kept per asset.
const MOST_RULES: i64 = 20_000;

/// The latest report of a kind.
#[derive(Debug, Clone)]
pub struct Reported<T> {
    /// Its content.
    pub value: T,
    /// When it was made, by the host's clock.
    pub created: Timestamp,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// The sum of a rule's hits.
#[derive(Debug, Clone)]
pub struct StoredHits {
    /// The rule and its count.
    pub hits: RuleHits,
    /// The time of the last report with hits.
    pub last_hit: Timestamp,
}

/// Records a batch; `false` if it was counted before.
///
/// # Errors
/// When the database fails.
pub async fn first_time(
    conn: &mut Conn,
    asset: &AssetId,
    batch: Bytes<16>,
    now: Timestamp,
) -> StoreResult<bool> {
    let done = sqlx::query(
        "INSERT INTO batch (asset_id, batch, received_at) VALUES ($1, $2, $3) \
         ON CONFLICT (asset_id, batch) DO NOTHING",
    )
    .bind(asset.as_str())
    .bind(batch.0.to_vec())
    .bind(now.0)
    .execute(conn)
    .await
    .doing("record a batch")?;
    Ok(done.rows_affected() > 0)
}

/// How much of a batch is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// This many of its rows.
    Items(usize),
    /// All of it.
    Whole,
}

/// Records a batch that is stored in parts; returns how much of it is stored already.
///
/// # Errors
/// When the database fails.
pub async fn begin(
    conn: &mut Conn,
    asset: &AssetId,
    batch: Bytes<16>,
    now: Timestamp,
) -> StoreResult<Stored> {
    sqlx::query(
        "INSERT INTO batch (asset_id, batch, received_at, stored) VALUES ($1, $2, $3, 0) \
         ON CONFLICT (asset_id, batch) DO NOTHING",
    )
    .bind(asset.as_str())
    .bind(batch.0.to_vec())
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .doing("record a batch")?;
    let stored: Option<i64> =
        sqlx::query_scalar("SELECT stored FROM batch WHERE asset_id = $1 AND batch = $2")
            .bind(asset.as_str())
            .bind(batch.0.to_vec())
            .fetch_one(conn)
            .await
            .doing("read the progress of a batch")?;
    Ok(stored.map_or(Stored::Whole, |items| Stored::Items(usize::try_from(items).unwrap_or(0))))
}

/// Records how much of a batch is stored now.
///
/// # Errors
/// When the database fails.
pub async fn note_stored(
    conn: &mut Conn,
    asset: &AssetId,
    batch: Bytes<16>,
    stored: Stored,
) -> StoreResult<()> {
    let items = match stored {
        Stored::Whole => None,
        Stored::Items(items) => Some(i64::try_from(items).unwrap_or(i64::MAX)),
    };
    sqlx::query("UPDATE batch SET stored = $3 WHERE asset_id = $1 AND batch = $2")
        .bind(asset.as_str())
        .bind(batch.0.to_vec())
        .bind(items)
        .execute(conn)
        .await
        .doing("record how much of a batch is stored")?;
    Ok(())
}

/// Deletes the batches of assets that have more than `keep`, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn trim_batches(conn: &mut Conn, keep: i64) -> StoreResult<()> {
    let many: Vec<String> =
        sqlx::query_scalar("SELECT asset_id FROM batch GROUP BY asset_id HAVING count(*) > $1")
            .bind(keep)
            .fetch_all(&mut *conn)
            .await
            .doing("find assets with many batches")?;
    for asset in many {
        sqlx::query(
            "DELETE FROM batch WHERE asset_id = $1 AND batch IN (SELECT batch FROM batch \
             WHERE asset_id = $1 ORDER BY received_at DESC, batch LIMIT 1000000000 OFFSET $2)",
        )
        .bind(asset)
        .bind(keep)
        .execute(&mut *conn)
        .await
        .doing("delete old batches")?;
    }
    Ok(())
}

/// Stores the latest report of programmed rules; their hits are [added](add_hits) separately. A report
/// without the table's text keeps the stored text; one that is older than the stored one changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn put_programmed(
    conn: &mut Conn,
    asset: &AssetId,
    report: &ProgrammedReport,
    created: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO programmed (asset_id, report, text, created, received_at) \
         VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (asset_id) DO UPDATE SET report = excluded.report, \
         text = COALESCE(excluded.text, programmed.text), created = excluded.created, \
         received_at = excluded.received_at \
         WHERE excluded.created >= programmed.created",
    )
    .bind(asset.as_str())
    .bind(to_json(&ProgrammedReport { text: None, ..report.clone() })?)
    .bind(&report.text)
    .bind(created.0)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store programmed rules")?;
    Ok(())
}

/// Adds to a rule's hits.
///
/// # Errors
/// When the database fails.
pub async fn add_hits(
    conn: &mut Conn,
    asset: &AssetId,
    hits: &RuleHits,
    created: Timestamp,
) -> StoreResult<()> {
    if hits.packets == 0 {
        return Ok(());
    }
    sqlx::query(concat!(
        "INSERT INTO rule_hits (asset_id, direction, rule, packets, bytes, last_hit) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (asset_id, direction, rule) DO UPDATE SET ",
        added!("rule_hits", "packets"),
        ", ",
        added!("rule_hits", "bytes"),
        ", \
         last_hit = CASE WHEN excluded.last_hit > rule_hits.last_hit \
             THEN excluded.last_hit ELSE rule_hits.last_hit END",
    ))
    .bind(asset.as_str())
    .bind(word(&hits.direction)?)
    .bind(hits.rule.as_str())
    .bind(bounded(hits.packets))
    .bind(bounded(hits.bytes))
    .bind(created.0)
    .execute(conn)
    .await
    .doing("add up a rule's hits")?;
    Ok(())
}

/// Deletes hits of rules beyond `MOST_RULES`: those hit longest ago, and among them the rarest.
///
/// # Errors
/// When the database fails.
pub async fn trim_hits(conn: &mut Conn, asset: &AssetId) -> StoreResult<()> {
    sqlx::query(
        "DELETE FROM rule_hits WHERE asset_id = $1 AND (direction, rule) IN \
         (SELECT direction, rule FROM rule_hits WHERE asset_id = $1 \
         ORDER BY last_hit DESC, packets DESC, direction, rule LIMIT 1000000000 OFFSET $2)",
    )
    .bind(asset.as_str())
    .bind(MOST_RULES)
    .execute(conn)
    .await
    .doing("delete old hit counts")?;
    Ok(())
}

/// The latest report of programmed rules.
///
/// # Errors
/// When the database fails.
pub async fn programmed(
    conn: &mut Conn,
    asset: &AssetId,
) -> StoreResult<Option<Reported<ProgrammedReport>>> {
    let row = sqlx::query(
        "SELECT report AS value, text, created, received_at FROM programmed WHERE asset_id = $1",
    )
    .bind(asset.as_str())
    .fetch_optional(conn)
    .await
    .doing("read programmed rules")?;
    row.map(|row| {
        let mut kept: Reported<ProgrammedReport> = reported(&row)?;
        kept.value.text = row.col("text")?;
        Ok(kept)
    })
    .transpose()
}

/// The hits of an asset's rules, the most used first.
///
/// # Errors
/// When the database fails.
pub async fn hits(conn: &mut Conn, asset: &AssetId) -> StoreResult<Vec<StoredHits>> {
    let rows = sqlx::query(
        "SELECT * FROM rule_hits WHERE asset_id = $1 ORDER BY packets DESC, direction, rule",
    )
    .bind(asset.as_str())
    .fetch_all(conn)
    .await
    .doing("read hit counts")?;
    let stored = |row: &Row| {
        let hits = RuleHits {
            rule: row.col::<&str>("rule")?.parse::<RuleId>().doing("read a stored rule")?,
            direction: from_word::<Direction>(row.col("direction")?)?,
            packets: row.count("packets")?,
            bytes: row.count("bytes")?,
        };
        Ok(StoredHits { hits, last_hit: row.time("last_hit")? })
    };
    Ok(rows::readable("hit counts", &rows, stored))
}

/// Stores the latest list of listening ports; one that is older than the stored one is ignored.
///
/// # Errors
/// When the database fails.
pub async fn put_listening(
    conn: &mut Conn,
    asset: &AssetId,
    ports: &[ListeningPort],
    created: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO listening (asset_id, ports, created, received_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (asset_id) DO UPDATE SET ports = excluded.ports, \
         created = excluded.created, received_at = excluded.received_at \
         WHERE excluded.created >= listening.created",
    )
    .bind(asset.as_str())
    .bind(to_json(&ports)?)
    .bind(created.0)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("store listening ports")?;
    Ok(())
}

/// The latest list of listening ports.
///
/// # Errors
/// When the database fails.
pub async fn listening(
    conn: &mut Conn,
    asset: &AssetId,
) -> StoreResult<Option<Reported<Vec<ListeningPort>>>> {
    let row = sqlx::query(
        "SELECT ports AS value, created, received_at FROM listening WHERE asset_id = $1",
    )
    .bind(asset.as_str())
    .fetch_optional(conn)
    .await
    .doing("read listening ports")?;
    row.as_ref().map(reported).transpose()
}

/// Adds to the number of flows that a host could not record.
///
/// # Errors
/// When the database fails.
pub async fn add_lost(conn: &mut Conn, asset: &AssetId, lost: u64) -> StoreResult<()> {
    sqlx::query(concat!(
        "UPDATE asset SET ",
        added!("asset", "events_lost", "$2"),
        " WHERE id = $1"
    ))
    .bind(asset.as_str())
    .bind(bounded(lost))
    .execute(conn)
    .await
    .doing("count lost events")?;
    Ok(())
}

fn reported<T: serde::de::DeserializeOwned>(row: &Row) -> StoreResult<Reported<T>> {
    Ok(Reported {
        value: from_json(row.col("value")?)?,
        created: row.time("created")?,
        received_at: row.time("received_at")?,
    })
}
