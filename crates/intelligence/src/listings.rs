//! The listings of feeds: files named by their digest, and a cache of those in use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xshield_model::file_name::FileName;
use xshield_threat::Listing;
use xshield_threat::listing::store;

use crate::files::Files;

/// The listings.
#[derive(Debug)]
pub struct Listings {
    /// All stored ones.
    pub(crate) files: Files,
    /// Those in use, decoded.
    decoded: Mutex<BTreeMap<FileName, Arc<Listing>>>,
}

impl Listings {
    pub(crate) fn new(files: Files) -> Self {
        Self { files, decoded: Mutex::default() }
    }

    /// A feed's listing; `None` if its file is missing or damaged. Blocks.
    pub fn load(&self, name: FileName) -> Option<Arc<Listing>> {
        let listing = self.read(name)?;
        self.decoded().insert(name, listing.clone());
        Some(listing)
    }

    /// The same without adding it to the cache.
    pub fn read(&self, name: FileName) -> Option<Arc<Listing>> {
        if let Some(known) = self.decoded().get(&name) {
            return Some(known.clone());
        }
        let bytes = self.files.get(name).inspect_err(|error| {
            tracing::error!(%error, "a stored listing is unusable");
        });
        Some(Arc::new(store::decode(&bytes.ok()??).ok()?))
    }

    /// Drops listings from the cache that are no longer in use.
    pub(crate) fn keep_decoded(&self, used: &BTreeSet<FileName>) {
        self.decoded().retain(|name, _| used.contains(name));
    }

    fn decoded(&self) -> MutexGuard<'_, BTreeMap<FileName, Arc<Listing>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
