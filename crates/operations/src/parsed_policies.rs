//! The policies that speak of assets: the committed one and the candidate, parsed once.

use std::sync::{Arc, Mutex, PoisonError};

use xshield_policy::document::Policy;
use xshield_store::{Conn, StoreError, StoreResult, policy};

use crate::policy::documents::read_stored;

/// A policy and what it was read from.
#[derive(Debug, Clone)]
struct Known {
    version: u64,
    policy: Arc<Policy>,
}

/// The policies that were parsed last.
#[derive(Debug, Default)]
pub struct ParsedPolicies(Mutex<(Option<Known>, Option<Known>)>);

/// The policies as they are now.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// What hosts have.
    pub committed: Option<Arc<Policy>>,
    /// What operators are editing.
    pub candidate: Option<Arc<Policy>>,
}

impl Policies {
    /// Both.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Policy>> {
        self.committed.iter().chain(&self.candidate).cloned().collect()
    }
}

impl ParsedPolicies {
    /// The policies as they are now. Reading a large one takes a moment, once after each change.
    ///
    /// # Errors
    /// When the database fails or what it holds is damaged.
    pub async fn policies(&self, conn: &mut Conn) -> StoreResult<Policies> {
        let versions = policy::versions(conn).await?;
        let (committed, candidate) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_of = |known: &Option<Known>, version: u64| {
            known.as_ref().is_some_and(|known| known.version == version)
        };
        let committed = match versions.committed {
            None => None,
            Some(version) if is_of(&committed, version) => committed,
            Some(version) => match policy::committed(conn).await? {
                Some(stored) => Some(read(version, stored.documents).await?),
                None => None,
            },
        };
        let candidate = if is_of(&candidate, versions.candidate) {
            candidate
        } else {
            let stored = policy::candidate(conn).await?;
            Some(read(stored.version, stored.documents).await?)
        };
        let now = (committed, candidate);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
        let policy = |known: Option<Known>| known.map(|known| known.policy);
        Ok(Policies { committed: policy(now.0), candidate: policy(now.1) })
    }
}

async fn read(version: u64, documents: String) -> StoreResult<Known> {
    const ACTION: &str = "read a stored policy";
    let checked = tokio::task::spawn_blocking(move || read_stored(&documents)).await;
    let checked = checked.map_err(|error| StoreError::damaged(ACTION, error))?;
    let checked = checked.map_err(|errors| {
        let reasons: Vec<_> = errors.into_iter().map(|error| error.reason).collect();
        StoreError::damaged(ACTION, reasons.join("; "))
    })?;
    Ok(Known { version, policy: Arc::new(checked.policy) })
}
