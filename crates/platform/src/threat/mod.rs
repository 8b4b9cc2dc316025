//! Threat intelligence on the platform: feeds in, one exact list out, and what each host needs of it.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use xshield_threat::{Compiler, ThreatList, Why};

/// What is known about threats by now.
#[derive(Debug)]
pub struct Threats {
    list: RwLock<Arc<ThreatList>>,
}

impl Default for Threats {
    fn default() -> Self {
        Self { list: RwLock::new(Arc::new(Compiler::default().compile())) }
    }
}

impl Threats {
    /// The list in force, with everything that it came from.
    #[must_use]
    pub fn list(&self) -> Arc<ThreatList> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether and why `address` is on the list, by now. Takes some microseconds.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Why {
        self.list().why(address)
    }
}
