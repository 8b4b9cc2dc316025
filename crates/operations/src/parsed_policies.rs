//! The committed and the candidate policy, parsed once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xshield_policy::document::Policy;
use xshield_store::{Conn, StoreError, StoreResult, policy};

use crate::policy::documents::read_stored;

/// A policy and its source.
#[derive(Debug, Clone)]
struct Known {
    version: u64,
    policy: Arc<Policy>,
}

/// The most recently parsed policies.
#[derive(Debug, Default)]
pub struct ParsedPolicies(Mutex<Parsed>);

#[derive(Debug, Clone, Default)]
struct Parsed {
    committed: Option<Known>,
    candidate: Option<Known>,
}

/// The current policies.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// The policy of hosts.
    pub committed: Option<Arc<Policy>>,
    /// The policy that operators are editing.
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
    /// Both current policies. Parsing a large one takes a moment, once after each change.
    ///
    /// # Errors
    /// When the database fails or its content is damaged.
    pub async fn policies(&self, conn: &mut Conn) -> StoreResult<Policies> {
        let committed = self.committed(conn).await?;
        let version = policy::versions(conn).await?.candidate;
        let known = self.parsed().candidate.clone().filter(|known| known.version == version);
        let candidate = match known {
            Some(known) => known,
            None => {
                let stored = policy::candidate(conn).await?;
                let read = read(stored.version, stored.documents).await?;
                self.parsed().candidate = Some(read.clone());
                read
            }
        };
        Ok(Policies { committed, candidate: Some(candidate.policy) })
    }

    /// The current committed policy; `None` if there is none.
    ///
    /// # Errors
    /// As [`ParsedPolicies::policies`].
    pub async fn committed(&self, conn: &mut Conn) -> StoreResult<Option<Arc<Policy>>> {
        let Some(version) = policy::versions(conn).await?.committed else { return Ok(None) };
        let known = self.parsed().committed.clone().filter(|known| known.version == version);
        if let Some(known) = known {
            return Ok(Some(known.policy));
        }
        let Some(stored) = policy::committed(conn).await? else { return Ok(None) };
        let read = read(version, stored.documents).await?;
        self.parsed().committed = Some(read.clone());
        Ok(Some(read.policy))
    }

    fn parsed(&self) -> MutexGuard<'_, Parsed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
