//! An open connection on its way from one [`Transport`](crate::Transport) to another.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

use crate::route::Route;

/// A connection to the platform that may be used again.
pub(crate) struct OpenConnection {
    pub(crate) route: Route,
    pub(crate) agent: Agent,
}

/// Where one transport leaves its connection for the next one, which then need not connect anew. Both
/// must have been made for the same configuration: the connection stands for its trust and its proxies.
/// Clones are the same place.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Option<OpenConnection>>>);

impl Handover {
    /// Closes the connection that waits there, if any.
    pub fn clear(&self) {
        self.place().take();
    }

    pub(crate) fn put(&self, connection: Option<OpenConnection>) {
        *self.place() = connection;
    }

    pub(crate) fn take(&self) -> Option<OpenConnection> {
        self.place().take()
    }

    fn place(&self) -> MutexGuard<'_, Option<OpenConnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.place().as_ref().map(|open| open.route.clone());
        f.debug_tuple("Handover").field(&route).finish()
    }
}
