//! Commands to hosts: created for many assets at once, sent at every check-in until there is an outcome or
//! they expire. A command keeps its id, so that a host carries it out once however often it receives it.

mod at_asset;

use sqlx::QueryBuilder;
use xshield_model::Timestamp;
use xshield_model::command::{Progress, TargetState};
use xshield_policy::AssetId;
use xshield_wire::message::{Command, CommandKind, CommandOutcome, CommandResult};

use super::rows::Columns as _;
use super::{Conn, Db, Doing as _, Row, StoreResult, from_word, rows, to_json, word};
pub use at_asset::at_asset;

/// Commands sent at once, at most; the others follow at the next check-in.
const TOLD_AT_ONCE: i64 = 32;
/// Seconds after a command's expiry until a host that received it and never reported an outcome is given up.
const OUTCOME_WITHIN: i64 = 24 * 3600;
/// Hosts' reasons are truncated to this many characters.
const MAX_REASON: usize = 2000;

/// A command.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id, sent to hosts as [`Command::id`].
    pub id: String,
    /// What to do.
    pub kind: CommandKind,
    /// Its duration in seconds.
    pub duration: Option<u32>,
    /// Its target, as JSON.
    pub target: String,
    /// The creation time.
    pub created_at: Timestamp,
    /// The creator.
    pub created_by: String,
    /// Hosts do not begin it after this time.
    pub expires_at: Timestamp,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
}

/// A command at one asset.
#[derive(Debug, Clone)]
pub struct Target {
    /// The asset's name.
    pub asset: String,
    /// Its state.
    pub state: TargetState,
    /// When it was first sent to the host.
    pub told_at: Option<Timestamp>,
    /// When its outcome arrived.
    pub ended_at: Option<Timestamp>,
    /// When it ended, by the host's clock.
    pub host_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: String,
}

/// The state at a time, whether or not maintenance has run since.
fn push_state(query: &mut QueryBuilder<Db>, now: Timestamp) {
    query.push("CASE WHEN t.state = 'waiting' AND j.expires_at <= ").push_bind(now.0);
    query.push(" THEN 'expired' WHEN t.state = 'told' AND j.expires_at <= ");
    query.push_bind(now.plus(-OUTCOME_WITHIN).0).push(" THEN 'expired' ELSE t.state END");
}

/// Creates a command for these assets; returns their number.
///
/// # Errors
/// When the database fails.
pub async fn add<'a>(
    conn: &mut Conn,
    job: &Job,
    assets: impl Iterator<Item = &'a AssetId>,
) -> StoreResult<u64> {
    sqlx::query(
        "INSERT INTO command_job (id, kind, duration, target, created_at, created_by, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&job.id)
    .bind(word(&job.kind)?)
    .bind(job.duration.map(i64::from))
    .bind(&job.target)
    .bind(job.created_at.0)
    .bind(&job.created_by)
    .bind(job.expires_at.0)
    .execute(&mut *conn)
    .await
    .doing("add a command")?;
    let mut added = 0;
    for asset in assets {
        let done = sqlx::query(
            "INSERT INTO command_target (job_id, asset_id, state, reason) \
             SELECT $1, id, 'waiting', '' FROM asset WHERE id = $2 \
             ON CONFLICT (job_id, asset_id) DO NOTHING",
        )
        .bind(&job.id)
        .bind(asset.as_str())
        .execute(&mut *conn)
        .await
        .doing("send a command to an asset")?;
        added += done.rows_affected();
    }
    Ok(added)
}

/// The commands to send to an asset now, oldest first; they are recorded as sent.
///
/// # Errors
/// When the database fails.
pub async fn tell(conn: &mut Conn, asset: &AssetId, now: Timestamp) -> StoreResult<Vec<Command>> {
    let rows = sqlx::query(
        "SELECT j.id, j.kind, j.duration, j.expires_at, t.state FROM command_target t \
         JOIN command_job j ON j.id = t.job_id \
         WHERE t.asset_id = $1 AND t.state IN ('waiting', 'told') AND j.expires_at > $2 \
         AND j.cancelled_at IS NULL ORDER BY t.number LIMIT $3",
    )
    .bind(asset.as_str())
    .bind(now.0)
    .bind(TOLD_AT_ONCE)
    .fetch_all(&mut *conn)
    .await
    .doing("read commands")?;
    for row in &rows {
        if row.col::<&str>("state")? != "waiting" {
            continue;
        }
        sqlx::query(
            "UPDATE command_target SET state = 'told', told_at = $3 \
             WHERE job_id = $1 AND asset_id = $2",
        )
        .bind(row.col::<&str>("id")?)
        .bind(asset.as_str())
        .bind(now.0)
        .execute(&mut *conn)
        .await
        .doing("record that a command was delivered")?;
    }
    let command = |row: &Row| {
        Ok(Command {
            id: row.col("id")?,
            kind: from_word(row.col("kind")?)?,
            expires: Some(row.time("expires_at")?.unix()),
            duration: duration(row)?,
        })
    };
    Ok(rows::readable("commands to tell", &rows, command))
}

fn duration(row: &Row) -> StoreResult<Option<u32>> {
    Ok(row.col::<Option<i64>>("duration")?.and_then(|seconds| u32::try_from(seconds).ok()))
}

/// Stores an outcome. The first one counts: a host carries a command out once. `false` if the asset has no
/// such command, or its outcome is known.
///
/// # Errors
/// When the database fails.
pub async fn finish(
    conn: &mut Conn,
    asset: &AssetId,
    outcome: &CommandOutcome,
    now: Timestamp,
) -> StoreResult<bool> {
    let (state, reason) = match &outcome.result {
        CommandResult::Done => (TargetState::Done, ""),
        CommandResult::Failed { reason } => (TargetState::Failed, reason.as_str()),
        CommandResult::Expired => (TargetState::Expired, ""),
        CommandResult::Unknown => (TargetState::Unknown, ""),
    };
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let done = sqlx::query(
        "UPDATE command_target SET state = $3, reason = $4, ended_at = $5, host_at = $6 \
         WHERE job_id = $1 AND asset_id = $2 AND ended_at IS NULL AND told_at IS NOT NULL",
    )
    .bind(&outcome.id)
    .bind(asset.as_str())
    .bind(word(&state)?)
    .bind(reason)
    .bind(now.0)
    .bind(Timestamp::from_unix(outcome.at).min(now).0)
    .execute(conn)
    .await
    .doing("keep a command's outcome")?;
    Ok(done.rows_affected() > 0)
}

/// Programs that report no outcomes carry out [`CommandKind::Resend`] by reporting what is programmed: such a
/// report, made at `created` by the host's clock, completes commands sent before.
///
/// # Errors
/// When the database fails.
pub async fn resent(
    conn: &mut Conn,
    asset: &AssetId,
    created: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    sqlx::query(
        "UPDATE command_target SET state = 'done', ended_at = $3, host_at = $2 \
         WHERE asset_id = $1 AND state = 'told' AND told_at <= $2 \
         AND job_id IN (SELECT id FROM command_job WHERE kind = $4)",
    )
    .bind(asset.as_str())
    .bind(created.0)
    .bind(now.0)
    .bind(word(&CommandKind::Resend)?)
    .execute(conn)
    .await
    .doing("end commands")?;
    Ok(())
}

/// Whether an asset has an open command of this kind, or had any since `since`.
///
/// # Errors
/// When the database fails.
pub async fn is_asked(
    conn: &mut Conn,
    asset: &AssetId,
    kind: CommandKind,
    since: Timestamp,
    now: Timestamp,
) -> StoreResult<bool> {
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM command_target t JOIN command_job j ON j.id = t.job_id \
         WHERE t.asset_id = $1 AND j.kind = $2 AND (j.created_at > $4 OR \
         (t.state IN ('waiting', 'told') AND j.expires_at > $3 AND j.cancelled_at IS NULL))",
    )
    .bind(asset.as_str())
    .bind(word(&kind)?)
    .bind(now.0)
    .bind(since.0)
    .fetch_one(conn)
    .await
    .doing("read commands")?;
    Ok(open > 0)
}

/// The command of this id.
///
/// # Errors
/// When the database fails.
pub async fn job(conn: &mut Conn, id: &str) -> StoreResult<Option<Job>> {
    let row = sqlx::query("SELECT * FROM command_job WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await
        .doing("read a command")?;
    row.as_ref().map(stored).transpose()
}

/// The kind of the command with this id, if it was sent to this asset and is not completed.
///
/// # Errors
/// When the database fails.
pub async fn told(conn: &mut Conn, asset: &AssetId, id: &str) -> StoreResult<Option<CommandKind>> {
    let kind: Option<String> = sqlx::query_scalar(
        "SELECT j.kind FROM command_target t JOIN command_job j ON j.id = t.job_id \
         WHERE t.job_id = $1 AND t.asset_id = $2 AND t.told_at IS NOT NULL",
    )
    .bind(id)
    .bind(asset.as_str())
    .fetch_optional(conn)
    .await
    .doing("read a command")?;
    kind.as_deref().map(from_word).transpose()
}

/// Up to `limit` commands created before `before` (a time and an id), newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    asset: Option<&AssetId>,
    before: Option<(i64, String)>,
    limit: u32,
) -> StoreResult<Vec<Job>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM command_job j WHERE 1 = 1");
        if let Some(asset) = asset {
            query
                .push(" AND EXISTS (SELECT 1 FROM command_target t WHERE t.job_id = j.id")
                .push(" AND t.asset_id = ")
                .push_bind(asset.as_str().to_owned())
                .push(")");
        }
        if let Some((at, id)) = &before {
            query
                .push(" AND (j.created_at < ")
                .push_bind(*at)
                .push(" OR (j.created_at = ")
                .push_bind(*at)
                .push(" AND j.id < ")
                .push_bind(id.clone())
                .push("))");
        }
        query.push(" ORDER BY j.created_at DESC, j.id DESC");
        Ok(query)
    };
    rows::page(conn, "commands", limit, query, stored).await
}

fn stored(row: &Row) -> StoreResult<Job> {
    Ok(Job {
        id: row.col("id")?,
        kind: from_word(row.col("kind")?)?,
        duration: duration(row)?,
        target: row.col("target")?,
        created_at: row.time("created_at")?,
        created_by: row.col("created_by")?,
        expires_at: row.time("expires_at")?,
        cancelled_at: row.maybe_time("cancelled_at")?,
    })
}

/// The progress of a command.
///
/// # Errors
/// When the database fails.
pub async fn progress(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<Progress> {
    let mut query = QueryBuilder::<Db>::new("SELECT ");
    push_state(&mut query, now);
    query.push(
        " AS now, count(*) AS assets FROM command_target t \
         JOIN command_job j ON j.id = t.job_id WHERE t.job_id = ",
    );
    query.push_bind(id.to_owned()).push(" GROUP BY 1");
    let rows = query.build().fetch_all(conn).await.doing("count a command's outcomes")?;
    let counted = |row: &Row| Ok((from_word(row.col("now")?)?, row.count("assets")?));
    let mut progress = Progress::default();
    for (state, assets) in rows::readable("outcomes of a command", &rows, counted) {
        progress.assets += assets;
        *match state {
            TargetState::Waiting => &mut progress.waiting,
            TargetState::Told => &mut progress.told,
            TargetState::Done => &mut progress.done,
            TargetState::Failed => &mut progress.failed,
            TargetState::Expired => &mut progress.expired,
            TargetState::Unknown => &mut progress.unknown,
            TargetState::Cancelled => &mut progress.cancelled,
        } = assets;
    }
    Ok(progress)
}

/// Up to `limit` assets of a command after the name `after`, by name.
///
/// # Errors
/// When the database fails.
pub async fn targets(
    conn: &mut Conn,
    id: &str,
    state: Option<TargetState>,
    after: Option<String>,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<Target>> {
    let query = || {
        let mut query = QueryBuilder::<Db>::new("SELECT * FROM (SELECT a.name, ");
        push_state(&mut query, now);
        query.push(
            " AS now, t.told_at, t.ended_at, t.host_at, t.reason \
             FROM command_target t JOIN command_job j ON j.id = t.job_id \
             JOIN asset a ON a.id = t.asset_id WHERE t.job_id = ",
        );
        query.push_bind(id.to_owned()).push(") AS known WHERE name > ");
        query.push_bind(after.clone().unwrap_or_default());
        if let Some(state) = &state {
            query.push(" AND now = ").push_bind(word(state)?);
        }
        query.push(" ORDER BY name");
        Ok(query)
    };
    rows::page(conn, "outcomes of a command", limit, query, target).await
}

fn target(row: &Row) -> StoreResult<Target> {
    Ok(Target {
        asset: row.col("name")?,
        state: from_word(row.col("now")?)?,
        told_at: row.maybe_time("told_at")?,
        ended_at: row.maybe_time("ended_at")?,
        host_at: row.maybe_time("host_at")?,
        reason: row.col("reason")?,
    })
}

/// Cancels a command: it is not sent to further hosts. `false` if it was cancelled before.
///
/// # Errors
/// When the database fails.
pub async fn cancel(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<bool> {
    let done = sqlx::query(
        "UPDATE command_job SET cancelled_at = $2 WHERE id = $1 AND cancelled_at IS NULL",
    )
    .bind(id)
    .bind(now.0)
    .execute(&mut *conn)
    .await
    .doing("cancel a command")?;
    sqlx::query(
        "UPDATE command_target SET state = 'cancelled', ended_at = $2 \
         WHERE job_id = $1 AND state = 'waiting' AND EXISTS \
         (SELECT 1 FROM command_job j WHERE j.id = $1 AND j.expires_at > $2)",
    )
    .bind(id)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("cancel a command")?;
    Ok(done.rows_affected() > 0)
}

/// Deletes commands that ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, before: Timestamp) -> StoreResult<()> {
    sqlx::query("DELETE FROM command_job WHERE expires_at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .doing("delete old commands")?;
    Ok(())
}

/// A command's target as stored.
///
/// # Errors
/// When the value has no JSON.
pub fn target_text<T: serde::Serialize>(target: &T) -> StoreResult<String> {
    to_json(target)
}
