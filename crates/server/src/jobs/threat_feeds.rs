//! Runs feeds when they are due: the next times are stored, so that a restart neither skips nor hastens any.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use xshield_model::Timestamp;
use xshield_model::feed::Switch;
use xshield_store::{StoreResult, threat_feeds};

use xshield_intelligence::run::Feeds;
use xshield_model::causes::in_words;

/// The number of concurrent runs.
const AT_ONCE: usize = 3;
/// The maximum number of seconds between two checks of the clock: it may be set.
const LOOK: i64 = 30;

/// Runs until the platform shuts down.
pub async fn run(feeds: Arc<Feeds>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let wait = match start_due(&feeds, &places).await {
            Ok(seconds) => seconds,
            Err(error) => {
                tracing::error!(%error, "could not read the threat feeds");
                LOOK
            }
        };
        let wait = Duration::from_secs(wait.clamp(1, LOOK).unsigned_abs());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = feeds.threats.wake.schedule.notified() => {}
        }
    }
}

/// Starts feeds that are due and returns the seconds until the next one.
async fn start_due(feeds: &Arc<Feeds>, places: &Arc<Semaphore>) -> StoreResult<i64> {
    let now = Timestamp::now();
    let known = threat_feeds::all(&mut *feeds.threats.store.read().await?).await?;
    let mut wait = LOOK;
    for feed in known.iter().filter(|feed| feed.settings.state == Switch::On) {
        if feed.next_run > now {
            wait = wait.min(feed.next_run.0 - now.0);
        } else if let Some(running) = feeds.begin_run(&feed.id) {
            let places = places.clone();
            tokio::spawn(async move {
                let _place = places.acquire_owned().await;
                if let Err(error) = running.finish().await {
                    tracing::error!(reason = in_words(&error), "could not run a threat feed");
                }
            });
        }
    }
    Ok(wait)
}
