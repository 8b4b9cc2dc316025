//! What is known about threats by now.

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
use crate::seams::Surroundings;
use crate::wake::Wake;

/// Listings of feeds, the list that is made of them, and the files by which hosts get it.
#[derive(Debug)]
pub struct Threats {
    /// Feeds, exceptions, settings, revisions and assets.
    pub store: Store,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    in_force: InForce,
    rules: RwLock<Arc<ModeRules>>,
    /// Listings of feeds.
    pub listings: Arc<Listings>,
    /// Snapshots and deltas for hosts.
    pub files: Arc<Files>,
    /// How hosts get from list to list.
    pub paths: Arc<Paths>,
    /// What past lists said.
    pub past: Arc<Past>,
    /// One compilation at a time.
    pub(crate) compiling: tokio::sync::Mutex<()>,
    running: Mutex<BTreeSet<FeedId>>,
    /// Why the last compilation failed.
    trouble: Mutex<Option<String>>,
    /// Wakes the jobs.
    pub wake: Wake,
}

impl Threats {
    /// Without a list yet, and with the files for hosts that the database knows. Files live in `dir`.
    ///
    /// # Errors
    /// When the directories can't be made.
    pub fn open(
        dir: &Path,
        store: Store,
        surroundings: Arc<dyn Surroundings>,
    ) -> Result<Self, FileError> {
        let list = Arc::new(Compiler::default().compile());
        let in_force = InForce::new(Current { list, revision: None, parts: Parts::default() });
        let listings = Arc::new(Listings::new(Files::open(dir.join("listings"))?));
        let files = Arc::new(Files::open(dir.join("files"))?);
        let paths = Arc::new(Paths::new(store.clone(), files.clone(), in_force.clone()));
        let past = Past::new(store.clone(), listings.clone(), paths.clone(), in_force.clone());
        Ok(Self {
            store,
            surroundings,
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

    /// Takes up the files for hosts that the database knows.
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

    /// The list in force, with everything that it came from.
    #[must_use]
    pub fn list(&self) -> Arc<ThreatList> {
        self.current().list.clone()
    }

    /// Whether and why `address` is on the list, by now. Takes some microseconds.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Why {
        self.list().why(address)
    }

    /// What the list in force says of an address, as it is stored with a match.
    #[must_use]
    pub fn intelligence(&self, address: IpAddr) -> Intelligence {
        Intelligence::from(&self.why(address))
    }

    /// What holds for whom.
    #[must_use]
    pub fn rules(&self) -> Arc<ModeRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an asset has to hear of, with the list and the modes that hold for all.
    #[must_use]
    pub fn added_to(&self, mut pending: Pending) -> Pending {
        let (list, rules) = (self.current().revision, self.rules());
        pending.threat.push_str(&format!(" {list:?} {rules:?}"));
        pending
    }

    /// Something that the list is made of has changed: it is compiled again, soon and in the
    /// background.
    pub fn changed(&self) {
        self.wake.sources.notify_one();
    }

    /// Hosts are told what is new for them, in the background.
    pub fn tell_hosts(&self) {
        self.wake.orders.notify_one();
    }

    /// Why the list could not be compiled when it last should have been; the one of before stays.
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

    /// Notes that a feed is being fetched; says whether it was not before.
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
