//! Cancels a request that another thread is waiting for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

/// A handle to cancel one request. Clones refer to the same request.
#[derive(Clone, Default)]
pub struct CancelHandle(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cancelled: bool,
    busy: Option<Agent>,
}

impl CancelHandle {
    /// Cancels the current request, whatever it waits for, and all later ones: their callers get
    /// [`crate::TransportError::Cancelled`].
    pub fn cancel(&self) {
        let busy = {
            let mut state = self.state();
            state.is_cancelled = true;
            state.busy.take()
        };
        if let Some(agent) = busy {
            agent.shutdown();
        }
    }

    /// Registers the socket to close; `false` if the request is already cancelled.
    pub(crate) fn take(&self, agent: &Agent) -> bool {
        let mut state = self.state();
        if !state.is_cancelled {
            state.busy = Some(agent.clone());
        }
        !state.is_cancelled
    }

    /// The request has ended; `false` if it was cancelled.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.state();
        state.busy = None;
        !state.is_cancelled
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
