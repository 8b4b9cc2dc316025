//! Threat intelligence on the platform: feeds in, one exact list out, and what each host needs of it.
//!
//! | step | module |
//! |---|---|
//! | a feed is fetched, within bounds and not from where it must not be | [`fetch`] |
//! | it is read, judged against what is one's own, stored | [`read`], [`judge`], [`run`] |
//! | listings become the list, at a revision | [`list`] |
//! | a match is put down to the feeds of its revision | `past` |
//! | each host is told which list or part, in which modes | [`orders`], [`parts`], [`modes`] |
//! | a host gets there in the fewest bytes | [`paths`] |
//!
//! The list in force lives in memory, with its feeds; it is compiled again from the stored listings
//! at start, before anyone is served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use xshield_model::file_name::FileName;
use xshield_threat::{Compiler, FeedId, Listing, ThreatList, Why};

pub mod feed;
pub mod fetch;
pub mod files;
pub mod judge;
pub mod list;
pub mod measure;
pub mod modes;
pub mod orders;
pub mod parts;
pub(crate) mod past;
pub mod paths;
pub mod read;
pub mod run;
pub mod tidy;

use files::{FileError, Files};
use modes::ModeRules;
use parts::Parts;
use paths::Paths;

/// What is known about threats by now.
#[derive(Debug)]
pub struct Threats {
    current: RwLock<Arc<Current>>,
    rules: RwLock<Arc<ModeRules>>,
    /// Listings of feeds.
    pub(crate) listings: Files,
    /// Snapshots and deltas for hosts.
    pub(crate) files: Files,
    pub(crate) paths: Paths,
    pub(crate) past: past::Past,
    /// The listings in use, decoded.
    decoded: Mutex<BTreeMap<FileName, Arc<Listing>>>,
    /// One compilation at a time.
    compiling: tokio::sync::Mutex<()>,
    running: Mutex<BTreeSet<FeedId>>,
    /// Why the last compilation failed.
    trouble: Mutex<Option<String>>,
    pub(crate) wake: Wake,
}

/// What jobs wait for.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Something that the list is made of has changed.
    pub(crate) sources: Notify,
    /// A feed is due earlier than it was.
    pub(crate) schedule: Notify,
    /// Hosts have to be told something.
    pub(crate) orders: Notify,
    /// A run has ended.
    pub(crate) ended: Notify,
}

/// The list in force.
#[derive(Debug)]
pub struct Current {
    /// The list, with everything that it came from.
    pub list: Arc<ThreatList>,
    /// Its name; nothing before there ever was a feed.
    pub revision: Option<RevisionName>,
    pub(crate) parts: Parts,
}

/// Names the list at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionName {
    /// Its number.
    pub revision: u64,
    /// Digest of its addresses.
    pub digest: xshield_threat::Digest,
    /// Its prefixes.
    pub entries: u64,
}

impl Threats {
    /// Without a list yet. Files live in `dir`.
    ///
    /// # Errors
    /// When the directories can't be made.
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        let nothing = Arc::new(Compiler::default().compile());
        let current = Current { list: nothing, revision: None, parts: Parts::default() };
        Ok(Self {
            current: RwLock::new(Arc::new(current)),
            rules: RwLock::default(),
            listings: Files::open(dir.join("listings"))?,
            files: Files::open(dir.join("files"))?,
            paths: Paths::default(),
            past: past::Past::default(),
            decoded: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            trouble: Mutex::default(),
            wake: Wake::default(),
        })
    }

    /// The list in force and its name.
    #[must_use]
    pub fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// What holds for whom.
    #[must_use]
    pub fn rules(&self) -> Arc<ModeRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something that the list is made of has changed: it is compiled again, soon and in the
    /// background.
    pub fn changed(&self) {
        self.wake.sources.notify_one();
    }

    /// Why the list could not be compiled when it last should have been; the one of before stays.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        locked(&self.trouble).clone()
    }

    /// Whether a feed is being fetched now.
    #[must_use]
    pub fn is_running(&self, feed: &FeedId) -> bool {
        locked(&self.running).contains(feed)
    }

    fn publish(&self, current: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }

    pub(crate) fn set_rules(&self, rules: ModeRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
