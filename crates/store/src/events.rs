//! Firewall events, aggregated by flow.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_policy::{AssetId, Direction, Protocol};
use xshield_wire::message::{EventKind, EventSource, FirewallEvent};

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, MOST, Row, StoreError, StoreResult, from_word, rows, word};

/// A flow, aggregated over all batches.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// For paging.
    pub id: i64,
    /// The name of its asset.
    pub asset: String,
    /// The sum of the batches.
    pub event: FirewallEvent,
    /// The number of batches that contained it.
    pub batches: u64,
}

/// The filter.
#[derive(Debug, Default)]
pub struct EventFilter {
    /// Of this asset.
    pub asset: Option<AssetId>,
    /// The verdict.
    pub kind: Option<EventKind>,
    /// The direction.
    pub direction: Option<Direction>,
    /// The peer's address.
    pub peer: Option<String>,
    /// Destination port.
    pub port: Option<u16>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Last seen at this time or later.
    pub since: Option<Timestamp>,
}

/// Adds a batch's event to its flow.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut Conn, asset: &AssetId, event: &FirewallEvent) -> StoreResult<()> {
    sqlx::query(concat!(
        "INSERT INTO firewall_event (asset_id, kind, direction, source, destination, protocol, \
         port, rule, process, read_from, packets, bytes, batches, first_seen, last_seen) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $14) \
         ON CONFLICT (asset_id, kind, direction, source, destination, protocol, port, rule, \
         process, read_from) DO UPDATE SET ",
        added!("firewall_event", "packets"),
        ", ",
        added!("firewall_event", "bytes"),
        ", batches = firewall_event.batches + 1, \
         first_seen = CASE WHEN excluded.first_seen < firewall_event.first_seen \
             THEN excluded.first_seen ELSE firewall_event.first_seen END, \
         last_seen = CASE WHEN excluded.last_seen > firewall_event.last_seen \
             THEN excluded.last_seen ELSE firewall_event.last_seen END",
    ))
    .bind(asset.as_str())
    .bind(word(&event.kind)?)
    .bind(word(&event.direction)?)
    .bind(event.source.to_string())
    .bind(event.destination.to_string())
    .bind(super::to_json(&event.protocol)?)
    .bind(i64::from(event.port))
    .bind(event.rule.as_ref().map_or("", |rule| rule.as_str()))
    .bind(event.process.as_deref().unwrap_or(""))
    .bind(word(&event.from)?)
    .bind(bounded(event.packets))
    .bind(bounded(event.bytes))
    .bind(Timestamp::from_unix(event.first_seen).0)
    .bind(Timestamp::from_unix(event.last_seen).0)
    .execute(conn)
    .await
    .doing("store an event")?;
    Ok(())
}

/// A counter limited to what the database can store and add.
pub(crate) fn bounded(count: u64) -> i64 {
    i64::try_from(count).map_or(MOST, |count| count.min(MOST))
}

/// Up to `limit` flows, most recently seen first, after the position `(last_seen, id)`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &EventFilter,
    after: Option<(i64, i64)>,
    limit: u32,
) -> StoreResult<Vec<StoredEvent>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT e.*, a.name AS asset_name FROM firewall_event e JOIN asset a ON a.id = e.asset_id \
             WHERE 1 = 1",
        );
        if let Some(asset) = &filter.asset {
            query.push(" AND e.asset_id = ").push_bind(asset.as_str().to_owned());
        }
        if let Some((seen, id)) = after {
            query.push(" AND (e.last_seen < ").push_bind(seen);
            query.push(" OR (e.last_seen = ").push_bind(seen);
            query.push(" AND e.id < ").push_bind(id).push("))");
        }
        if let Some(kind) = &filter.kind {
            query.push(" AND e.kind = ").push_bind(word(kind)?);
        }
        if let Some(direction) = &filter.direction {
            query.push(" AND e.direction = ").push_bind(word(direction)?);
        }
        if let Some(peer) = &filter.peer {
            query.push(" AND ((e.direction = 'inbound' AND e.source = ").push_bind(peer.clone());
            query
                .push(") OR (e.direction = 'outbound' AND e.destination = ")
                .push_bind(peer.clone());
            query.push("))");
        }
        if let Some(port) = filter.port {
            query.push(" AND e.port = ").push_bind(i64::from(port));
        }
        if let Some(protocol) = &filter.protocol {
            query.push(" AND e.protocol = ").push_bind(super::to_json(protocol)?);
        }
        if let Some(rule) = &filter.rule {
            query.push(" AND e.rule = ").push_bind(rule.clone());
        }
        if let Some(since) = filter.since {
            query.push(" AND e.last_seen >= ").push_bind(since.0);
        }
        query.push(" ORDER BY e.last_seen DESC, e.id DESC");
        Ok(query)
    };
    rows::page(conn, "events", limit, query, stored).await
}

fn stored(row: &Row) -> StoreResult<StoredEvent> {
    let address = |column: &str| row.col::<&str>(column)?.parse().doing("read a stored address");
    let rule = row.filled("rule")?.map(|rule| rule.parse()).transpose();
    let port = u16::try_from(row.col::<i64>("port")?)
        .map_err(|error| StoreError::damaged("read a stored port", error))?;
    let event = FirewallEvent {
        kind: from_word::<EventKind>(row.col("kind")?)?,
        direction: from_word::<Direction>(row.col("direction")?)?,
        source: address("source")?,
        destination: address("destination")?,
        protocol: super::from_json(row.col("protocol")?)?,
        port,
        rule: rule.doing("read a stored rule")?,
        packets: row.count("packets")?,
        bytes: row.count("bytes")?,
        first_seen: row.time("first_seen")?.unix(),
        last_seen: row.time("last_seen")?.unix(),
        from: from_word::<EventSource>(row.col("read_from")?)?,
        process: row.filled("process")?,
    };
    Ok(StoredEvent {
        id: row.col("id")?,
        asset: row.col("asset_name")?,
        event,
        batches: row.count("batches")?,
    })
}
