//! One lock per asset.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use xshield_policy::AssetId;

/// A lock for each asset that is being worked on.
#[derive(Debug, Default)]
pub struct AssetLocks(Mutex<HashMap<AssetId, Weak<tokio::sync::Mutex<()>>>>);

impl AssetLocks {
    /// The lock of this asset, released when the value is dropped.
    pub async fn lock(&self, asset: &AssetId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(asset).and_then(Weak::upgrade);
            let lock = known.unwrap_or_default();
            locks.insert(asset.clone(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}
