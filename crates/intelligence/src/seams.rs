//! What threat intelligence needs from the rest of the platform.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use xshield_policy::document::Policy;
use xshield_store::{Conn, StoreResult};

/// A future result.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Inputs of the list that are decided elsewhere.
pub trait ListInputs: Debug + Send + Sync {
    /// The committed policy, whose named networks may be exceptions and whose management sources are
    /// protected; `None` while there is none.
    fn committed<'a>(&'a self, conn: &'a mut Conn) -> Later<'a, StoreResult<Option<Arc<Policy>>>>;

    /// The addresses at which hosts reach the platform, which are protected.
    fn endpoints(&self) -> Vec<SocketAddr>;
}
