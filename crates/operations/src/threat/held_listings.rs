//! Decisions on held listings, which differ so much that an operator has to review them.

use xshield_api::threat_feeds::Feed;
use xshield_model::Timestamp;
use xshield_model::feed::{Differs, Held};
use xshield_model::file_name::FileName;
use xshield_store::Store;
use xshield_store::threat_feeds::{self as stored, StoredFeed};

use super::engine::ThreatEngine;
use super::feeds::{entry, known, shown};
use crate::caller::{By, Operator};
use crate::change::AuditedChange;
use crate::error::{OperationError, Result};

/// Accepts the held listing, or the rejected one that the source still delivers.
///
/// # Errors
/// When there is no such feed or listing, or the database fails.
pub async fn approve(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    name: &str,
    now: Timestamp,
) -> Result<Feed> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let mut feed = known(&mut change, name).await?;
    let (file, held) = match waiting(&mut feed) {
        Ok(waiting) => waiting,
        Err(nothing) => turned_away(&mut feed).ok_or(nothing)?,
    };
    let before = format!("{} entries", feed.state.entries);
    let after = format!("{} entries: {}", held.entries, held.reasons.join("; "));
    feed.listing = Some(file);
    feed.state.entries = held.entries;
    feed.state.added = held.added;
    feed.state.removed = held.removed;
    feed.state.changed_at = Some(now);
    feed.state.turned_away = None;
    feed.state.differs = None;
    stored::put(&mut change, &feed).await?;
    change.commit(entry("threat.feed.approve", &feed, before, after)).await?;
    engine.compile().await;
    Ok(shown(engine, feed, now))
}

/// Rejects the held listing; the one in force is kept, also when the feed delivers the same again.
///
/// # Errors
/// When there is no such feed, nothing is held, another listing is held by now, or the database fails.
pub async fn reject(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    name: &str,
    now: Timestamp,
) -> Result<Feed> {
    let waits = known(&mut *store.read().await?, name).await?.held;
    let content = match waits {
        Some(file) => engine.content_name(file).await?,
        None => None,
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    let mut feed = known(&mut change, name).await?;
    if feed.held != waits {
        let detail = "the feed ran meanwhile, and another listing is held now; review it again";
        return Err(OperationError::conflict("listing-changed", detail));
    }
    let (file, held) = waiting(&mut feed)?;
    feed.state.turned_away = content;
    let listing = Held { at: now, ..held.clone() };
    feed.state.differs = Some(Differs { file: file.to_string(), listing });
    // Changes that it sends from here on would refer to the rejected listing.
    feed.state.in_step = false;
    feed.state.bookmark = Default::default();
    stored::put(&mut change, &feed).await?;
    let before = format!("{} entries: {}", held.entries, held.reasons.join("; "));
    change.commit(entry("threat.feed.reject", &feed, before, String::new())).await?;
    Ok(shown(engine, feed, now))
}

/// Removes the rejected listing from the feed's state.
fn turned_away(feed: &mut StoredFeed) -> Option<(FileName, Held)> {
    let Differs { file, listing } = feed.state.differs.take()?;
    Some((file.parse().ok()?, listing))
}

/// Removes the held listing from the feed's state.
fn waiting(feed: &mut StoredFeed) -> Result<(FileName, Held)> {
    match (feed.held.take(), feed.state.held.take()) {
        (Some(file), Some(held)) => Ok((file, held)),
        _ => {
            let detail = format!("no listing of feed {} is held for a decision", feed.id);
            Err(OperationError::conflict("nothing-held", detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use xshield_model::feed::FeedState;
    use xshield_store::commit;

    use super::*;
    use crate::testing::{NOW, RecordedSignals, audited, by, feed_settings, store};

    async fn feed_that_waits(store: &Store) {
        let held = Held {
            at: NOW,
            reasons: vec!["too much".to_owned()],
            entries: 9,
            added: 8,
            removed: 0,
        };
        let feed = StoredFeed {
            id: "drop".parse().unwrap(),
            settings: feed_settings(),
            secret: None,
            created_at: NOW,
            created_by: "user:ann".to_owned(),
            next_run: NOW,
            last_run: None,
            last_success: None,
            listing: None,
            held: Some(FileName::of(b"waits")),
            state: FeedState { held: Some(held), ..FeedState::default() },
        };
        let mut tx = store.write().await.unwrap();
        stored::put(&mut tx, &feed).await.unwrap();
        commit(tx).await.unwrap();
    }

    #[tokio::test]
    async fn a_rejected_listing_can_be_approved_once() {
        let (_dir, store) = store().await;
        let (engine, by) = (RecordedSignals::default(), by::<Operator>());
        feed_that_waits(&store).await;
        let rejected = reject(&store, &engine, &by, "drop", NOW).await.unwrap();
        assert_eq!((rejected.held.is_some(), rejected.differs.is_some()), (false, true));
        let turned_away = stored::get(&mut store.read().await.unwrap(), "drop").await.unwrap();
        let name = FileName::of(b"waits").to_string();
        assert_eq!(turned_away.unwrap().state.turned_away, Some(format!("content of {name}")));
        assert!(engine.take().is_empty(), "the list in force stays");
        let again = reject(&store, &engine, &by, "drop", NOW).await.unwrap_err();
        assert!(matches!(again, OperationError::Conflict { code: "nothing-held", .. }), "{again}");
        let approved = approve(&store, &engine, &by, "drop", NOW).await.unwrap();
        assert_eq!((approved.entries, approved.differs.is_some()), (9, false));
        assert_eq!(engine.take(), ["compile the list"]);
        let nothing = approve(&store, &engine, &by, "drop", NOW).await.unwrap_err();
        assert!(
            matches!(nothing, OperationError::Conflict { code: "nothing-held", .. }),
            "{nothing}"
        );
        assert_eq!(
            audited(&store).await,
            [
                "user:ann threat.feed.reject drop: 9 entries: too much -> ",
                "user:ann threat.feed.approve drop: 0 entries -> 9 entries: too much",
            ]
        );
    }
}
