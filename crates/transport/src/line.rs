//! Giving up a request that another thread is waiting for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

/// The line on which one request waits for its answer. Clones are the same line.
#[derive(Clone, Default)]
pub struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    is_cut: bool,
    busy: Option<Agent>,
}

impl Line {
    /// Ends the request that waits on it, whatever it waits for, and all that come: whoever waits hears
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

    /// Notes whom to end; `false` when the line is cut already.
    pub(crate) fn take(&self, agent: &Agent) -> bool {
        let mut state = self.state();
        if !state.is_cut {
            state.busy = Some(agent.clone());
        }
        !state.is_cut
    }

    /// The request is over; `false` when it was ended.
    pub(crate) fn leave(&self) -> bool {
        let mut state = self.state();
        state.busy = None;
        !state.is_cut
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
