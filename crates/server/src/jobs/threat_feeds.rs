//! Feeds run when they are due: their next times are stored, so that a restart neither skips nor
//! hurries any.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use xshield_model::Timestamp;
use xshield_model::feed::Switch;
use xshield_store::{StoreResult, threat_feeds};

use xshield_intelligence::run::Feeds;
use xshield_model::causes::in_words;

/// Feeds that are read at a time.
const AT_ONCE: usize = 3;
/// The clock is looked at at least so often, in seconds: it may be set.
const LOOK: i64 = 30;

/// Runs until the platform ends.
pub async fn run(feeds: Arc<Feeds>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let wait = match start_due(&feeds, &places).await {
            Ok(seconds) => seconds,
            Err(error) => {
                tracing::error!(%error, "threat feeds could not be looked at");
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

/// Starts what is due and says in how many seconds something else is.
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
                    tracing::error!(reason = in_words(&error), "a threat feed could not be run");
                }
            });
        }
    }
    Ok(wait)
}
