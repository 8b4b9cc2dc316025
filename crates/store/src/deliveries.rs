//! Channels and their deliveries.

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::alert_rule::RuleState;
use xshield_model::channel::{ChannelSettings, Payload};
use xshield_model::delivery::{DeliveryKind, DeliveryState};

use super::alerts::{StoredAlert, stored_alert};
use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_json, from_word, rows, to_json, word};

/// A channel.
#[derive(Debug, Clone)]
pub struct StoredChannel {
    /// Its name.
    pub name: String,
    /// Its id, never reused: sealed secrets are bound to it.
    pub id: String,
    /// How it works, without secrets.
    pub settings: ChannelSettings,
    /// The secret, sealed.
    pub sealed_secret: Option<String>,
    /// Whether it is used.
    pub state: RuleState,
    /// The creation time.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
    /// The earliest next attempt.
    pub next_attempt: Timestamp,
    /// Failures since the last success.
    pub failures: u32,
    /// When something was last delivered.
    pub last_success: Option<Timestamp>,
    /// When an attempt last failed.
    pub last_failure: Option<Timestamp>,
    /// The receiver's last answer.
    pub last_answer: String,
}

/// A delivery.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    /// For paging.
    pub number: i64,
    /// Its id: the same at every attempt, so that receivers recognise repetitions.
    pub id: String,
    /// The channel's name.
    pub channel: String,
    /// The reason.
    pub kind: DeliveryKind,
    /// The number of alerts in it.
    pub alerts: u64,
    /// The content; `None` if it can't be read any more.
    pub payload: Option<Payload>,
    /// Its state.
    pub state: DeliveryState,
    /// The number of attempts.
    pub attempts: u64,
    /// The creation time.
    pub created_at: Timestamp,
    /// The time of the last attempt.
    pub last_attempt: Option<Timestamp>,
    /// The receiver's answer, or why it was not reached.
    pub answer: String,
}

/// All channels, by name. One that is unreadable is skipped and logged.
///
/// # Errors
/// When the database fails.
pub async fn channels(conn: &mut Conn) -> StoreResult<Vec<StoredChannel>> {
    let rows = sqlx::query("SELECT * FROM alert_channel ORDER BY name")
        .fetch_all(conn)
        .await
        .doing("read channels")?;
    Ok(rows::readable("channels", &rows, channel_of))
}

/// One channel.
///
/// # Errors
/// When the database fails.
pub async fn channel(conn: &mut Conn, name: &str) -> StoreResult<Option<StoredChannel>> {
    let row = sqlx::query("SELECT * FROM alert_channel WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await
        .doing("read a channel")?;
    row.as_ref().map(channel_of).transpose()
}

/// Creates or replaces a channel.
///
/// # Errors
/// When the database fails.
pub async fn put_channel(conn: &mut Conn, channel: &StoredChannel) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO alert_channel (name, id, settings, secret, enabled, created_at, created_by, \
         next_attempt, failures, last_answer) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, '') \
         ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, secret = excluded.secret, \
         enabled = excluded.enabled, next_attempt = 0, failures = 0",
    )
    .bind(&channel.name)
    .bind(&channel.id)
    .bind(to_json(&channel.settings)?)
    .bind(&channel.sealed_secret)
    .bind(i64::from(channel.state == RuleState::Enabled))
    .bind(channel.created_at.0)
    .bind(&channel.created_by)
    .execute(conn)
    .await
    .doing("write a channel")?;
    Ok(())
}

/// Deletes a channel and its deliveries; `false` when there is none.
///
/// # Errors
/// When the database fails.
pub async fn delete_channel(conn: &mut Conn, name: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM alert_channel WHERE name = $1")
        .bind(name)
        .execute(conn)
        .await
        .doing("delete a channel")?;
    Ok(done.rows_affected() > 0)
}

/// Queues an alert for a channel.
///
/// # Errors
/// When the database fails.
pub async fn notify(conn: &mut Conn, channel: &str, alert: i64, due: Timestamp) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO alert_notice (channel_id, alert_id, due_at) VALUES ($1, $2, $3) \
         ON CONFLICT (channel_id, alert_id) DO NOTHING",
    )
    .bind(channel)
    .bind(alert)
    .bind(due.0)
    .execute(conn)
    .await
    .doing("put an alert before a channel")?;
    Ok(())
}

/// The number of alerts that wait for a channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Due alerts.
    pub due: u64,
    /// Those of them that are sent as a digest.
    pub digests: u64,
    /// All alerts.
    pub all: u64,
}

/// The number of alerts that wait for a channel.
///
/// # Errors
/// When the database fails.
pub async fn waiting(conn: &mut Conn, channel: &str, now: Timestamp) -> StoreResult<Waiting> {
    let row = sqlx::query(concat!(
        "SELECT count(CASE WHEN n.due_at <= $2 THEN 1 END) AS due, \
         count(CASE WHEN n.due_at <= $2 AND n.due_at > a.at THEN 1 END) AS digests, \
         count(*) + (SELECT ",
        total!("d.alerts"),
        " FROM delivery d WHERE d.channel_id = $1 AND d.state = 'waiting') AS all_of_them \
         FROM alert_notice n JOIN alert a ON a.id = n.alert_id WHERE n.channel_id = $1",
    ))
    .bind(channel)
    .bind(now.0)
    .fetch_one(conn)
    .await
    .doing("count the pending alerts of a channel")?;
    Ok(Waiting {
        due: row.count("due")?,
        digests: row.count("digests")?,
        all: row.count("all_of_them")?,
    })
}

/// Removes up to `limit` due alerts of a channel from the queue and returns them, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn take_due(
    conn: &mut Conn,
    channel: &str,
    now: Timestamp,
    limit: u32,
) -> StoreResult<Vec<StoredAlert>> {
    let rows = sqlx::query(
        "SELECT a.id, a.body FROM alert_notice n JOIN alert a ON a.id = n.alert_id \
         WHERE n.channel_id = $1 AND n.due_at <= $2 ORDER BY a.id LIMIT $3",
    )
    .bind(channel)
    .bind(now.0)
    .bind(i64::from(limit))
    .fetch_all(&mut *conn)
    .await
    .doing("read the pending alerts of a channel")?;
    if let Some(row) = rows.last() {
        let last: i64 = row.col("id")?;
        sqlx::query(
            "DELETE FROM alert_notice WHERE channel_id = $1 AND due_at <= $2 AND alert_id <= $3",
        )
        .bind(channel)
        .bind(now.0)
        .bind(last)
        .execute(conn)
        .await
        .doing("remove the pending alerts of a channel")?;
    }
    Ok(rows::readable("alerts that wait", &rows, stored_alert))
}

/// A delivery to be stored.
#[derive(Debug)]
pub struct NewDelivery<'a> {
    /// Its id.
    pub id: &'a str,
    /// The channel's id.
    pub channel: &'a str,
    /// The reason.
    pub kind: DeliveryKind,
    /// The number of alerts in it.
    pub alerts: u64,
    /// The content.
    pub payload: &'a Payload,
}

/// Stores a delivery.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    conn: &mut Conn,
    new: &NewDelivery<'_>,
    state: DeliveryState,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO delivery (id, channel_id, kind, alerts, payload, state, attempts, created_at, \
         answer) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, '')",
    )
    .bind(new.id)
    .bind(new.channel)
    .bind(word(&new.kind)?)
    .bind(super::events::bounded(new.alerts))
    .bind(to_json(new.payload)?)
    .bind(word(&state)?)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("write a delivery down")?;
    Ok(())
}

const COLUMNS: &str = "SELECT d.*, c.name AS channel FROM delivery d \
     JOIN alert_channel c ON c.id = d.channel_id";

/// The oldest open delivery of a channel.
///
/// # Errors
/// When the database fails.
pub async fn next(conn: &mut Conn, channel: &str) -> StoreResult<Option<StoredDelivery>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE d.state = 'waiting' AND d.channel_id = ").push_bind(channel.to_owned());
    query.push(" ORDER BY d.number LIMIT 1");
    let row = query.build().fetch_optional(conn).await.doing("read the next delivery")?;
    row.as_ref().map(delivery_of).transpose()
}

/// One delivery.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn, id: &str) -> StoreResult<Option<StoredDelivery>> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(" WHERE d.id = ").push_bind(id.to_owned());
    let row = query.build().fetch_optional(conn).await.doing("read a delivery")?;
    row.as_ref().map(delivery_of).transpose()
}

/// Up to `limit` deliveries before the number `before`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    channel: Option<&str>,
    state: Option<DeliveryState>,
    before: Option<i64>,
    limit: u32,
) -> StoreResult<Vec<StoredDelivery>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new(COLUMNS);
        query.push(" WHERE 1 = 1");
        if let Some(before) = before {
            query.push(" AND d.number < ").push_bind(before);
        }
        if let Some(channel) = channel {
            query.push(" AND c.name = ").push_bind(channel.to_owned());
        }
        if let Some(state) = state {
            query.push(" AND d.state = ").push_bind(word(&state)?);
        }
        query.push(" ORDER BY d.number DESC");
        Ok(query)
    };
    rows::page(conn, "deliveries", limit, query, delivery_of).await
}

/// Records an attempt, before anything is sent.
///
/// # Errors
/// When the database fails.
pub async fn attempt(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<()> {
    sqlx::query("UPDATE delivery SET attempts = attempts + 1, last_attempt = $2 WHERE id = $1")
        .bind(id)
        .bind(now.0)
        .execute(conn)
        .await
        .doing("record a delivery's attempt")?;
    Ok(())
}

/// Records the result of an attempt.
///
/// # Errors
/// When the database fails.
pub async fn settle(
    conn: &mut Conn,
    id: &str,
    state: DeliveryState,
    answer: &str,
) -> StoreResult<()> {
    sqlx::query("UPDATE delivery SET state = $2, answer = $3 WHERE id = $1")
        .bind(id)
        .bind(word(&state)?)
        .bind(answer)
        .execute(conn)
        .await
        .doing("record a delivery's outcome")?;
    Ok(())
}

/// Records a success of a channel.
///
/// # Errors
/// When the database fails.
pub async fn channel_works(
    conn: &mut Conn,
    id: &str,
    answer: &str,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE alert_channel SET failures = 0, next_attempt = 0, last_success = $2, \
         last_answer = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(now.0)
    .bind(answer)
    .execute(conn)
    .await
    .doing("record that a channel works")?;
    Ok(())
}

/// Records a failure of a channel, and the time of the next attempt.
///
/// # Errors
/// When the database fails.
pub async fn channel_fails(
    conn: &mut Conn,
    id: &str,
    answer: &str,
    now: Timestamp,
    next: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE alert_channel SET failures = failures + 1, next_attempt = $3, last_failure = $2, \
         last_answer = $4 WHERE id = $1",
    )
    .bind(id)
    .bind(now.0)
    .bind(next.0)
    .bind(answer)
    .execute(conn)
    .await
    .doing("record that a channel fails")?;
    Ok(())
}

fn channel_of(row: &Row) -> StoreResult<StoredChannel> {
    let state = match row.col::<i64>("enabled")? {
        0 => RuleState::Disabled,
        _ => RuleState::Enabled,
    };
    Ok(StoredChannel {
        name: row.col("name")?,
        id: row.col("id")?,
        settings: from_json(row.col("settings")?)?,
        sealed_secret: row.col("secret")?,
        state,
        created_at: row.time("created_at")?,
        created_by: row.col("created_by")?,
        next_attempt: row.time("next_attempt")?,
        failures: u32::try_from(row.col::<i64>("failures")?).unwrap_or(u32::MAX),
        last_success: row.maybe_time("last_success")?,
        last_failure: row.maybe_time("last_failure")?,
        last_answer: row.col("last_answer")?,
    })
}

fn delivery_of(row: &Row) -> StoreResult<StoredDelivery> {
    Ok(StoredDelivery {
        number: row.col("number")?,
        id: row.col("id")?,
        channel: row.col("channel")?,
        kind: from_word(row.col("kind")?)?,
        alerts: row.count("alerts")?,
        payload: from_json(row.col("payload")?).ok(),
        state: from_word(row.col("state")?)?,
        attempts: row.count("attempts")?,
        created_at: row.time("created_at")?,
        last_attempt: row.maybe_time("last_attempt")?,
        answer: row.col("answer")?,
    })
}
