//! The addresses at which hosts reach the platform.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// The current addresses at which hosts reach the platform. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(Arc<RwLock<Vec<SocketAddr>>>);

impl Endpoints {
    /// With initial values.
    #[must_use]
    pub fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self(Arc::new(RwLock::new(endpoints)))
    }

    /// The current values.
    #[must_use]
    pub fn get(&self) -> Vec<SocketAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces them.
    pub fn set(&self, endpoints: Vec<SocketAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }
}
