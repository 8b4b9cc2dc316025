//! Periodic maintenance: deleting expired data, renewing the certificate, resolving the platform's own
//! addresses.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use xshield_intelligence::tidy::tidy;
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_store::audit::Deed;
use xshield_store::{
    StoreResult, accounts, alerts, audit, commands, commit, reports, trim, uploads,
};

use crate::endpoints;
use crate::problem::{Answer, Problem};
use crate::refusal_batch::Line;
use crate::state::App;
use crate::uploads::Files;

const EVERY: Duration = Duration::from_secs(300);
const TIDY_METRICS: Duration = Duration::from_secs(5);
/// Far more than a host that has been offline for days delivers at once.
const BATCHES_PER_ASSET: i64 = 50_000;
/// Longer than any window or throttle of an alert rule, in seconds.
const QUIET: i64 = 8 * 24 * 3600;

/// Runs until the platform shuts down.
pub async fn run(app: App) {
    let mut tick = tokio::time::interval(EVERY);
    let mut tidy = tokio::time::interval(TIDY_METRICS);
    let gathering = Duration::from_millis(app.settings.gather_refusals_ms.max(1));
    let mut gathered = tokio::time::interval(gathering);
    loop {
        tokio::select! {
            _ = tick.tick() => once(&app).await,
            _ = gathered.tick() => tell_of_refusals(&app).await,
            // Between scrapes, measurements accumulate until they are sorted into their buckets.
            _ = tidy.tick() => app.metrics.run_upkeep(),
        }
    }
}

/// Writes the refusals since the last time to the audit log.
pub async fn tell_of_refusals(app: &App) {
    let lines = app.limits.refused.lock().unwrap_or_else(PoisonError::into_inner).lines();
    if lines.is_empty() {
        return;
    }
    if let Err(error) = write_down(app, lines).await {
        tracing::error!(%error, "could not write refusals to the audit log");
    }
}

async fn write_down(app: &App, lines: Vec<Line>) -> StoreResult<()> {
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    for Line { action, target, text } in lines {
        let before = String::new();
        let deed = Deed { actor: "platform", action, target: &target, before, after: text };
        audit::record(&mut tx, deed, now).await?;
    }
    commit(tx).await
}

async fn once(app: &App) {
    let now = Timestamp::now();
    if let Err(error) = forget(app, now).await {
        tracing::error!(%error, "could not delete expired records");
    }
    if let Err(error) = app.tls.renew(&app.dir, now) {
        tracing::error!(%error, "could not renew the TLS certificate");
    }
    if let Err(error) = tidy(&app.threat, now).await {
        tracing::error!(reason = in_words(&error), "could not delete old threat lists");
    }
    if let Err(error) = forget_uploads(app, now).await {
        tracing::error!(error = error.detail.as_deref(), "could not remove expired uploads");
    }
    app.limits.forget();
    app.intake.budgets.forget(Instant::now());
    let resolved = endpoints::resolved(&app.settings, app.listening).await;
    let known = app.endpoints.get();
    // A failing resolver returns fewer addresses, not different ones: keep the known ones.
    if !resolved.iter().all(|endpoint| known.contains(endpoint)) {
        app.endpoints.set(resolved);
        app.compiler.inventory_changed();
    }
}

async fn forget(app: &App, now: Timestamp) -> StoreResult<()> {
    let before = now.plus(-app.settings.keep_for);
    trim::old(&app.store, before.0).await?;
    let mut tx = app.store.write_later().await?;
    alerts::forget(&mut tx, now.plus(-QUIET)).await?;
    commit(tx).await?;
    let mut tx = app.store.write_later().await?;
    reports::trim_batches(&mut tx, BATCHES_PER_ASSET).await?;
    commands::forget(&mut tx, before).await?;
    accounts::forget_tokens(&mut tx, before).await?;
    commit(tx).await
}

/// Removes expired uploads, and files without a record, which remain when the platform stops between writing
/// the two.
async fn forget_uploads(app: &App, now: Timestamp) -> Answer<()> {
    let mut tx = app.store.write().await?;
    uploads::forget(&mut tx, now.plus(-app.settings.keep_uploads_for)).await?;
    let known = uploads::ids(&mut tx).await?;
    // Still under the write lock: an upload that starts now is not recorded yet.
    let files = Files::of(&app.dir);
    let removed = tokio::task::spawn_blocking(move || files.keep_only(&known)).await?;
    commit(tx).await?;
    removed.map_err(|error| Problem::internal(&error))
}
