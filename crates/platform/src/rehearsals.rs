//! Who has a policy rehearsed: one at a time, in the order in which they asked, and everyone once.
//!
//! A rehearsal takes a processor and the memory of one host's ruleset. It ends when nobody waits for
//! its result any more.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Answer, Problem};

/// So many ask at a time: one whose rehearsal runs, and others that wait.
const AT_MOST: usize = 8;
/// When to ask again, in seconds.
const AGAIN: u64 = 5;

/// Those who have a policy rehearsed.
#[derive(Debug)]
pub struct Rehearsals {
    turn: Arc<Semaphore>,
    asking: Mutex<BTreeSet<String>>,
}

impl Default for Rehearsals {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), asking: Mutex::default() }
    }
}

impl Rehearsals {
    /// A place among those who ask. Take it before anything is read of them.
    ///
    /// # Errors
    /// When this caller asks already, or too many do.
    pub fn place(&self, caller: String) -> Answer<Place<'_>> {
        let mut asking = self.asking();
        if asking.contains(&caller) {
            return Err(Problem::too_many("policies to be rehearsed for this account", AGAIN));
        }
        if asking.len() >= AT_MOST {
            return Err(Problem::too_many("policies to be rehearsed", AGAIN));
        }
        asking.insert(caller.clone());
        drop(asking);
        Ok(Place { rehearsals: self, caller })
    }

    fn asking(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who ask; given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    rehearsals: &'a Rehearsals,
    caller: String,
}

impl Place<'_> {
    /// Waits for this caller's turn.
    ///
    /// # Errors
    /// When the platform ends.
    pub async fn turn(&self) -> Answer<(Turn, Waiting)> {
        let permit = self.rehearsals.turn.clone().acquire_owned().await;
        let permit = permit.map_err(|error| Problem::internal(&error))?;
        let given_up = Arc::new(AtomicBool::new(false));
        let turn = Turn { given_up: given_up.clone(), _permit: Some(permit) };
        Ok((turn, Waiting(given_up)))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.rehearsals.asking().remove(&self.caller);
    }
}

/// The right to rehearse; belongs to whoever does the work, until it is done.
#[derive(Debug)]
pub struct Turn {
    given_up: Arc<AtomicBool>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Of someone for whom nobody else has to wait.
    #[must_use]
    pub fn of_its_own() -> Self {
        Self { given_up: Arc::default(), _permit: None }
    }

    /// Whether nobody waits for the result any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Someone waits for the result: until this is dropped.
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
    async fn everyone_once_and_so_many_at_a_time() {
        let rehearsals = Rehearsals::default();
        let places: Vec<_> = (0..AT_MOST)
            .map(|number| rehearsals.place(format!("user:{number}")).unwrap())
            .collect();
        for caller in ["user:0", "user:new"] {
            let refused = rehearsals.place(caller.to_owned()).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(AGAIN)));
        }
        drop(places);
        rehearsals.place("user:0".to_owned()).unwrap();
        rehearsals.place("user:0".to_owned()).unwrap();
    }

    #[tokio::test]
    async fn one_turn_at_a_time_until_the_work_is_done() {
        let rehearsals = Rehearsals::default();
        let place = |name: &str| rehearsals.place(name.to_owned()).unwrap();
        let (first, second) = (place("a"), place("b"));
        let (turn, waiting) = first.turn().await.unwrap();
        let mut next = Box::pin(second.turn());
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut next).await.is_err());

        // Who asked goes away: the work hears of it, and the turn is over when the work is.
        drop((waiting, first));
        assert!(turn.is_given_up());
        assert!(tokio::time::timeout(soon, &mut next).await.is_err());
        drop(turn);
        let (turn, _waiting) = next.await.unwrap();
        assert!(!turn.is_given_up());
    }
}
