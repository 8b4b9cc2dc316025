//! Stores reports in the database: within each host's rate limit, one per host at a time, in short
//! transactions that let other writers in between, and counted once even when repeated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use xshield_alerting::Wake;
use xshield_intelligence::past::Past;
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::reports::Stored;
use xshield_store::{Store, StoreResult, Tx, commit, problems, reports};
use xshield_wire::message;

use super::budget::Budgets;
use super::error::ReportError;
use super::items::Item;
use super::unpack::Received;
use super::{finish, items, unpack};
use crate::asset_locks::AssetLocks;
use crate::limits::TooMany;
use crate::settings::Settings;

/// The maximum duration of a transaction, approximately.
const SLICE: Duration = Duration::from_millis(20);
/// The number of reports of one host in progress: a cycle's, an agent's live ones, and repetitions.
const AT_ONCE: usize = 4;
/// How long a large report waits for memory.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts reports and isolates hosts from each other.
#[derive(Debug)]
pub struct Intake {
    store: Store,
    past: Arc<Past>,
    alerts: Arc<Wake>,
    keep: finish::Keep,
    /// The rate limits per host.
    pub budgets: Budgets,
    /// One report per host is stored at a time.
    turns: AssetLocks,
    places: Arc<Mutex<HashMap<AssetId, usize>>>,
    /// Memory for small reports.
    small: Arc<Semaphore>,
    /// Memory for large reports, from decompression to the last row.
    large: Arc<Semaphore>,
}

/// A host's slot among its own reports, until dropped.
#[derive(Debug)]
pub struct Place {
    asset: AssetId,
    places: Arc<Mutex<HashMap<AssetId, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = places.get_mut(&self.asset) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                places.remove(&self.asset);
            }
        }
    }
}

/// The result for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is counted.
    Counted,
    /// It was counted before.
    Known,
}

impl Intake {
    /// Stores into this database, within the limits of the settings.
    #[must_use]
    pub(crate) fn new(
        store: Store,
        past: Arc<Past>,
        alerts: Arc<Wake>,
        settings: &Settings,
    ) -> Self {
        Self {
            store,
            past,
            alerts,
            keep: finish::Keep {
                events: settings.flows_per_asset,
                paths: settings.paths_per_asset,
                threats: settings.threat_flows_per_asset,
            },
            budgets: Budgets::new(settings.report_items, settings.report_bytes),
            turns: AssetLocks::default(),
            places: Arc::default(),
            small: Arc::new(Semaphore::new(4)),
            large: Arc::new(Semaphore::new(1)),
        }
    }

    /// Admits a report of this host before it is read.
    ///
    /// # Errors
    /// When the host's rate limit is exceeded, or too many of its reports are in progress.
    pub fn admit(&self, asset: &AssetId) -> Result<Place, ReportError> {
        self.budgets.admit(asset, Instant::now()).map_err(|seconds| {
            metrics::counter!("xshield_refused_total", "reason" => "report-budget").increment(1);
            TooMany { what: "items or bytes in reports of this asset", seconds }
        })?;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.entry(asset.clone()).or_default();
        if *taken >= AT_ONCE {
            metrics::counter!("xshield_refused_total", "reason" => "reports-at-once").increment(1);
            return Err(TooMany { what: "reports of this asset at once", seconds: 1 }.into());
        }
        *taken += 1;
        Ok(Place { asset: asset.clone(), places: self.places.clone() })
    }

    /// Decompresses and parses a report off the async threads.
    ///
    /// # Errors
    /// When it is damaged or too large, or there is no memory for a large one now.
    pub async fn read(&self, body: axum::body::Bytes) -> Result<Received, ReportError> {
        let small = self.small.clone().acquire_owned().await;
        // It is never closed.
        let permit = small.map_err(|_| busy())?;
        let packed = body.clone();
        let unpacked = tokio::task::spawn_blocking(move || unpack::read(&packed, unpack::SMALL));
        match unpacked.await? {
            Ok(read) => return Ok(read.received(permit)),
            Err(unpack::Refused::Larger) => drop(permit),
            Err(unpack::Refused::Bad(error)) => return Err(error),
        }
        let large = timeout(TIMEOUT, self.large.clone().acquire_owned()).await;
        let permit = large.ok().and_then(Result::ok).ok_or_else(busy)?;
        let unpacked = tokio::task::spawn_blocking(move || unpack::read(&body, unpack::MOST));
        match unpacked.await? {
            Ok(read) => Ok(read.received(permit)),
            Err(unpack::Refused::Larger) => Err(unpack::too_large()),
            Err(unpack::Refused::Bad(error)) => Err(error),
        }
    }
}

fn busy() -> ReportError {
    metrics::counter!("xshield_refused_total", "reason" => "reports-busy").increment(1);
    ReportError::Busy
}

impl Intake {
    /// Stores a report completely, even when the sender disconnects, so that started work is not repeated.
    ///
    /// # Errors
    /// When the database fails. What was stored until then counts, and the same report continues from there.
    pub async fn take(
        self: &Arc<Self>,
        place: Place,
        received: Received,
        known: Vec<message::Problem>,
        now: Timestamp,
    ) -> Result<Taken, ReportError> {
        let intake = self.clone();
        let work = async move {
            let asset = place.asset.clone();
            let _turn = intake.turns.lock(&asset).await;
            let Received { report, cuts, bytes, _permit } = received;
            let batch = report.batch;
            let attribution = intake.past.attribution(&report).await?;
            let prepare = move || items::prepare(report, attribution, now);
            let prepared = tokio::task::spawn_blocking(prepare).await?;
            let items = u64::try_from(prepared.items.len()).unwrap_or(u64::MAX);
            intake.budgets.charge(&asset, items.max(1), bytes, Instant::now());
            let mut prepared = finish::prepare(&intake.store, &asset, prepared).await?;
            let cuts = cuts.into_iter().chain(std::mem::take(&mut prepared.rest.cuts));
            let told: Vec<_> = cuts.map(message::Problem::from).collect();
            let batch = Batch { asset: &asset, id: batch, told: &told, known: &known, now };
            Ok(intake.store(&batch, prepared).await?)
        };
        tokio::spawn(work).await?
    }

    /// Stores a report in batches; the progress is recorded with each.
    async fn store(&self, batch: &Batch<'_>, prepared: finish::Prepared) -> StoreResult<Taken> {
        let finish::Prepared { items, rest } = prepared;
        let mut rest = Some(rest);
        loop {
            let mut tx = self.store.write_later().await?;
            let done = match reports::begin(&mut tx, batch.asset, batch.id, batch.now).await? {
                Stored::Whole => return Ok(Taken::Known),
                Stored::Items(done) => done,
            };
            let left = items.get(done..).unwrap_or_default();
            let stored = slice(&mut tx, batch, left).await?;
            if stored == left.len()
                && let Some(rest) = rest.take()
            {
                finish::finish(&mut tx, batch.asset, rest, batch.now).await?;
                if !batch.told.is_empty() {
                    problems::note(&mut tx, batch.asset, batch.known, batch.told, batch.now)
                        .await?;
                }
                reports::note_stored(&mut tx, batch.asset, batch.id, Stored::Whole).await?;
                commit(tx).await?;
                finish::make_room(&self.store, self.keep, batch.asset, &items).await?;
                self.alerts.unevaluated.notify_one();
                return Ok(Taken::Counted);
            }
            let stored = Stored::Items(done.saturating_add(stored));
            reports::note_stored(&mut tx, batch.asset, batch.id, stored).await?;
            commit(tx).await?;
            self.alerts.unevaluated.notify_one();
        }
    }
}

struct Batch<'a> {
    asset: &'a AssetId,
    id: xshield_wire::Bytes<16>,
    /// What was truncated.
    told: &'a [message::Problem],
    /// The problems of the asset's last check-in.
    known: &'a [message::Problem],
    now: Timestamp,
}

/// Stores items until the time is up; returns their number.
async fn slice(tx: &mut Tx, batch: &Batch<'_>, left: &[Item]) -> StoreResult<usize> {
    let began = Instant::now();
    let mut room = items::room(tx, batch.asset, left).await?;
    let mut stored = 0;
    for item in left {
        if stored > 0 && began.elapsed() >= SLICE {
            break;
        }
        item.store(tx, batch.asset, &mut room, batch.now).await?;
        stored += 1;
    }
    items::tidy(tx, batch.asset, &left[..stored]).await?;
    Ok(stored)
}
