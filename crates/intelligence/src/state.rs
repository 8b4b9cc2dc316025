//! The shared state of threat intelligence.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use xshield_store::pending::Pending;
use xshield_store::threat_events::Intelligence;
use xshield_store::{Store, StoreResult};
use xshield_threat::{Compiler, FeedId, ThreatList, Why};

use crate::files::{FileError, Files};
use crate::in_force::{Current, InForce, Parts};
use crate::listings::Listings;
use crate::modes::ModeRules;
use crate::past::Past;
use crate::paths::Paths;
use crate::seams::ListInputs;
use crate::wake::Wake;

/// Listings of feeds, the list compiled from them, and the files for hosts.
#[derive(Debug)]
pub struct Threats {
    /// Feeds, exceptions, settings, revisions and assets.
    pub store: Store,
    pub(crate) list_inputs: Arc<dyn ListInputs>,
    in_force: InForce,
    rules: RwLock<Arc<ModeRules>>,
    /// Listings of feeds.
    pub listings: Arc<Listings>,
    /// Snapshots and deltas for hosts.
    pub files: Arc<Files>,
    /// Update paths between lists.
    pub paths: Arc<Paths>,
    /// Past revisions.
    pub past: Arc<Past>,
    /// Serializes compilations.
    pub(crate) compiling: tokio::sync::Mutex<()>,
    running: Mutex<BTreeSet<FeedId>>,
    /// Why the last compilation failed.
    trouble: Mutex<Option<String>>,
    /// Wakes the jobs.
    pub wake: Wake,
}

impl Threats {
    /// Starts without a list. Files live in `dir`.
    ///
    /// # Errors
    /// When the directories can't be created.
    pub fn open(
        dir: &Path,
        store: Store,
        list_inputs: Arc<dyn ListInputs>,
    ) -> Result<Self, FileError> {
        let list = Arc::new(Compiler::default().compile());
        let in_force = InForce::new(Current { list, revision: None, parts: Parts::default() });
        let listings = Arc::new(Listings::new(Files::open(dir.join("listings"))?));
        let files = Arc::new(Files::open(dir.join("files"))?);
        let paths = Arc::new(Paths::new(store.clone(), files.clone(), in_force.clone()));
        let past = Past::new(store.clone(), listings.clone(), paths.clone(), in_force.clone());
        Ok(Self {
            store,
            list_inputs,
            in_force,
            rules: RwLock::default(),
            listings,
            files,
            paths,
            past: Arc::new(past),
            compiling: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            trouble: Mutex::default(),
            wake: Wake::default(),
        })
    }

    /// Loads the files for hosts that the database knows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(&self) -> StoreResult<()> {
        self.paths.load().await
    }

    /// The list in force and its name.
    #[must_use]
    pub fn current(&self) -> Arc<Current> {
        self.in_force.get()
    }

    /// The list in force, with its sources.
    #[must_use]
    pub fn list(&self) -> Arc<ThreatList> {
        self.current().list.clone()
    }

    /// Whether and why `address` is currently on the list. Takes some microseconds.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Why {
        self.list().why(address)
    }

    /// What the list in force contains for an address, as stored with a match.
    #[must_use]
    pub fn intelligence(&self, address: IpAddr) -> Intelligence {
        Intelligence::from(&self.why(address))
    }

    /// The mode settings.
    #[must_use]
    pub fn rules(&self) -> Arc<ModeRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an asset's own settings to the list and modes that apply to all.
    #[must_use]
    pub fn added_to(&self, mut pending: Pending) -> Pending {
        let (list, rules) = (self.current().revision, self.rules());
        pending.threat.push_str(&format!(" {list:?} {rules:?}"));
        pending
    }

    /// An input of the list has changed: it is recompiled soon, in the background.
    pub fn changed(&self) {
        self.wake.sources.notify_one();
    }

    /// Notifies hosts of what is new for them, in the background.
    pub fn tell_hosts(&self) {
        self.wake.orders.notify_one();
    }

    /// Why the last compilation failed; the previous list stays in force.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Whether a feed is being fetched now.
    #[must_use]
    pub fn is_running(&self, feed: &FeedId) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains(feed)
    }

    /// Records that a feed is being fetched; returns whether it was not before.
    pub(crate) fn begins(&self, feed: &FeedId) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(feed.clone())
    }

    pub(crate) fn ends(&self, feed: &FeedId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(feed);
        self.wake.ended.notify_waiters();
    }

    pub(crate) fn publish(&self, current: Current) {
        self.in_force.replace(current);
    }

    pub(crate) fn set_rules(&self, rules: ModeRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
