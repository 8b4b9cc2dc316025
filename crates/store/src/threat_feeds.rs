//! Threat feeds: their settings and state.

use xshield_model::Timestamp;
use xshield_model::feed::{FeedSettings, FeedState, Switch};
use xshield_model::file_name::FileName;
use xshield_threat::FeedId;

use super::rows::Columns as _;
use super::{Conn, Doing as _, Row, StoreResult, from_json, rows, to_json};

/// A feed as stored.
#[derive(Debug, Clone)]
pub struct StoredFeed {
    /// Its name.
    pub id: FeedId,
    /// Its settings.
    pub settings: FeedSettings,
    /// The header's value, sealed.
    pub secret: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
    /// When it is to run next.
    pub next_run: Timestamp,
    /// When it was last tried.
    pub last_run: Option<Timestamp>,
    /// When it last succeeded.
    pub last_success: Option<Timestamp>,
    /// The listing in force.
    pub listing: Option<FileName>,
    /// The held listing.
    pub held: Option<FileName>,
    /// Its state.
    pub state: FeedState,
}

/// All feeds, by name.
///
/// # Errors
/// When the database fails.
pub async fn all(conn: &mut Conn) -> StoreResult<Vec<StoredFeed>> {
    let rows = sqlx::query("SELECT * FROM threat_feed ORDER BY name")
        .fetch_all(conn)
        .await
        .doing("list threat feeds")?;
    rows.iter().map(stored).collect()
}

/// One feed.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, name: &str) -> StoreResult<Option<StoredFeed>> {
    let row = sqlx::query("SELECT * FROM threat_feed WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .doing("read a threat feed")?;
    row.as_ref().map(stored).transpose()
}

/// Adds a feed, or replaces one.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut Conn, feed: &StoredFeed) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO threat_feed (name, settings, secret, created_at, created_by, next_run, \
         last_run, last_success, listing, held, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, \
         secret = excluded.secret, next_run = excluded.next_run, last_run = excluded.last_run, \
         last_success = excluded.last_success, listing = excluded.listing, held = excluded.held, \
         state = excluded.state",
    )
    .bind(feed.id.as_str())
    .bind(to_json(&feed.settings)?)
    .bind(&feed.secret)
    .bind(feed.created_at.0)
    .bind(&feed.created_by)
    .bind(feed.next_run.0)
    .bind(feed.last_run.map(|at| at.0))
    .bind(feed.last_success.map(|at| at.0))
    .bind(feed.listing.map(|name| name.to_string()))
    .bind(feed.held.map(|name| name.to_string()))
    .bind(to_json(&feed.state)?)
    .execute(conn)
    .await
    .doing("store a threat feed")?;
    Ok(())
}

/// Deletes a feed.
///
/// # Errors
/// When the database fails.
pub async fn delete(conn: &mut Conn, name: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM threat_feed WHERE name = $1")
        .bind(name)
        .execute(conn)
        .await
        .doing("delete a threat feed")?;
    Ok(())
}

fn stored(row: &Row) -> StoreResult<StoredFeed> {
    let file = |column: &str| {
        let name = row.col::<Option<String>>(column)?;
        name.map(|name| name.parse()).transpose().doing("read a stored file name")
    };
    Ok(StoredFeed {
        id: row.col::<&str>("name")?.parse().doing("read a stored feed's name")?,
        settings: from_json(row.col("settings")?)?,
        secret: row.col("secret")?,
        created_at: row.time("created_at")?,
        created_by: row.col("created_by")?,
        next_run: row.time("next_run")?,
        last_run: row.maybe_time("last_run")?,
        last_success: row.maybe_time("last_success")?,
        listing: file("listing")?,
        held: file("held")?,
        state: from_json(row.col("state")?)?,
    })
}

/// The direction of flows with peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// Peers that own assets connected to.
    Called,
    /// Peers that connected to own assets.
    Callers,
}

/// The maximum number of peers read.
const MOST_PEERS: i64 = 1_000_000;

/// The peers of accepted flows seen since a time.
///
/// # Errors
/// When the database fails.
pub async fn recent_peers(
    conn: &mut Conn,
    peers: Peers,
    since: Timestamp,
) -> StoreResult<Vec<std::net::IpAddr>> {
    let query = match peers {
        Peers::Called => sqlx::query(
            "SELECT DISTINCT destination AS peer FROM firewall_event WHERE last_seen >= $1 \
             AND kind = 'accepted' AND direction = 'outbound' LIMIT $2",
        ),
        Peers::Callers => sqlx::query(
            "SELECT DISTINCT source AS peer FROM firewall_event WHERE last_seen >= $1 \
             AND kind = 'accepted' AND direction = 'inbound' LIMIT $2",
        ),
    };
    let rows =
        query.bind(since.0).bind(MOST_PEERS).fetch_all(conn).await.doing("read recent peers")?;
    let peer = |row: &Row| row.col::<&str>("peer")?.parse().doing("read a stored address");
    Ok(rows::readable("recent peers", &rows, peer))
}

impl StoredFeed {
    /// Whether its entries may be out of date: not read for twice its interval, plus at least an hour for
    /// feeds with short intervals.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let every = i64::from(self.settings.every);
        let last = self.last_success.unwrap_or(self.created_at);
        self.settings.state == Switch::On && last.plus(every.saturating_add(every.max(3600))) < now
    }
}
