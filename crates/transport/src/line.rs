//! Cancels a request that another thread is waiting for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

/// A handle to cancel one request. Clones refer to the same request.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cut: bool,
    busy: Option<Agent>,
}

impl Line {
    /// Cancels the current request, whatever it waits for, and all later ones: their callers get
    /// [`crate::TransportError::Cut`].
    pub fn cut(&self) {
        let busy = {
            let mut state = self.state();
            state.is_cut = true;
            state.busy.take()
        };
        if let Some(agent) = busy {
            agent.shutdown();
        }
    }

    /// Registers the socket to close; `false` if the line is already cut.
    pub(crate) fn take(&self, agent: &Agent) -> bool {
        let mut state = self.state();
        if !state.is_cut {
            state.busy = Some(agent.clone());
        }
        !state.is_cut
    }

    /// The request has ended; `false` if it was cancelled.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.state();
        state.busy = None;
        !state.is_cut
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
