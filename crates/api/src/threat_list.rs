//! The threat list: its revisions, and the addresses that are never on it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;

use crate::query::number;

/// The list at one time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    pub revision: u64,
    /// Whether it is the one in force.
    pub in_force: bool,
    /// SHA-256 of its addresses.
    pub digest: String,
    /// Prefixes.
    pub entries: u64,
    /// Prefixes that the one before does not have.
    pub added: u64,
    /// Prefixes that only the one before has.
    pub removed: u64,
    /// Why there is a new one.
    pub reason: String,
    pub created_at: Timestamp,
    /// The feeds it was made of.
    pub feeds: Vec<String>,
}

/// What came and went between two revisions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub from: u64,
    pub to: u64,
    pub added: Half,
    pub removed: Half,
}

/// What came, or what went.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Half {
    /// Prefixes.
    pub entries: u64,
    /// IPv4 addresses in them.
    pub v4_addresses: u64,
    /// The first hundred.
    pub samples: Vec<String>,
}

/// What restoring or resuming did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The revision whose listings hold until an operator resumes.
    pub restored: Option<u64>,
    /// The revision in force now.
    pub revision: Option<u64>,
    pub entries: u64,
    /// Why the list could not be compiled, when that is so.
    pub trouble: Option<String>,
}

/// Addresses that are never blocked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Exception {
    pub id: String,
    /// An address, a CIDR, or `network:NAME`: a named network of the committed policy.
    pub target: String,
    pub reason: String,
    /// Whether it holds now.
    pub state: Validity,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
}

/// Whether an exception holds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ExceptionState)]
pub enum Validity {
    /// It holds.
    Active,
    /// Its time is over.
    Expired,
    /// Its named network is not in the committed policy, so nothing is taken off.
    NoNetwork,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewException {
    /// An address, a CIDR, or `network:NAME`.
    pub target: String,
    /// Why.
    pub reason: String,
    /// Until when; for good when left out.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// Which revision of the threat list is exported.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A revision; the newest when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub revision: Option<u64>,
}

/// Which two revisions of the threat list are compared.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// A revision.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = u64, required = true)]
    pub from: Option<u64>,
    /// Another one; the newest when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub to: Option<u64>,
}
