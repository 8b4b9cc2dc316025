//! Traffic with listed peers ("Malicious IP Match"), aggregated by flow.

use std::net::IpAddr;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::threat_match::{ListedBy, ReadFrom, ViaProxy};
use xshield_policy::{AssetId, Direction};
use xshield_threat::{Confidence, FeedId, Prefix};
use xshield_wire::threat::ThreatAction;

mod model;
mod queue;

pub use model::{Intelligence, Novelty, StoredThreatEvent, ThreatEvent};
pub use queue::{Loss, UnevaluatedMatch, add_lost, looked_at, losses, unevaluated};

use super::events::bounded;
use super::rows::{Columns as _, push_in};
use super::{
    Conn, Db, Doing as _, Row, StoreError, StoreResult, from_json, from_word, rows, to_json, word,
};

/// The filter.
#[derive(Debug, Default)]
pub struct ThreatFilter {
    /// Of these assets.
    pub assets: Option<Vec<AssetId>>,
    /// The peer is in this range.
    pub remote: Option<Prefix>,
    /// The feed that listed the peer.
    pub feed: Option<FeedId>,
    /// The action.
    pub action: Option<ThreatAction>,
    /// The direction.
    pub direction: Option<Direction>,
    /// Whether it came through a proxy.
    pub via: Option<ViaProxy>,
    /// The minimum confidence.
    pub least_confidence: Option<Confidence>,
    /// Last seen at this time or later.
    pub since: Option<Timestamp>,
    /// First seen at this time or earlier.
    pub until: Option<Timestamp>,
}

/// The address as sortable bytes: all of IPv4, then all of IPv6.
#[must_use]
pub fn address_key(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => [&[4][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[6][..], &address.octets()].concat(),
    }
}

/// Whether a match is queued for the alert rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertEvaluation {
    /// Yes.
    Wanted,
    /// No: too many of its host are queued already.
    LeftOut,
}

/// The number of matches of an asset that no alert rule has evaluated.
///
/// # Errors
/// When the database fails.
pub async fn unjudged(conn: &mut Conn, asset: &AssetId) -> StoreResult<i64> {
    sqlx::query_scalar("SELECT count(*) FROM threat_fresh WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_one(conn)
        .await
        .doing("count unevaluated threat events")
}

/// The listing of a peer is taken from the newer revision; from any revision while it is unknown.
macro_rules! listed {
    ($column:literal) => {
        concat!(
            $column,
            " = CASE WHEN excluded.feed_names = '' OR (threat_event.feed_names <> '' AND \
             excluded.revision < threat_event.revision) THEN threat_event.",
            $column,
            " ELSE excluded.",
            $column,
            " END"
        )
    };
}

/// Adds a match to its flow and queues it for the alert rules.
///
/// # Errors
/// When the database fails.
pub async fn add(
    conn: &mut Conn,
    asset: &AssetId,
    event: &ThreatEvent,
    evaluation: AlertEvaluation,
    now: Timestamp,
) -> StoreResult<Novelty> {
    let before = adopted(conn, asset, event).await?;
    let (process, service) = match &before {
        Some(row) => row.names(event),
        None => own_names(event),
    };
    let key = address_key(event.remote);
    let names: String =
        event.intelligence.feeds.iter().map(|of| format!(" {} ", of.feed)).collect();
    let row = sqlx::query(concat!(
        "INSERT INTO threat_event (asset_id, action, direction, remote, remote_key, local, \
         protocol, port, process, service, via, rule, policy, request, read_from, revision, feeds, \
         feed_names, entry, confidence, packets, bytes, batches, first_seen, last_seen, live_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20, $21, $22, 1, $23, $24, $25) \
         ON CONFLICT (asset_id, action, direction, remote, local, protocol, port, process, service, \
         via) DO UPDATE SET ",
        added!("threat_event", "packets"),
        ", ",
        added!("threat_event", "bytes"),
        ", batches = threat_event.batches + 1, \
         rule = excluded.rule, policy = excluded.policy, \
         read_from = CASE WHEN threat_event.read_from = 'live' THEN excluded.read_from \
             ELSE threat_event.read_from END, \
         live_at = CASE WHEN excluded.live_at > threat_event.live_at \
             THEN excluded.live_at ELSE threat_event.live_at END, \
         request = CASE WHEN excluded.request = '' THEN threat_event.request \
             ELSE excluded.request END, \
         revision = CASE WHEN excluded.revision > threat_event.revision \
             THEN excluded.revision ELSE threat_event.revision END, ",
        listed!("feeds"),
        ", ",
        listed!("entry"),
        ", ",
        listed!("confidence"),
        ", ",
        listed!("feed_names"),
        ", \
         first_seen = CASE WHEN excluded.first_seen < threat_event.first_seen \
             THEN excluded.first_seen ELSE threat_event.first_seen END, \
         last_seen = CASE WHEN excluded.last_seen > threat_event.last_seen \
             THEN excluded.last_seen ELSE threat_event.last_seen END \
         RETURNING id, batches",
    ))
    .bind(asset.as_str())
    .bind(word(&event.action)?)
    .bind(word(&event.direction)?)
    .bind(event.remote.to_string())
    .bind(key.clone())
    .bind(event.local.map(|local| local.to_string()).unwrap_or_default())
    .bind(to_json(&event.protocol)?)
    .bind(i64::from(event.port))
    .bind(process)
    .bind(service)
    .bind(event.via.map(|via| via.to_string()).unwrap_or_default())
    .bind(event.rule.as_deref().unwrap_or(""))
    .bind(event.policy.as_ref().map(word).transpose()?.unwrap_or_default())
    .bind(event.request.as_deref().unwrap_or(""))
    .bind(word(&event.read_from)?)
    .bind(bounded(event.revision))
    .bind(to_json(&event.intelligence.feeds)?)
    .bind(names)
    .bind(event.intelligence.entry.map(|entry| entry.to_string()).unwrap_or_default())
    .bind(i64::from(event.intelligence.confidence.unwrap_or_default().percent()))
    .bind(bounded(event.packets))
    .bind(bounded(event.bytes))
    .bind(event.first_seen.0)
    .bind(event.last_seen.0)
    .bind(if is_live(event) { event.last_seen.0 } else { 0 })
    .fetch_one(&mut *conn)
    .await
    .doing("store a threat event")?;
    let id: i64 = row.col("id")?;
    let novelty = match row.col::<i64>("batches")? {
        1 => novelty(conn, id, asset, key).await?,
        _ if before.is_some_and(|row| row.was_told(event)) => Novelty::Told,
        _ => Novelty::Known,
    };
    if evaluation == AlertEvaluation::LeftOut {
        return Ok(novelty);
    }
    sqlx::query(
        "INSERT INTO threat_fresh (event_id, novelty, packets, at, asset_id) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(word(&novelty)?)
    .bind(bounded(event.packets))
    .bind(now.0)
    .bind(asset.as_str())
    .execute(conn)
    .await
    .doing("put a threat event before the alert rules")?;
    Ok(novelty)
}

/// A live report of a flow within this many seconds after the previous one concerns the same traffic.
const GOES_ON: i64 = 300;
/// An agent's counts are reported at most this many seconds after they were read.
const TOLD_LATE: i64 = 60;

fn is_live(event: &ThreatEvent) -> bool {
    event.read_from == ReadFrom::Live
}

fn own_names(event: &ThreatEvent) -> (String, String) {
    (event.process.clone().unwrap_or_default(), event.service.clone().unwrap_or_default())
}

/// A stored flow that an agent reports twice: live and counted. Only one of the two reports may name the
/// program.
struct Adopted {
    process: String,
    service: String,
    live_at: i64,
}

impl Adopted {
    fn names(&self, event: &ThreatEvent) -> (String, String) {
        let (process, service) = own_names(event);
        let known = if self.process.is_empty() { process } else { self.process.clone() };
        let serves = if self.service.is_empty() { service } else { self.service.clone() };
        (known, serves)
    }

    /// Whether the agent has reported this traffic live.
    fn was_told(&self, event: &ThreatEvent) -> bool {
        let Timestamp(from) = event.first_seen;
        let Timestamp(until) = event.last_seen;
        match event.read_from {
            ReadFrom::Live => until.saturating_sub(self.live_at) <= GOES_ON,
            _ => self.live_at >= from && self.live_at <= until.saturating_add(TOLD_LATE),
        }
    }
}

/// The stored flow of the same traffic as `event` with other program names; missing names are filled in. Only
/// if one of the two was reported live.
async fn adopted(
    conn: &mut Conn,
    asset: &AssetId,
    event: &ThreatEvent,
) -> StoreResult<Option<Adopted>> {
    if event.via.is_some() {
        return Ok(None);
    }
    let (process, service) = own_names(event);
    let row = sqlx::query(
        "SELECT id, process, service, live_at FROM threat_event WHERE asset_id = $1 \
         AND action = $2 AND direction = $3 AND remote = $4 AND local = $5 AND protocol = $6 \
         AND port = $7 AND via = '' AND (process = $8 OR process = '' OR $8 = '') \
         AND (live_at > 0 OR $9 = 1) \
         ORDER BY CASE WHEN process = $8 AND service = $10 THEN 0 ELSE 1 END, last_seen DESC LIMIT 1",
    )
    .bind(asset.as_str())
    .bind(word(&event.action)?)
    .bind(word(&event.direction)?)
    .bind(event.remote.to_string())
    .bind(event.local.map(|local| local.to_string()).unwrap_or_default())
    .bind(to_json(&event.protocol)?)
    .bind(i64::from(event.port))
    .bind(&process)
    .bind(i64::from(is_live(event)))
    .bind(&service)
    .fetch_optional(&mut *conn)
    .await
    .doing("find an earlier threat event")?;
    let Some(row) = row else { return Ok(None) };
    let found = Adopted {
        process: row.col("process")?,
        service: row.col("service")?,
        live_at: row.col("live_at")?,
    };
    let (process, service) = found.names(event);
    if (&process, &service) != (&found.process, &found.service) {
        // A row with the same names would have been found first.
        sqlx::query("UPDATE threat_event SET process = $1, service = $2 WHERE id = $3")
            .bind(&process)
            .bind(&service)
            .bind(row.col::<i64>("id")?)
            .execute(conn)
            .await
            .doing("name the program of a threat event")?;
    }
    Ok(Some(found))
}

/// Whether the asset, or any other, has another flow with this peer.
async fn novelty(conn: &mut Conn, id: i64, asset: &AssetId, key: Vec<u8>) -> StoreResult<Novelty> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM threat_event WHERE remote_key = $1 AND id <> $2) AS any_met, \
         EXISTS (SELECT 1 FROM threat_event WHERE remote_key = $1 AND asset_id = $3 AND id <> $2) \
         AS asset_met",
    )
    .bind(key)
    .bind(id)
    .bind(asset.as_str())
    .fetch_one(conn)
    .await
    .doing("find an address among threat events")?;
    Ok(match (row.col::<bool>("any_met")?, row.col::<bool>("asset_met")?) {
        (_, true) => Novelty::Known,
        (true, false) => Novelty::NewForAsset,
        (false, false) => Novelty::NewForPlatform,
    })
}

/// Up to `limit` flows, most recently seen first, after the position `(last_seen, id)`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    filter: &ThreatFilter,
    after: Option<(i64, i64)>,
    limit: u32,
) -> StoreResult<Vec<StoredThreatEvent>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT e.*, a.name AS asset_name FROM threat_event e \
             JOIN asset a ON a.id = e.asset_id WHERE 1 = 1",
        );
        if let Some((seen, id)) = after {
            query.push(" AND (e.last_seen < ").push_bind(seen);
            query.push(" OR (e.last_seen = ").push_bind(seen);
            query.push(" AND e.id < ").push_bind(id).push("))");
        }
        narrow(&mut query, filter)?;
        query.push(" ORDER BY e.last_seen DESC, e.id DESC");
        Ok(query)
    };
    rows::page(conn, "threat events", limit, query, stored).await
}

fn narrow(query: &mut QueryBuilder<Db>, filter: &ThreatFilter) -> StoreResult<()> {
    if let Some(assets) = &filter.assets {
        query.push(" AND e.asset_id");
        push_in(query, assets.iter());
    }
    if let Some(range) = filter.remote {
        query.push(" AND e.remote_key >= ").push_bind(address_key(range.first()));
        query.push(" AND e.remote_key <= ").push_bind(address_key(range.last()));
    }
    if let Some(feed) = &filter.feed {
        let part = super::contains(&format!(" {feed} "));
        query.push(" AND e.feed_names LIKE ").push_bind(part).push(" ESCAPE '\\'");
    }
    if let Some(action) = &filter.action {
        query.push(" AND e.action = ").push_bind(word(action)?);
    }
    if let Some(direction) = &filter.direction {
        query.push(" AND e.direction = ").push_bind(word(direction)?);
    }
    match filter.via {
        Some(ViaProxy::Only) => {
            query.push(" AND e.via <> ''");
        }
        Some(ViaProxy::Never) => {
            query.push(" AND e.via = ''");
        }
        None => {}
    }
    if let Some(least) = filter.least_confidence {
        query.push(" AND e.confidence >= ").push_bind(i64::from(least.percent()));
    }
    if let Some(since) = filter.since {
        query.push(" AND e.last_seen >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND e.first_seen <= ").push_bind(until.0);
    }
    Ok(())
}

/// An asset's flows with one address, summed up.
#[derive(Debug, Clone)]
pub struct PeerSummary {
    /// The asset's name.
    pub asset: String,
    /// The number of flows.
    pub flows: u64,
    /// Their packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were dropped.
    pub blocked: u64,
    /// First seen.
    pub first_seen: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
}

/// Up to `limit` assets that communicated with an address, the most recent first.
///
/// # Errors
/// When the database fails.
pub async fn who_met(
    conn: &mut Conn,
    address: IpAddr,
    limit: u32,
) -> StoreResult<Vec<PeerSummary>> {
    let rows = sqlx::query(concat!(
        "SELECT a.name AS asset, count(*) AS flows, ",
        total!("e.packets"),
        " AS packets, ",
        total!("e.bytes"),
        " AS bytes, ",
        total!("CASE WHEN e.action = 'blocked' THEN e.packets ELSE 0 END"),
        " AS blocked, min(e.first_seen) AS first_seen, max(e.last_seen) AS last_seen \
             FROM threat_event e JOIN asset a ON a.id = e.asset_id WHERE e.remote_key = $1 \
             GROUP BY a.name ORDER BY max(e.last_seen) DESC, a.name LIMIT $2",
    ))
    .bind(address_key(address))
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    .doing("look up the assets that communicated with an address")?;
    let meeting = |row: &Row| {
        Ok(PeerSummary {
            asset: row.col("asset")?,
            flows: row.count("flows")?,
            packets: row.count("packets")?,
            bytes: row.count("bytes")?,
            blocked: row.count("blocked")?,
            first_seen: row.time("first_seen")?,
            last_seen: row.time("last_seen")?,
        })
    };
    Ok(rows::readable("who met an address", &rows, meeting))
}

/// The number of stored flows of an asset.
///
/// # Errors
/// When the database fails.
pub async fn count(conn: &mut Conn, asset: &AssetId) -> StoreResult<i64> {
    sqlx::query_scalar("SELECT count(*) FROM threat_event WHERE asset_id = $1")
        .bind(asset.as_str())
        .fetch_one(conn)
        .await
        .doing("count threat events")
}

/// Deletes the flows of an asset that were seen longest ago, except `keep`; not those that no alert rule has
/// evaluated.
///
/// # Errors
/// When the database fails.
pub async fn trim(conn: &mut Conn, asset: &AssetId, keep: i64) -> StoreResult<u64> {
    let done = sqlx::query(
        "DELETE FROM threat_event WHERE id IN (SELECT id FROM threat_event \
         WHERE asset_id = $1 ORDER BY last_seen DESC, id DESC LIMIT 1000000000 OFFSET $2) \
         AND NOT EXISTS (SELECT 1 FROM threat_fresh f WHERE f.event_id = threat_event.id)",
    )
    .bind(asset.as_str())
    .bind(keep)
    .execute(conn)
    .await
    .doing("delete old threat events")?;
    Ok(done.rows_affected())
}

fn stored(row: &Row) -> StoreResult<StoredThreatEvent> {
    let text = |column: &str| row.filled(column);
    let address = |column: &str| {
        let address = text(column)?.map(|text| text.parse::<IpAddr>());
        address.transpose().doing("read a stored address")
    };
    let port = u16::try_from(row.col::<i64>("port")?)
        .map_err(|error| StoreError::damaged("read a stored port", error))?;
    let remote = address("remote")?
        .ok_or_else(|| StoreError::damaged("read a stored address", "it is empty"))?;
    let entry = text("entry")?.map(|text| text.parse::<Prefix>()).transpose();
    let feeds: Vec<ListedBy> = from_json(row.col("feeds")?)?;
    let confidence = u8::try_from(row.col::<i64>("confidence")?).ok().and_then(Confidence::new);
    let intelligence = Intelligence {
        entry: entry.doing("read a stored entry")?,
        confidence: confidence.filter(|_| !feeds.is_empty()),
        feeds,
    };
    let event = ThreatEvent {
        action: from_word(row.col("action")?)?,
        direction: from_word(row.col("direction")?)?,
        remote,
        local: address("local")?,
        protocol: from_json(row.col("protocol")?)?,
        port,
        process: text("process")?,
        service: text("service")?,
        via: address("via")?,
        rule: text("rule")?,
        policy: text("policy")?.map(|policy| from_word(&policy)).transpose()?,
        request: text("request")?,
        read_from: from_word(row.col("read_from")?)?,
        revision: row.count("revision")?,
        intelligence,
        packets: row.count("packets")?,
        bytes: row.count("bytes")?,
        first_seen: row.time("first_seen")?,
        last_seen: row.time("last_seen")?,
    };
    Ok(StoredThreatEvent {
        id: row.col("id")?,
        asset_id: row.col::<&str>("asset_id")?.parse().doing("read a stored asset's id")?,
        asset: row.col("asset_name")?,
        event,
        batches: row.count("batches")?,
    })
}
