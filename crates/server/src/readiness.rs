//! Whether the platform can write, checked on request but not for every request.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_store::Store;

/// How long a result is reused.
const HOLDS: Duration = Duration::from_secs(2);
/// A write that takes longer counts as failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The last result.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    /// Writes a row durably. Concurrent callers share one write.
    ///
    /// # Errors
    /// Why the platform is not ready, in words.
    pub async fn check(&self, store: &Store) -> Result<(), String> {
        let mut last = self.0.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < HOLDS
        {
            return found.clone();
        }
        let found = match timeout(TIMEOUT, store.probe(Timestamp::now())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err(format!("a write took longer than {} s", TIMEOUT.as_secs())),
        };
        if let Err(reason) = &found {
            tracing::error!(reason, "the platform is not ready");
        }
        *last = Some((Instant::now(), found.clone()));
        found
    }
}
