//! Listings of feeds: files named by their digest, and those in use in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xshield_model::file_name::FileName;
use xshield_threat::Listing;
use xshield_threat::listing::store;

use crate::files::Files;

/// The listings.
#[derive(Debug)]
pub struct Listings {
    /// All that are stored.
    pub(crate) files: Files,
    /// Those in use.
    decoded: Mutex<BTreeMap<FileName, Arc<Listing>>>,
}

impl Listings {
    pub(crate) fn new(files: Files) -> Self {
        Self { files, decoded: Mutex::default() }
    }

    /// A feed's listing; nothing when its file is gone or damaged. Blocks.
    pub fn load(&self, name: FileName) -> Option<Arc<Listing>> {
        let listing = self.read(name)?;
        self.decoded().insert(name, listing.clone());
        Some(listing)
    }

    /// The same, but it does not stay in memory when it was not there.
    pub fn read(&self, name: FileName) -> Option<Arc<Listing>> {
        if let Some(known) = self.decoded().get(&name) {
            return Some(known.clone());
        }
        let bytes = self.files.get(name).inspect_err(|error| {
            tracing::error!(%error, "a stored listing can't be used");
        });
        Some(Arc::new(store::decode(&bytes.ok()??).ok()?))
    }

    /// Forgets, in memory, what is not in use any more.
    pub(crate) fn keep_decoded(&self, used: &BTreeSet<FileName>) {
        self.decoded().retain(|name, _| used.contains(name));
    }

    fn decoded(&self) -> MutexGuard<'_, BTreeMap<FileName, Arc<Listing>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
