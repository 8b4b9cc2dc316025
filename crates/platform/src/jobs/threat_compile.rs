//! The threat list is compiled again whenever something it is made of has changed.

use std::time::Duration;

use tokio::time::Instant;
use xshield_model::Timestamp;
use xshield_store::threat_lists;

use super::pace::Pace;
use crate::state::App;
use crate::threat::run::in_words;
use crate::threat::{list, orders};

/// Entries that end by themselves leave within this time.
const EXPIRIES: Duration = Duration::from_secs(600);
const RETRY: Duration = Duration::from_secs(30);

/// Compiles now. What goes wrong is in the log and in the list's state.
pub async fn now(app: &App) {
    drop(compiled(app).await);
}

/// Hosts are told what is new for them, in the background.
pub fn tell(app: &App) {
    app.threat.wake.orders.notify_one();
}

/// Tells hosts until the platform ends.
pub async fn tell_hosts(app: App) {
    loop {
        app.threat.wake.orders.notified().await;
        // The problem is in the log by now, and hosts that check in are told anyway.
        drop(orders::sign_all(&app).await);
    }
}

async fn compiled(app: &App) -> Result<(), list::ListError> {
    let done = list::compile(app).await.inspect_err(|error| {
        let reason = in_words(error);
        tracing::error!(reason, "the threat list could not be compiled; the one of before stays");
    });
    tell(app);
    done
}

/// Runs until the platform ends.
pub async fn run(app: App) {
    let least = Duration::from_millis(app.settings.gather_changes_ms);
    let mut pace = Pace::new(least);
    loop {
        tokio::select! {
            () = pace.gather(app.compiler.inventory_changes()) => {}
            () = app.threat.wake.sources.notified() => tokio::time::sleep(least).await,
            () = something_ends(&app) => {}
        }
        let begun = Instant::now();
        let done = compiled(&app).await;
        pace.worked(begun, Instant::now(), 0);
        if done.is_err() {
            tokio::time::sleep(RETRY).await;
            app.threat.changed();
        }
    }
}

/// Done when an entry or an exception has ended, but not more often than every few minutes.
async fn something_ends(app: &App) {
    loop {
        let checked = Timestamp::now();
        tokio::time::sleep(EXPIRIES).await;
        let now = Timestamp::now();
        let ended = |end: Timestamp| end > checked && end <= now;
        let list = app.threat.list();
        let entries = list.sources().feeds.iter().filter_map(|feed| feed.listing.next_expiry());
        if entries.map(Timestamp::from_unix).any(|end| end <= now) {
            return;
        }
        let Ok(mut conn) = app.store.read().await else { continue };
        let Ok(exceptions) = threat_lists::exceptions(&mut conn).await else { continue };
        if exceptions.iter().filter_map(|one| one.expires_at).any(ended) {
            return;
        }
    }
}
