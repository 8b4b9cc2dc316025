//! Commands to hosts: given to many at once, told at every check-in until an outcome comes or they
//! expire. A command keeps its id, by which a host carries it out once however often it hears it.

mod at_asset;

use sqlx::{QueryBuilder, Row as _};
use xshield_policy::AssetId;
use xshield_wire::message::{Command, CommandKind, CommandOutcome, CommandResult};

use super::{Conn, Db, Doing as _, Row, StoreResult, from_word, to_json, word};
use crate::clock::Timestamp;
pub use at_asset::at_asset;

/// Told to a host at once, at most; the others follow at its next check-in.
const TOLD_AT_ONCE: i64 = 32;
/// Seconds after which a host that heard a command and never told its outcome is given up, counted
/// from the command's end.
const OUTCOME_WITHIN: i64 = 24 * 3600;
/// Hosts' reasons are cut here, in characters.
const MAX_REASON: usize = 2000;

/// How a command goes at an asset.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TargetState {
    /// The host has not asked since it was given.
    Waiting,
    /// The host was told; its outcome is not here yet.
    Told,
    /// Carried out.
    Done,
    /// Tried in vain.
    Failed,
    /// Not picked up, or not begun, in time.
    Expired,
    /// The host's program does not know it.
    Unknown,
    /// Taken back before the host was told.
    Cancelled,
}

/// A command as it was given.
#[derive(Debug, Clone)]
pub struct Job {
    /// What hosts hear as [`Command::id`].
    pub id: String,
    /// What to do.
    pub kind: CommandKind,
    /// For how long, in seconds.
    pub duration: Option<u32>,
    /// Whom it was given to, as JSON.
    pub target: String,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Hosts do not begin it later.
    pub expires_at: Timestamp,
    /// When it was taken back.
    pub cancelled_at: Option<Timestamp>,
}

/// Assets by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Progress {
    /// All.
    pub assets: u64,
    /// The host has not asked since.
    pub waiting: u64,
    /// The host was told.
    pub told: u64,
    /// Carried out.
    pub done: u64,
    /// Tried in vain.
    pub failed: u64,
    /// Too late.
    pub expired: u64,
    /// Not known to the host's program.
    pub unknown: u64,
    /// Taken back.
    pub cancelled: u64,
}

/// A command at one asset.
#[derive(Debug, Clone)]
pub struct Target {
    /// The asset's name.
    pub asset: String,
    /// How it goes.
    pub state: TargetState,
    /// When the host was first told.
    pub told_at: Option<Timestamp>,
    /// When its outcome came.
    pub ended_at: Option<Timestamp>,
    /// When it ended, by the host's clock.
    pub host_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: String,
}

/// The state as it is at a time (`$1`), whether or not maintenance has run since.
const STATE: &str = "CASE WHEN t.state = 'waiting' AND j.expires_at <= $1 THEN 'expired' \
     WHEN t.state = 'told' AND j.expires_at + $2 <= $1 THEN 'expired' ELSE t.state END";

/// Gives a command to these assets; the answer says how many of them there are.
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
        .doing("give a command to an asset")?;
        added += done.rows_affected();
    }
    Ok(added)
}

/// The commands that an asset is to hear now, oldest first; they count as told.
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
    for row in rows.iter().filter(|row| row.get::<&str, _>("state") == "waiting") {
        sqlx::query(
            "UPDATE command_target SET state = 'told', told_at = $3 \
             WHERE job_id = $1 AND asset_id = $2",
        )
        .bind(row.get::<&str, _>("id"))
        .bind(asset.as_str())
        .bind(now.0)
        .execute(&mut *conn)
        .await
        .doing("note that a command was told")?;
    }
    let command = |row: &Row| {
        Ok(Command {
            id: row.get("id"),
            kind: from_word(row.get("kind"))?,
            expires: Some(Timestamp(row.get("expires_at")).unix()),
            duration: duration(row),
        })
    };
    rows.iter().map(command).collect()
}

fn duration(row: &Row) -> Option<u32> {
    row.get::<Option<i64>, _>("duration").and_then(|seconds| u32::try_from(seconds).ok())
}

/// Keeps an outcome. The first one counts: a host carries a command out once. `false` when the asset
/// has no such command, or its outcome is known.
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

/// Programs that report no outcomes carry [`CommandKind::Resend`] out by reporting what is
/// programmed: such a report, made at `created` by the host's clock, ends what was told before.
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

/// Whether an asset was given a command of this kind that is still open.
///
/// # Errors
/// When the database fails.
pub async fn is_asked(
    conn: &mut Conn,
    asset: &AssetId,
    kind: CommandKind,
    now: Timestamp,
) -> StoreResult<bool> {
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM command_target t JOIN command_job j ON j.id = t.job_id \
         WHERE t.asset_id = $1 AND t.state IN ('waiting', 'told') AND j.kind = $2 \
         AND j.expires_at > $3 AND j.cancelled_at IS NULL",
    )
    .bind(asset.as_str())
    .bind(word(&kind)?)
    .bind(now.0)
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

/// The kind of a command that this asset was told and has not ended, if there is one of this id.
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

/// Up to `limit` commands given before `before` (a time and an id), the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    asset: Option<&AssetId>,
    before: Option<(i64, String)>,
    limit: u32,
) -> StoreResult<Vec<Job>> {
    let mut query = QueryBuilder::<Db>::new("SELECT * FROM command_job j WHERE 1 = 1");
    if let Some(asset) = asset {
        query
            .push(" AND EXISTS (SELECT 1 FROM command_target t WHERE t.job_id = j.id AND t.asset_id = ")
            .push_bind(asset.as_str().to_owned())
            .push(")");
    }
    if let Some((at, id)) = before {
        query
            .push(" AND (j.created_at < ")
            .push_bind(at)
            .push(" OR (j.created_at = ")
            .push_bind(at)
            .push(" AND j.id < ")
            .push_bind(id)
            .push("))");
    }
    query.push(" ORDER BY j.created_at DESC, j.id DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(conn).await.doing("list commands")?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> StoreResult<Job> {
    Ok(Job {
        id: row.get("id"),
        kind: from_word(row.get("kind"))?,
        duration: duration(row),
        target: row.get("target"),
        created_at: Timestamp(row.get("created_at")),
        created_by: row.get("created_by"),
        expires_at: Timestamp(row.get("expires_at")),
        cancelled_at: row.get::<Option<i64>, _>("cancelled_at").map(Timestamp),
    })
}

/// How far a command is.
///
/// # Errors
/// When the database fails.
pub async fn progress(conn: &mut Conn, id: &str, now: Timestamp) -> StoreResult<Progress> {
    let text = format!(
        "SELECT {STATE} AS now, count(*) AS assets FROM command_target t \
         JOIN command_job j ON j.id = t.job_id WHERE t.job_id = $3 GROUP BY 1"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now.0)
        .bind(OUTCOME_WITHIN)
        .bind(id)
        .fetch_all(conn)
        .await
        .doing("count a command's outcomes")?;
    let mut progress = Progress::default();
    for row in &rows {
        let assets = u64::try_from(row.get::<i64, _>("assets")).unwrap_or(0);
        progress.assets += assets;
        *match from_word(row.get("now"))? {
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
    let text = format!(
        "SELECT * FROM (SELECT a.name, {STATE} AS now, t.told_at, t.ended_at, t.host_at, t.reason \
         FROM command_target t JOIN command_job j ON j.id = t.job_id \
         JOIN asset a ON a.id = t.asset_id WHERE t.job_id = $3) AS known \
         WHERE name > $4 AND ($5 = '' OR now = $5) ORDER BY name LIMIT $6"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(now.0)
        .bind(OUTCOME_WITHIN)
        .bind(id)
        .bind(after.unwrap_or_default())
        .bind(state.as_ref().map(word).transpose()?.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .doing("list a command's outcomes")?;
    rows.iter().map(target).collect()
}

fn target(row: &Row) -> StoreResult<Target> {
    let time = |column: &str| row.get::<Option<i64>, _>(column).map(Timestamp);
    Ok(Target {
        asset: row.get("name"),
        state: from_word(row.get("now"))?,
        told_at: time("told_at"),
        ended_at: time("ended_at"),
        host_at: time("host_at"),
        reason: row.get("reason"),
    })
}

/// Takes a command back: hosts that were not told yet are not told. `false` when it was taken back
/// before.
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
    .doing("take a command back")?;
    sqlx::query(
        "UPDATE command_target SET state = 'cancelled', ended_at = $2 \
         WHERE job_id = $1 AND state = 'waiting' AND EXISTS \
         (SELECT 1 FROM command_job j WHERE j.id = $1 AND j.expires_at > $2)",
    )
    .bind(id)
    .bind(now.0)
    .execute(conn)
    .await
    .doing("take a command back")?;
    Ok(done.rows_affected() > 0)
}

/// Forgets commands that ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn forget(conn: &mut Conn, before: Timestamp) -> StoreResult<()> {
    sqlx::query("DELETE FROM command_job WHERE expires_at < $1")
        .bind(before.0)
        .execute(conn)
        .await
        .doing("forget old commands")?;
    Ok(())
}

/// A job's target as its record keeps it.
///
/// # Errors
/// When the value has no JSON.
pub fn target_text<T: serde::Serialize>(target: &T) -> StoreResult<String> {
    to_json(target)
}
