//! Passes an open connection from one [`Transport`](crate::Transport) to another.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ureq::Agent;

use crate::route::Route;

/// A reusable connection to the platform.
pub(crate) struct OpenConnection {
    pub(crate) route: Route,
    pub(crate) agent: Agent,
}

/// Holds the connection that one transport leaves for the next, which then need not open one. Both must have
/// the same configuration, since the connection was opened with its trust and proxies. Clones share the
/// connection.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Option<OpenConnection>>>);

impl Handover {
    /// Closes the held connection, if any.
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
