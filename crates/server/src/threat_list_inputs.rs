//! What threat intelligence needs from the rest of the platform.

use std::net::SocketAddr;
use std::sync::Arc;

use xshield_intelligence::seams::{Later, ListInputs};
use xshield_operations::compiler::Endpoints;
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_policy::document::Policy;
use xshield_store::{Conn, StoreResult};

/// The committed policy and the platform's endpoints.
#[derive(Debug)]
pub(crate) struct ThreatListInputs {
    pub(crate) policies: Arc<ParsedPolicies>,
    pub(crate) endpoints: Endpoints,
}

impl ListInputs for ThreatListInputs {
    fn committed<'a>(&'a self, conn: &'a mut Conn) -> Later<'a, StoreResult<Option<Arc<Policy>>>> {
        Box::pin(self.policies.committed(conn))
    }

    fn endpoints(&self) -> Vec<SocketAddr> {
        self.endpoints.get()
    }
}
