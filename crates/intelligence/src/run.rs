//! A run of a feed: read it, check the listing, store it. On any failure, the last good listing stays in
//! force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ring::rand::{SecureRandom as _, SystemRandom};
use xshield_model::Timestamp;
use xshield_model::feed::{Differs, Exchange, Failure, FeedState, Held, Source};
use xshield_model::file_name::FileName;
use xshield_model::secrets::Secrets;
use xshield_store::audit::NewAuditEntry;
use xshield_store::threat_feeds::StoredFeed;
use xshield_store::{audit, commit, threat_feeds};
use xshield_threat::FeedId;
use xshield_threat::feed::taxii::{Bookmark, Extent};
use xshield_wire::foreign::without_userinfo;

use crate::error::ThreatError;
use crate::files::FileError;
use crate::judge::{Judged, Verdict, judge, judges};
use crate::listings::Listings;
use crate::read::{Events, Read, ReadError, Visit, VisitOutcome};
use crate::state::Threats;
use xshield_http_client::fetch::Secret;
use xshield_model::causes::in_words;

/// The first delay after a failure, in seconds; doubled after each.
const FIRST_RETRY: i64 = 60;
/// The longest delay that a server may ask for, in seconds.
const LONGEST_WAIT: i64 = 24 * 3600;

/// Fetches feeds and stores their listings.
#[derive(Debug)]
pub struct Feeds {
    /// The listings, and the list compiled from them.
    pub threats: Arc<Threats>,
    /// Seals and opens the feeds' secrets.
    pub secrets: Arc<dyn Secrets>,
    /// Files in this directory are not read as feeds.
    pub data_dir: PathBuf,
}

/// A run in progress; ends when dropped.
#[derive(Debug)]
pub struct Running {
    feeds: Arc<Feeds>,
    feed: FeedId,
}

impl Feeds {
    /// Starts a run, unless one is in progress.
    #[must_use]
    pub fn begin_run(self: &Arc<Self>, feed: &FeedId) -> Option<Running> {
        let begun = self.threats.begins(feed);
        begun.then(|| Running { feeds: self.clone(), feed: feed.clone() })
    }

    /// Seals a feed's secret for the database.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    pub fn seal(&self, feed: &FeedId, secret: &str) -> Result<String, ThreatError> {
        let sealed = self.secrets.seal(&secret_name(feed), secret.as_bytes());
        sealed.map_err(|source| ThreatError::Secret { feed: feed.to_string(), source })
    }

    fn open(&self, feed: &FeedId, sealed: &str) -> Result<Secret, ThreatError> {
        let opened = self.secrets.open(&secret_name(feed), sealed);
        let bytes =
            opened.map_err(|source| ThreatError::Secret { feed: feed.to_string(), source })?;
        let text = String::from_utf8(bytes);
        text.map(Secret).map_err(|_| ThreatError::SecretNotText { feed: feed.to_string() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.feeds.threats.ends(&self.feed);
    }
}

impl Running {
    /// Runs to the end. The result is in the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish(self) -> Result<(), ThreatError> {
        let feeds = &self.feeds;
        let started = Instant::now();
        let Some(feed) =
            threat_feeds::get(&mut *feeds.threats.store.read().await?, self.feed.as_str()).await?
        else {
            return Ok(());
        };
        let now = Timestamp::now();
        if feed.settings.exchange == Exchange::Crowdsec {
            out_of_step(feeds, &feed).await?;
        }
        let visited = visit(feeds, &feed, now).await?;
        let done = match visited {
            Ok(outcome) => take(feeds, feed, outcome, now).await,
            Err(error) => fail(feeds, feed, &error, now).await,
        };
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("xshield_threat_feed_seconds").record(seconds);
        done
    }
}

/// A server that tracks what it has sent must be asked for everything again if this run's result does not
/// reach the database.
async fn out_of_step(feeds: &Feeds, feed: &StoredFeed) -> Result<(), ThreatError> {
    let mut tx = feeds.threats.store.write().await?;
    if let Some(mut stored) = threat_feeds::get(&mut tx, feed.id.as_str()).await? {
        stored.state.in_step = false;
        threat_feeds::put(&mut tx, &stored).await?;
        commit(tx).await?;
    }
    Ok(())
}

async fn visit(
    feeds: &Feeds,
    feed: &StoredFeed,
    now: Timestamp,
) -> Result<Result<VisitOutcome, ReadError>, ThreatError> {
    let secret = feed.secret.as_ref().map(|sealed| feeds.open(&feed.id, sealed)).transpose()?;
    let (settings, state) = (feed.settings.clone(), feed.state.clone());
    let (listings, data_dir) = (feeds.threats.listings.clone(), feeds.data_dir.clone());
    let base = feed.held.or(feed.listing);
    let work = move || {
        let base = base.and_then(|name| listings.load(name));
        let events = events(&listings, &state);
        Visit { settings, secret, state, base, events, data_dir, now }.read()
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// The cached events of a MISP feed; missing ones are read again. Blocks.
fn events(listings: &Listings, state: &FeedState) -> Events {
    let name = state.events.as_ref().and_then(|name| name.parse().ok());
    let bytes = name.and_then(|name| listings.files.get(name).ok().flatten());
    bytes.and_then(|bytes| Events::decode(&bytes)).unwrap_or_default()
}

/// The context of a feed's sealed secret: that of another feed does not open.
fn secret_name(feed: &FeedId) -> String {
    format!("threat feed {feed}")
}

async fn take(
    feeds: &Feeds,
    feed: StoredFeed,
    outcome: VisitOutcome,
    now: Timestamp,
) -> Result<(), ThreatError> {
    let VisitOutcome::Read(read) = outcome else {
        return store_success(feeds, feed, None, now).await;
    };
    let judges = judges(&feeds.threats, now).await?;
    let (listings, judged_feed) = (feeds.threats.listings.clone(), feed.clone());
    let work = move || {
        let judged = judge(&listings, &judged_feed, &read.listing, &judges, now)?;
        let events = read.events.as_ref().map(|events| listings.files.put(&events.encode()));
        Ok::<_, FileError>((*read, judged, events.transpose()?))
    };
    match tokio::task::spawn_blocking(work).await? {
        Ok((read, judged, events)) => {
            store_success(feeds, feed, Some((read, judged, events)), now).await
        }
        Err(error) => fail(feeds, feed, &error, now).await,
    }
}

async fn store_success(
    feeds: &Feeds,
    visited: StoredFeed,
    judged: Option<(Read, Judged, Option<FileName>)>,
    now: Timestamp,
) -> Result<(), ThreatError> {
    let mut tx = feeds.threats.store.write().await?;
    let Some(mut feed) = unchanged(&mut tx, &visited).await? else { return Ok(()) };
    feed.last_run = Some(now);
    feed.last_success = Some(now);
    feed.state.failures = 0;
    feed.state.failure = None;
    feed.next_run = now.plus(jittered(feed.settings.every.into()));
    let mut changed = false;
    if let Some((read, judged, events)) = judged {
        feed.state.read = read.read;
        feed.state.events = events.map(|name| name.to_string());
        feed.state.validators = read.validators;
        feed.state.bookmark = read.bookmark;
        feed.state.in_step = true;
        if read.extent == Extent::Whole && feed.settings.exchange == Exchange::Whole {
            feed.state.bookmark = Bookmark::default();
        }
        changed = apply(&mut feed, judged, now);
        if let Some(held) = feed.state.held.as_ref().filter(|held| held.at == now) {
            let new_entry = NewAuditEntry {
                actor: "platform",
                action: "threat.feed.hold",
                target: feed.id.as_str(),
                before: format!("{} entries", feed.state.entries),
                after: format!("{} entries wait: {}", held.entries, held.reasons.join("; ")),
            };
            audit::record(&mut tx, new_entry, now).await?;
        }
    }
    threat_feeds::put(&mut tx, &feed).await?;
    commit(tx).await?;
    metrics::counter!("xshield_threat_feed_runs_total", "outcome" => "good").increment(1);
    if changed {
        // Errors are logged already.
        drop(feeds.threats.compile().await);
    }
    Ok(())
}

/// Returns whether the listing in force has changed.
fn apply(feed: &mut StoredFeed, judged: Judged, now: Timestamp) -> bool {
    let Judged { name, entries, added, removed, verdict } = judged;
    let turned_away = feed.state.differs.take();
    match verdict {
        Verdict::Same => {
            feed.held = None;
            feed.state.held = None;
            false
        }
        Verdict::TurnedAway(reasons) => {
            feed.held = None;
            feed.state.held = None;
            let at = turned_away.map_or(now, |differs| differs.listing.at);
            let listing = Held { at, reasons, entries, added, removed };
            feed.state.differs = Some(Differs { file: name.to_string(), listing });
            false
        }
        Verdict::Pass => {
            feed.listing = Some(name);
            feed.held = None;
            let state = &mut feed.state;
            state.held = None;
            (state.entries, state.added, state.removed) = (entries, added, removed);
            state.changed_at = Some(now);
            true
        }
        Verdict::Hold(reasons) => {
            let at = feed.state.held.as_ref().map_or(now, |held| held.at);
            feed.held = Some(name);
            feed.state.held = Some(Held { at, reasons, entries, added, removed });
            false
        }
    }
}

async fn fail(
    feeds: &Feeds,
    visited: StoredFeed,
    error: &(dyn Failing + Sync),
    now: Timestamp,
) -> Result<(), ThreatError> {
    let reason = without_userinfo(&in_words(error)).into_owned();
    tracing::warn!(feed = %visited.id, reason, "could not read a threat feed; its last listing stays");
    let progress = match error.progress() {
        Some((events, fresh)) => {
            let (listings, bytes) = (feeds.threats.listings.clone(), events.encode());
            let put = tokio::task::spawn_blocking(move || listings.files.put(&bytes));
            // Without it, the next run reads these again.
            put.await?.ok().map(|name| (name, fresh))
        }
        None => None,
    };
    let mut tx = feeds.threats.store.write().await?;
    let Some(mut feed) = unchanged(&mut tx, &visited).await? else { return Ok(()) };
    let every = i64::from(feed.settings.every);
    let mut wait = FIRST_RETRY.saturating_mul(1 << feed.state.failures.min(20)).min(every.max(1));
    if let Some((name, fresh)) = progress {
        feed.state.events = Some(name.to_string());
        if fresh > 0 {
            wait = FIRST_RETRY;
        }
    }
    feed.last_run = Some(now);
    feed.state.failures = feed.state.failures.saturating_add(1);
    feed.state.failure = Some(Failure { at: now, reason, status: error.status() });
    feed.next_run = now.plus(wait_for(error.retry_after(), jittered(wait)));
    threat_feeds::put(&mut tx, &feed).await?;
    commit(tx).await?;
    metrics::counter!("xshield_threat_feed_runs_total", "outcome" => "failed").increment(1);
    Ok(())
}

/// Errors that fail a run.
trait Failing: std::error::Error {
    /// The HTTP status, if there was one.
    fn status(&self) -> Option<u16> {
        None
    }

    /// The delay in seconds that the server asks for, if any.
    fn retry_after(&self) -> Option<u64> {
        None
    }

    /// What was read nevertheless, and how many events of it in this run.
    fn progress(&self) -> Option<(&Events, usize)> {
        None
    }
}

impl Failing for ReadError {
    fn status(&self) -> Option<u16> {
        Self::status(self)
    }

    fn retry_after(&self) -> Option<u64> {
        Self::retry_after(self)
    }

    fn progress(&self) -> Option<(&Events, usize)> {
        Self::progress(self)
    }
}
impl Failing for FileError {}

/// The feed as stored now; `None` if operators deleted or changed it meanwhile, which makes the result
/// obsolete.
async fn unchanged(
    conn: &mut xshield_store::Conn,
    visited: &StoredFeed,
) -> Result<Option<StoredFeed>, ThreatError> {
    let stored = threat_feeds::get(conn, visited.id.as_str()).await?;
    let same = |stored: &StoredFeed| {
        let source = |feed: &StoredFeed| -> Source { feed.settings.source.clone() };
        stored.created_at == visited.created_at
            && source(stored) == source(visited)
            && stored.settings == visited.settings
            && stored.listing == visited.listing
            && stored.held == visited.held
    };
    Ok(stored.filter(same))
}

/// The delay after a failure: as the server asks, within limits, and not shorter than our own `pause`. Never
/// earlier, and up to a minute later: the server may have told others the same.
fn wait_for(said: Option<u64>, pause: i64) -> i64 {
    let Some(said) = said else { return pause };
    let said = i64::try_from(said).unwrap_or(i64::MAX).min(LONGEST_WAIT);
    pause.max(said.saturating_add(spread(60)))
}

/// A random number from zero to `most`.
fn spread(most: i64) -> i64 {
    let mut drawn = [0; 4];
    // Without random bytes it is not randomized.
    let drawn = SystemRandom::new().fill(&mut drawn).map_or(0, |()| u32::from_le_bytes(drawn));
    i64::from(drawn) % (most + 1)
}

/// Plus or minus up to a tenth, so that feeds and platforms are spread over time.
fn jittered(seconds: i64) -> i64 {
    (seconds - seconds / 10 + spread(seconds / 5)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_respected_within_limits() {
        for (said, pause, expected) in [
            (None, 60, 60..=60),
            (Some(0), 60, 60..=60),
            (Some(30), 600, 600..=600),
            (Some(3600), 60, 3600..=3660),
            (Some(u64::MAX), 60, LONGEST_WAIT..=LONGEST_WAIT + 60),
        ] {
            let wait = wait_for(said, pause);
            assert!(expected.contains(&wait), "{said:?} {pause}: {wait}");
        }
    }
}
