//! A time limit that does not depend on what the program is doing: a thread of its own waits for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A running time limit. Dropping the value does not stop it, only [`Watchdog::disarm`] does: what it
/// limits may outlive the value.
#[derive(Debug)]
pub(crate) struct Watchdog {
    armed: Arc<(Mutex<Armed>, Condvar)>,
    #[cfg(test)]
    thread: thread::JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    Yes,
    No,
}

impl Watchdog {
    /// Calls `expired` in a thread of its own when `limit` has passed, unless it is disarmed before.
    ///
    /// # Errors
    /// The system starts no thread.
    pub(crate) fn start(
        limit: Duration,
        expired: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let armed = Arc::new((Mutex::new(Armed::Yes), Condvar::new()));
        let watched = Arc::clone(&armed);
        let wait = move || {
            let (state, changed) = &*watched;
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = changed.wait_timeout_while(state, limit, |armed| *armed == Armed::Yes);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let is_over = *state == Armed::Yes;
            drop(state);
            if is_over {
                expired();
            }
        };
        let thread = thread::Builder::new().name("time limit".to_owned()).spawn(wait)?;
        #[cfg(not(test))]
        drop(thread);
        Ok(Self {
            armed,
            #[cfg(test)]
            thread,
        })
    }

    /// What was limited is over: the limit no longer applies.
    pub(crate) fn disarm(self) {
        let (state, changed) = &*self.armed;
        *state.lock().unwrap_or_else(PoisonError::into_inner) = Armed::No;
        changed.notify_all();
        // Tests see that it has ended.
        #[cfg(test)]
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// So long that a test that waits for it fails.
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_limit_that_passes_is_noticed_even_if_its_value_is_gone() {
        let (expired, seen) = channel();
        drop(Watchdog::start(Duration::ZERO, move || expired.send(()).unwrap()).unwrap());
        assert_eq!(seen.recv(), Ok(()));
    }

    #[test]
    fn a_disarmed_limit_never_passes() {
        let (expired, seen) = channel::<()>();
        Watchdog::start(LONG, move || expired.send(()).unwrap()).unwrap().disarm();
        // Its thread has ended, and with it the only sender.
        assert!(seen.recv().is_err());
    }
}
