//! Recreates permanently lost keys.

use std::path::Path;

use xshield_model::Timestamp;
use xshield_store::audit::NewAuditEntry;
use xshield_store::{Store, StoreError, audit, commit};

use crate::keys::{DataDir, KeyError};
use crate::platform_key::PlatformKey;
use crate::tls;

/// Why no key was created.
#[derive(Debug, thiserror::Error)]
pub enum RecreateKeyError {
    /// The data directory, or the key.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Replaces a lost key while the platform does not run.
///
/// # Errors
/// When the platform runs, the key exists, or there is no database.
pub async fn make_again(path: &Path, key: PlatformKey) -> Result<(), RecreateKeyError> {
    let now = Timestamp::now();
    let dir = DataDir::open_existing(path)?;
    match key {
        PlatformKey::Policy | PlatformKey::Storage => dir.make_seed_again(key)?,
        PlatformKey::Ca => tls::make_ca_again(&dir, now)?,
    }
    let store = Store::open(&dir.file(DataDir::DATABASE)).await?;
    let mut tx = store.write().await?;
    let new_entry = NewAuditEntry {
        actor: "platform",
        action: "platform.new-key",
        target: key.file(),
        before: "lost".to_owned(),
        after: format!("recreated on the platform's machine: {}", key.another_means()),
    };
    audit::record(&mut tx, new_entry, now).await?;
    commit(tx).await?;
    store.close().await;
    Ok(())
}
