//! Commands for hosts: for one asset, a list or all that match, with an outcome per asset.

use xshield_api::commands::{Command, NewCommand, Selection, TargetOutcome};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::command::{Progress, TargetState};
use xshield_policy::AssetId;
use xshield_store::commands::{self as stored, Job, Target};
use xshield_store::{Conn, Store, word};
use xshield_wire::message::CommandKind;

use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{Doing as _, OperationError, Result};
use crate::ids::new_id;
use crate::lookup;
use crate::paging::{Paging, paged};
use crate::signals::Signals;

/// The default time for hosts to receive a command, in seconds.
const EXPIRES_IN: i64 = 24 * 3600;
const LONGEST: i64 = 30 * 24 * 3600;
/// The default duration of debug logging, in seconds.
const DEBUG_FOR: u32 = 3600;
const DEBUG_LONGEST: u32 = 24 * 3600;

/// A position in the list of commands: creation time and id.
pub type Place = (i64, String);

/// A validated command.
#[derive(Debug)]
pub struct Prepared(Job);

impl Prepared {
    /// Validates a command, except whether its selection matches any asset.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn new(new: &NewCommand, by: &By<Operator>, now: Timestamp) -> Result<Self> {
        if new.kind == CommandKind::Unknown {
            let reason = "expected 'run-now', 'resend', 'diagnostics', 'debug-on' or 'debug-off'";
            return Err(OperationError::invalid("/kind", reason));
        }
        let expires_in = match new.expires_in_seconds.unwrap_or(EXPIRES_IN) {
            seconds @ 1..=LONGEST => seconds,
            seconds => {
                let reason = format!("{seconds} is not between 1 and {LONGEST}");
                return Err(OperationError::invalid("/expires_in_seconds", reason));
            }
        };
        Ok(Self(Job {
            id: new_id("cmd-").doing("make an id for a command")?,
            kind: new.kind,
            duration: duration(new.kind, new.duration_seconds)?,
            target: stored::target_text(&new.target)?,
            created_at: now,
            created_by: by.actor(),
            expires_at: now.plus(expires_in),
            cancelled_at: None,
        }))
    }
}

fn duration(kind: CommandKind, seconds: Option<u32>) -> Result<Option<u32>> {
    const FIELD: &str = "/duration_seconds";
    match (kind, seconds) {
        (CommandKind::DebugOn, None) => Ok(Some(DEBUG_FOR)),
        (CommandKind::DebugOn, Some(seconds @ 60..=DEBUG_LONGEST)) => Ok(Some(seconds)),
        (CommandKind::DebugOn, Some(seconds)) => {
            let reason = format!("{seconds} is not between 60 and {DEBUG_LONGEST}");
            Err(OperationError::invalid(FIELD, reason))
        }
        (_, None) => Ok(None),
        (_, Some(_)) => Err(OperationError::invalid(FIELD, "only 'debug-on' takes a duration")),
    }
}

/// The selection of one asset, by its name.
#[must_use]
pub fn only(name: &str) -> Selection {
    Selection { assets: Some(vec![name.to_owned()]), ..Selection::default() }
}

/// Sends a command to these assets; there must be at least one.
///
/// # Errors
/// When there are none, or the database fails.
pub async fn give(
    store: &Store,
    signals: &impl Signals,
    by: &By<Operator>,
    Prepared(job): Prepared,
    assets: &[AssetId],
) -> Result<Command> {
    if assets.is_empty() {
        let reason = "the selection matches no asset; no command was created";
        return Err(OperationError::invalid("/target", reason));
    }
    let now = job.created_at;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let given = stored::add(&mut change, &job, assets.iter()).await?;
    let id = job.id.clone();
    let after = format!("{} to {given} assets: {}", word(&job.kind)?, job.target);
    let command = shown(&mut change, job, now).await?;
    let entry = AuditEntry { action: "command.give", target: &id, before: String::new(), after };
    change.commit(entry).await?;
    assets.iter().for_each(|asset| signals.wake_host(asset));
    Ok(command)
}

/// Cancels a command for the hosts that have not received it.
///
/// # Errors
/// When there is no such command, or the database fails.
pub async fn cancel(store: &Store, by: &By<Operator>, id: &str, now: Timestamp) -> Result<Command> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    known(&mut change, id).await?;
    if stored::cancel(&mut change, id, now).await? {
        let (before, after) = (String::new(), String::new());
        change.record(AuditEntry { action: "command.cancel", target: id, before, after }).await?;
    }
    let job = known(&mut change, id).await?;
    let command = shown(&mut change, job, now).await?;
    change.commit_recorded().await?;
    Ok(command)
}

/// The stored command of this id.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn known(conn: &mut Conn, id: &str) -> Result<Job> {
    stored::job(conn, id).await?.ok_or_else(|| OperationError::not_found("command", id))
}

/// The progress of a command over all its assets.
///
/// # Errors
/// When the database fails.
pub async fn progress(conn: &mut Conn, id: &str, now: Timestamp) -> Result<Progress> {
    Ok(stored::progress(conn, id, now).await?)
}

/// The command of this id with its progress.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(conn: &mut Conn, id: &str, now: Timestamp) -> Result<Command> {
    let job = known(conn, id).await?;
    shown(conn, job, now).await
}

/// Commands, of one asset or all, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    asset: Option<&AssetId>,
    paging: Paging<Place>,
    now: Timestamp,
) -> Result<Page<Command>> {
    let found = stored::list(conn, asset, paging.after.clone(), paging.to_read()).await?;
    let place = |job: &Job| -> Place { (job.created_at.0, job.id.clone()) };
    let Page { items, next } = paged(found, paging.limit, place, |job| job);
    let mut commands = Vec::with_capacity(items.len());
    for job in items {
        commands.push(shown(conn, job, now).await?);
    }
    Ok(Page { items: commands, next })
}

async fn shown(conn: &mut Conn, job: Job, now: Timestamp) -> Result<Command> {
    let progress = progress(conn, &job.id, now).await?;
    Ok(Command {
        id: job.id,
        kind: job.kind.into(),
        duration_seconds: job.duration,
        target: serde_json::from_str(&job.target).unwrap_or_default(),
        created_at: job.created_at,
        created_by: job.created_by,
        expires_at: job.expires_at,
        cancelled_at: job.cancelled_at,
        progress,
    })
}

/// The outcome of a command at each asset, sorted by name; all, or only those in one state.
///
/// # Errors
/// When there is no such command, or the database fails.
pub async fn outcomes(
    conn: &mut Conn,
    id: &str,
    state: Option<TargetState>,
    paging: Paging<String>,
    now: Timestamp,
) -> Result<Page<TargetOutcome>> {
    known(conn, id).await?;
    let found =
        stored::targets(conn, id, state, paging.after.clone(), paging.to_read(), now).await?;
    Ok(paged(found, paging.limit, |target| target.asset.clone(), outcome))
}

/// A command at one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtAsset {
    /// The command's id.
    pub id: String,
    /// The action.
    pub kind: CommandKind,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom, as written to the audit log.
    pub created_by: String,
    /// Its state at the asset.
    pub state: TargetState,
    /// Why it failed; empty if it did not.
    pub reason: String,
}

/// Up to `limit` commands of an asset, newest first.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn at_asset(
    conn: &mut Conn,
    named: &str,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<AtAsset>> {
    let asset = lookup::asset(conn, named).await?;
    let found = stored::at_asset(conn, &asset.id, limit, now).await?;
    let shown = |(job, target): (Job, Target)| {
        let Job { id, kind, created_at, created_by, .. } = job;
        AtAsset { id, kind, created_at, created_by, state: target.state, reason: target.reason }
    };
    Ok(found.into_iter().map(shown).collect())
}

fn outcome(target: Target) -> TargetOutcome {
    TargetOutcome {
        asset: target.asset,
        state: target.state.into(),
        told_at: target.told_at,
        ended_at: target.ended_at,
        host_at: target.host_at,
        reason: Some(target.reason).filter(|reason| !reason.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, RecordedSignals, audited, by, register, store};

    fn new(kind: CommandKind, duration: Option<u32>, expires_in: Option<i64>) -> NewCommand {
        NewCommand {
            kind,
            duration_seconds: duration,
            expires_in_seconds: expires_in,
            target: Selection { all: true, ..Selection::default() },
        }
    }

    #[test]
    fn invalid_commands_are_refused_with_their_field() {
        use CommandKind::{DebugOn, RunNow, Unknown};
        for (new, field) in [
            (new(RunNow, None, None), None),
            (new(RunNow, None, Some(LONGEST)), None),
            (new(DebugOn, Some(60), None), None),
            (new(Unknown, None, None), Some("/kind")),
            (new(RunNow, Some(60), None), Some("/duration_seconds")),
            (new(DebugOn, Some(59), None), Some("/duration_seconds")),
            (new(DebugOn, Some(DEBUG_LONGEST + 1), None), Some("/duration_seconds")),
            (new(RunNow, None, Some(0)), Some("/expires_in_seconds")),
            (new(RunNow, None, Some(LONGEST + 1)), Some("/expires_in_seconds")),
        ] {
            let refused = match Prepared::new(&new, &by(), NOW) {
                Ok(_) => None,
                Err(OperationError::Invalid { field, .. }) => Some(field),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(refused.as_deref(), field, "{new:?}");
        }
        let lasting = Prepared::new(&new(DebugOn, None, None), &by(), NOW).unwrap();
        assert_eq!(lasting.0.duration, Some(DEBUG_FOR), "an hour unless said otherwise");
    }

    #[tokio::test]
    async fn a_command_is_created_audited_delivered_once_and_can_be_cancelled() {
        let (_dir, store) = store().await;
        let signals = RecordedSignals::default();
        register(&store, &[("web", "web"), ("db", "db")]).await;
        let prepared = || Prepared::new(&new(CommandKind::RunNow, None, None), &by(), NOW).unwrap();

        let nobody = give(&store, &signals, &by(), prepared(), &[]).await.unwrap_err();
        assert!(
            matches!(&nobody, OperationError::Invalid { field, .. } if field == "/target"),
            "{nobody}"
        );
        assert!(audited(&store).await.is_empty(), "nothing was created");
        assert!(signals.take().is_empty());

        let chosen: Vec<AssetId> = ["as-web", "as-db"].map(|id| id.parse().unwrap()).into();
        let given = give(&store, &signals, &by(), prepared(), &chosen).await.unwrap();
        assert_eq!((given.progress.assets, given.progress.waiting), (2, 2));
        assert_eq!(signals.take(), ["wake as-web", "wake as-db"]);

        for _ in 0..2 {
            let cancelled = cancel(&store, &by(), &given.id, NOW).await.unwrap();
            assert_eq!(cancelled.progress.cancelled, 2);
        }
        let id = &given.id;
        let expected = [
            format!("user:ann command.give {id}:  -> run-now to 2 assets: {{\"all\":true}}"),
            format!("user:ann command.cancel {id}:  -> "),
        ];
        assert_eq!(audited(&store).await, expected, "what was cancelled is not cancelled again");

        let missing = cancel(&store, &by(), "cmd-none", NOW).await.unwrap_err();
        assert_eq!(missing.to_string(), "there is no command \"cmd-none\"");
    }

    #[tokio::test]
    async fn commands_and_outcomes_come_in_pages() {
        let (_dir, store) = store().await;
        let signals = RecordedSignals::default();
        register(&store, &[("a", "web"), ("b", "web"), ("c", "web")]).await;
        let chosen: Vec<AssetId> = ["as-a", "as-b", "as-c"].map(|id| id.parse().unwrap()).into();
        let mut ids = Vec::new();
        for later in 0..3 {
            let new = new(CommandKind::Resend, None, None);
            let prepared = Prepared::new(&new, &by(), NOW.plus(later)).unwrap();
            ids.push(give(&store, &signals, &by(), prepared, &chosen).await.unwrap().id);
        }
        let mut conn = store.read().await.unwrap();
        let at_a = at_asset(&mut conn, "a", 2, NOW).await.unwrap();
        let newest: Vec<_> = at_a.iter().map(|one| (&one.id, one.state)).collect();
        assert_eq!(newest, [(&ids[2], TargetState::Waiting), (&ids[1], TargetState::Waiting)]);
        let nobody = at_asset(&mut conn, "none", 2, NOW).await.unwrap_err();
        assert_eq!(nobody.to_string(), "there is no asset \"none\"");
        let first = list(&mut conn, None, Paging::new(Some(2), None).unwrap(), NOW).await.unwrap();
        let paging = Paging::new(Some(2), first.next.as_deref()).unwrap();
        let rest = list(&mut conn, None, paging, NOW).await.unwrap();
        assert_eq!(rest.next, None);
        let found: Vec<_> =
            first.items.into_iter().chain(rest.items).map(|command| command.id).collect();
        ids.reverse();
        assert_eq!(found, ids, "the newest first");

        let state = Some(TargetState::Waiting);
        let paging = Paging::new(Some(2), None).unwrap();
        let page = outcomes(&mut conn, &ids[0], state, paging, NOW).await.unwrap();
        let names: Vec<_> = page.items.iter().map(|outcome| outcome.asset.as_str()).collect();
        assert_eq!((names.as_slice(), page.next.is_some()), (["a", "b"].as_slice(), true));
    }
}
