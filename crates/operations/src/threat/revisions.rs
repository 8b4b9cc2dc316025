//! The revisions of the list: differences and rollback.

use std::sync::Arc;

use xshield_api::page::Page;
use xshield_api::threat_list::{DiffQuery, Difference, Done, EntryDifference, Revision};
use xshield_model::Timestamp;
use xshield_store::threat_lists::{self, StoredRevision};
use xshield_store::{Conn, Store, threat_assets};
use xshield_threat::ThreatSet;

use super::engine::ThreatEngine;
use super::lists::ThreatLists;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{Doing as _, OperationError, Result};
use crate::paging::{Paging, paged};

/// The number of prefixes of a difference to show.
const SAMPLES: usize = 100;

/// Revisions of the list, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(
    conn: &mut Conn,
    lists: &impl ThreatLists,
    paging: Paging<u64>,
) -> Result<Page<Revision>> {
    let found = threat_lists::revisions(conn, paging.after, paging.to_read()).await?;
    let in_force = lists.in_force().map(|list| list.revision);
    let shown = |stored: StoredRevision| Revision {
        in_force: in_force == Some(stored.revision),
        revision: stored.revision,
        digest: stored.digest.to_string(),
        entries: stored.entries,
        added: stored.added,
        removed: stored.removed,
        reason: stored.reason,
        created_at: stored.created_at,
        feeds: stored.sources.feeds.into_iter().map(|feed| feed.name.into()).collect(),
    };
    Ok(paged(found, paging.limit, |stored| stored.revision, shown))
}

async fn known(conn: &mut Conn, revision: u64) -> Result<StoredRevision> {
    let found = threat_lists::revision(conn, revision).await?;
    found.ok_or_else(|| OperationError::not_found("threat revision", revision.to_string()))
}

/// A revision, or the newest one.
pub(super) async fn known_or_newest(
    conn: &mut Conn,
    revision: Option<u64>,
) -> Result<StoredRevision> {
    match revision {
        Some(revision) => known(conn, revision).await,
        None => threat_lists::latest(conn)
            .await?
            .ok_or_else(|| OperationError::not_found("threat revision", "newest")),
    }
}

/// The addresses of a revision.
pub(super) async fn addresses(
    lists: &impl ThreatLists,
    revision: &StoredRevision,
) -> Result<Arc<ThreatSet>> {
    let found = lists.addresses(revision.digest).await?;
    found.ok_or_else(|| {
        let detail = format!(
            "the snapshot of revision {} is missing or damaged; use another revision",
            revision.revision
        );
        OperationError::conflict("revision-damaged", detail)
    })
}

/// Two compared revisions.
pub(super) struct Compared {
    /// The number of the first.
    pub(super) from: u64,
    /// The number of the other one.
    pub(super) to: u64,
    /// Prefixes only in the second.
    pub(super) added: ThreatSet,
    /// Prefixes only in the first.
    pub(super) removed: ThreatSet,
}

pub(super) async fn compared(
    store: &Store,
    lists: &impl ThreatLists,
    query: &DiffQuery,
) -> Result<Compared> {
    let from = query.from.ok_or_else(|| OperationError::invalid("?from", "name a revision"))?;
    let mut conn = store.read().await?;
    let (from, to) = (known(&mut conn, from).await?, known_or_newest(&mut conn, query.to).await?);
    drop(conn);
    let (before, after) = (addresses(lists, &from).await?, addresses(lists, &to).await?);
    let (from, to) = (from.revision, to.revision);
    let compare = move || {
        let (added, removed) = (after.difference(&before), before.difference(&after));
        Compared { from, to, added, removed }
    };
    tokio::task::spawn_blocking(compare).await.doing("compare two threat lists")
}

fn half(set: &ThreatSet) -> EntryDifference {
    let size = set.size();
    EntryDifference {
        entries: size.entries,
        v4_addresses: size.v4_addresses,
        samples: set.iter().take(SAMPLES).map(|prefix| prefix.to_string()).collect(),
    }
}

/// What was added and removed between two revisions.
///
/// # Errors
/// When a revision does not exist or is damaged, or the database fails.
pub async fn diff(
    store: &Store,
    lists: &impl ThreatLists,
    query: &DiffQuery,
) -> Result<Difference> {
    let Compared { from, to, added, removed } = compared(store, lists, query).await?;
    Ok(Difference { from, to, added: half(&added), removed: half(&removed) })
}

/// Rolls back to the listings of a revision, without the current exceptions and protected ranges. Feeds are
/// still fetched, but take effect again only after [`resume`].
///
/// # Errors
/// When there is no such revision, or the database fails.
pub async fn restore(
    store: &Store,
    engine: &(impl ThreatEngine + ThreatLists),
    by: &By<Operator>,
    revision: &str,
    now: Timestamp,
) -> Result<Done> {
    let number =
        revision.parse().map_err(|_| OperationError::not_found("threat revision", revision))?;
    pin(store, engine, by, Some(number), now).await
}

/// Lets feeds take effect again.
///
/// # Errors
/// When the database fails.
pub async fn resume(
    store: &Store,
    engine: &(impl ThreatEngine + ThreatLists),
    by: &By<Operator>,
    now: Timestamp,
) -> Result<Done> {
    pin(store, engine, by, None, now).await
}

async fn pin(
    store: &Store,
    engine: &(impl ThreatEngine + ThreatLists),
    by: &By<Operator>,
    to: Option<u64>,
    now: Timestamp,
) -> Result<Done> {
    let words = |pinned: Option<u64>| match pinned {
        Some(revision) => format!("the listings of revision {revision}"),
        None => "the feeds".to_owned(),
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    if let Some(revision) = to {
        known(&mut change, revision).await?;
    }
    let mut settings = threat_assets::settings(&mut change).await?;
    let (before, after) = (words(settings.pinned), words(to));
    settings.pinned = to;
    threat_assets::put_settings(&mut change, &settings).await?;
    let action = if to.is_some() { "threat.restore" } else { "threat.resume" };
    change.commit(AuditEntry { action, target: "threat list", before, after }).await?;
    engine.compile().await;
    let current = engine.in_force();
    Ok(Done {
        restored: to,
        revision: current.map(|list| list.revision),
        entries: current.map_or(0, |list| list.entries),
        trouble: engine.trouble(),
    })
}

#[cfg(test)]
mod tests {
    use xshield_store::commit;
    use xshield_store::threat_lists::Sources;

    use super::*;
    use crate::testing::{NOW, RecordedSignals, audited, by, store, threat_list};
    use crate::threat::export;

    /// Revisions 1 and 2, of which the second is in force, and revision 3 without a snapshot.
    async fn three_revisions(store: &Store) -> RecordedSignals {
        let lists = vec![threat_list(&["192.0.2.1"]), threat_list(&["192.0.2.2", "192.0.2.4"])];
        let mut tx = store.write().await.unwrap();
        let lost = threat_list(&["192.0.2.9"]);
        for (number, list) in (1..).zip(lists.iter().chain([&lost])) {
            let revision = StoredRevision {
                revision: number,
                digest: list.set().digest(),
                entries: list.set().len() as u64,
                added: 0,
                removed: 0,
                reason: "a feed".to_owned(),
                created_at: NOW,
                sources: Sources::default(),
            };
            threat_lists::insert_revision(&mut tx, &revision).await.unwrap();
        }
        commit(tx).await.unwrap();
        RecordedSignals::with(lists)
    }

    #[tokio::test]
    async fn two_revisions_are_compared_and_a_missing_one_is_named() {
        let (_dir, store) = store().await;
        let lists = three_revisions(&store).await;
        for (from, to, found) in [
            (Some(1), Some(2), Ok((2, 1))),
            (Some(2), Some(1), Ok((1, 2))),
            (Some(2), Some(2), Ok((0, 0))),
            (None, Some(2), Err("name a revision")),
            (Some(4), Some(2), Err("there is no threat revision \"4\"")),
            (Some(1), Some(9), Err("there is no threat revision \"9\"")),
            // The newest.
            (
                Some(1),
                None,
                Err("the snapshot of revision 3 is missing or damaged; use another revision"),
            ),
        ] {
            let query = DiffQuery { from, to };
            let compared = diff(&store, &lists, &query).await;
            let compared = compared
                .map(|found| (found.added.entries, found.removed.entries))
                .map_err(|error| error.to_string());
            assert_eq!(compared, found.map_err(str::to_owned), "{from:?} {to:?}");
        }
        let query = DiffQuery { from: Some(1), to: Some(2) };
        let text: String = export::changes(&store, &lists, &query).await.unwrap().collect();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..], ["+192.0.2.2", "+192.0.2.4", "-192.0.2.1"]);
        let mut conn = store.read().await.unwrap();
        let page = list(&mut conn, &lists, Paging::new(Some(2), None).unwrap()).await.unwrap();
        let shown: Vec<_> = page.items.iter().map(|one| (one.revision, one.in_force)).collect();
        assert_eq!((shown, page.next.is_some()), (vec![(3, false), (2, true)], true));
    }

    #[tokio::test]
    async fn restoring_and_resuming_are_audited_and_compile_the_list() {
        let (_dir, store) = store().await;
        let engine = three_revisions(&store).await;
        let by = by::<Operator>();
        for missing in ["9", "x"] {
            let refused = restore(&store, &engine, &by, missing, NOW).await.unwrap_err();
            assert_eq!(refused.to_string(), format!("there is no threat revision {missing:?}"));
        }
        assert!(engine.take().is_empty());
        let done = restore(&store, &engine, &by, "1", NOW).await.unwrap();
        assert_eq!((done.restored, done.revision, done.entries), (Some(1), Some(2), 2));
        assert_eq!(resume(&store, &engine, &by, NOW).await.unwrap().restored, None);
        assert_eq!(engine.take(), ["compile the list", "compile the list"]);
        assert_eq!(
            audited(&store).await,
            [
                "user:ann threat.restore threat list: the feeds -> the listings of revision 1",
                "user:ann threat.resume threat list: the listings of revision 1 -> the feeds",
            ]
        );
    }
}
