//! Where hosts reach the platform.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// The addresses at which hosts reach the platform, by now. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(Arc<RwLock<Vec<SocketAddr>>>);

impl Endpoints {
    /// These, to begin with.
    #[must_use]
    pub fn new(endpoints: Vec<SocketAddr>) -> Self {
        Self(Arc::new(RwLock::new(endpoints)))
    }

    /// What they are now.
    #[must_use]
    pub fn get(&self) -> Vec<SocketAddr> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place.
    pub fn set(&self, endpoints: Vec<SocketAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }
}
