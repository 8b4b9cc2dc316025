//! The queue for policy simulations: one at a time, in the order of the requests, and one per account.
//!
//! A simulation compiles a policy for all assets without committing it. It uses a processor and the memory of
//! one host's ruleset, and is cancelled when nobody waits for its result any more.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Doing as _, OperationError, Result};

/// The maximum number of requests: one running, and others waiting.
const AT_MOST: usize = 8;
/// When to retry, in seconds.
const AGAIN: u64 = 5;

/// The queue for simulations.
#[derive(Debug)]
pub struct Simulations {
    turn: Arc<Semaphore>,
    asking: Mutex<BTreeSet<String>>,
}

impl Default for Simulations {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), asking: Mutex::default() }
    }
}

impl Simulations {
    /// A place in the queue. Take it before reading anything of the request.
    ///
    /// # Errors
    /// When this caller is in the queue already, or it is full.
    pub fn place(&self, caller: String) -> Result<Place<'_>> {
        let mut asking = self.asking();
        if asking.contains(&caller) {
            return Err(too_many("policies to be simulated for this account"));
        }
        if asking.len() >= AT_MOST {
            return Err(too_many("policies to be simulated"));
        }
        asking.insert(caller.clone());
        drop(asking);
        Ok(Place { simulations: self, caller })
    }

    fn asking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many(what: &'static str) -> OperationError {
    OperationError::TooMany { what, seconds: AGAIN }
}

/// A place in the queue; released when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    simulations: &'a Simulations,
    caller: String,
}

impl Place<'_> {
    /// Waits for this caller's turn.
    ///
    /// # Errors
    /// When the platform shuts down.
    pub async fn permit(&self) -> Result<(Permit, Waiting)> {
        let permit = self.simulations.turn.clone().acquire_owned().await;
        let permit = permit.doing("wait for a simulation")?;
        let given_up = Arc::new(AtomicBool::new(false));
        let permit = Permit { given_up: given_up.clone(), _permit: Some(permit) };
        Ok((permit, Waiting(given_up)))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.simulations.asking().remove(&self.caller);
    }
}

/// The right to simulate; held by the work until it is done.
#[derive(Debug)]
pub struct Permit {
    given_up: Arc<AtomicBool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// For work that nobody else has to wait for: a commit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { given_up: Arc::default(), _permit: None }
    }

    /// Whether nobody waits for the result any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Someone waits for the result, until this is dropped.
#[derive(Debug)]
pub struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn simulations_are_limited_per_account_and_in_total() {
        let simulations = Simulations::default();
        let places: Vec<_> = (0..AT_MOST)
            .map(|number| simulations.place(format!("user:{number}")).unwrap())
            .collect();
        for caller in ["user:0", "user:new"] {
            let refused = simulations.place(caller.to_owned()).unwrap_err();
            assert!(matches!(refused, OperationError::TooMany { seconds: AGAIN, .. }), "{refused}");
        }
        drop(places);
        simulations.place("user:0".to_owned()).unwrap();
        simulations.place("user:0".to_owned()).unwrap();
    }

    #[tokio::test]
    async fn a_permit_is_held_until_the_work_is_done() {
        let simulations = Simulations::default();
        let place = |name: &str| simulations.place(name.to_owned()).unwrap();
        let (first, second) = (place("a"), place("b"));
        let (turn, waiting) = first.permit().await.unwrap();
        let mut next = Box::pin(second.permit());
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut next).await.is_err());

        // The requester disconnects: the work is cancelled, and the turn ends with it.
        drop((waiting, first));
        assert!(turn.is_given_up());
        assert!(tokio::time::timeout(soon, &mut next).await.is_err());
        drop(turn);
        let (turn, _waiting) = next.await.unwrap();
        assert!(!turn.is_given_up());
    }
}
