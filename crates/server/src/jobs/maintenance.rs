//! Periodic maintenance: deleting expired data, renewing the certificate, resolving the platform's own
//! addresses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use xshield_intelligence::Threats;
use xshield_intelligence::tidy::tidy;
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_operations::compiler::{Endpoints, RulesetCompiler};
use xshield_operations::error::Doing as _;
use xshield_store::audit::NewAuditEntry;
use xshield_store::{
    Store, StoreResult, accounts, alerts, audit, commands, commit, reports, trim, uploads,
};

use crate::endpoints;
use crate::intake::Intake;
use crate::keys::DataDir;
use crate::limits::Limits;
use crate::refusal_batch::Line;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::uploads::Files;

const EVERY: Duration = Duration::from_secs(300);
const TIDY_METRICS: Duration = Duration::from_secs(5);
/// Far more than a host that has been offline for days delivers at once.
const BATCHES_PER_ASSET: i64 = 50_000;
/// Longer than any window or throttle of an alert rule, in seconds.
const QUIET: i64 = 8 * 24 * 3600;

/// Does what has to happen every few minutes.
pub struct Maintenance {
    /// How long things are kept, and the platform's public names.
    pub settings: Arc<Settings>,
    /// The data directory.
    pub dir: Arc<DataDir>,
    /// The certificate.
    pub tls: Arc<Tls>,
    /// Old records.
    pub store: Store,
    /// Old threat lists.
    pub threat: Arc<Threats>,
    /// Callers who are quiet, and refusals that are not in the audit log yet.
    pub limits: Arc<Limits>,
    /// Budgets of hosts that are quiet.
    pub intake: Arc<Intake>,
    /// Where hosts reach the platform.
    pub endpoints: Endpoints,
    /// No policy closes the endpoints: it is compiled again when they have changed.
    pub compiler: Arc<RulesetCompiler>,
    /// Measurements.
    pub metrics: PrometheusHandle,
    /// Where the platform listens.
    pub listening: SocketAddr,
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("listening", &self.listening).finish_non_exhaustive()
    }
}

/// Runs until the platform shuts down.
pub async fn run(maintenance: Arc<Maintenance>) {
    let mut tick = tokio::time::interval(EVERY);
    let mut tidy = tokio::time::interval(TIDY_METRICS);
    let gathering = Duration::from_millis(maintenance.settings.gather_refusals_ms.max(1));
    let mut gathered = tokio::time::interval(gathering);
    loop {
        tokio::select! {
            _ = tick.tick() => maintenance.once().await,
            _ = gathered.tick() => tell_of_refusals(&maintenance.store, &maintenance.limits).await,
            // Between scrapes, measurements accumulate until they are sorted into their buckets.
            _ = tidy.tick() => maintenance.metrics.run_upkeep(),
        }
    }
}

/// Writes the refusals since the last time to the audit log.
pub async fn tell_of_refusals(store: &Store, limits: &Limits) {
    let lines = limits.refused.lock().unwrap_or_else(PoisonError::into_inner).lines();
    if lines.is_empty() {
        return;
    }
    if let Err(error) = write_down(store, lines).await {
        tracing::error!(reason = in_words(&error), "could not write refusals to the audit log");
    }
}

async fn write_down(store: &Store, lines: Vec<Line>) -> StoreResult<()> {
    let now = Timestamp::now();
    let mut tx = store.write().await?;
    for Line { action, target, text } in lines {
        let before = String::new();
        let new_entry =
            NewAuditEntry { actor: "platform", action, target: &target, before, after: text };
        audit::record(&mut tx, new_entry, now).await?;
    }
    commit(tx).await
}

impl Maintenance {
    async fn once(&self) {
        let now = Timestamp::now();
        if let Err(error) = self.forget(now).await {
            tracing::error!(reason = in_words(&error), "could not delete expired records");
        }
        if let Err(error) = self.tls.renew(&self.dir, now) {
            tracing::error!(reason = in_words(&error), "could not renew the TLS certificate");
        }
        if let Err(error) = tidy(&self.threat, now).await {
            tracing::error!(reason = in_words(&error), "could not delete old threat lists");
        }
        if let Err(error) = self.forget_uploads(now).await {
            tracing::error!(reason = in_words(&error), "could not remove expired uploads");
        }
        self.limits.forget();
        self.intake.budgets.forget(Instant::now());
        let resolved = endpoints::resolved(&self.settings, self.listening).await;
        let known = self.endpoints.get();
        // A failing resolver returns fewer addresses, not different ones: keep the known ones.
        if !resolved.iter().all(|endpoint| known.contains(endpoint)) {
            self.endpoints.set(resolved);
            self.compiler.inventory_changed();
        }
    }

    async fn forget(&self, now: Timestamp) -> StoreResult<()> {
        let before = now.plus(-self.settings.keep_for);
        trim::old(&self.store, before.0).await?;
        let mut tx = self.store.write_later().await?;
        alerts::forget(&mut tx, now.plus(-QUIET)).await?;
        commit(tx).await?;
        let mut tx = self.store.write_later().await?;
        reports::trim_batches(&mut tx, BATCHES_PER_ASSET).await?;
        commands::forget(&mut tx, before).await?;
        accounts::forget_tokens(&mut tx, before).await?;
        commit(tx).await
    }

    /// Removes expired uploads, and files without a record, which remain when the platform stops between
    /// writing the two.
    async fn forget_uploads(&self, now: Timestamp) -> xshield_operations::Result<()> {
        const REMOVE: &str = "remove files of old uploads";
        let mut tx = self.store.write().await?;
        uploads::forget(&mut tx, now.plus(-self.settings.keep_uploads_for)).await?;
        let known = uploads::ids(&mut tx).await?;
        // Still under the write lock: an upload that starts now is not recorded yet.
        let files = Files::of(&self.dir);
        let removed = tokio::task::spawn_blocking(move || files.keep_only(&known)).await;
        let removed = removed.doing(REMOVE)?;
        commit(tx).await?;
        removed.doing(REMOVE)
    }
}
