//! The threat list: its revisions and exceptions.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;

use crate::open::Open;
use crate::query::number;

/// A revision of the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    pub revision: u64,
    /// Whether it is the one in force.
    pub in_force: bool,
    /// SHA-256 of its addresses.
    pub digest: String,
    /// The number of prefixes.
    pub entries: u64,
    /// Prefixes that the previous one does not have.
    pub added: u64,
    /// Prefixes that only the previous one has.
    pub removed: u64,
    /// Why it was created.
    pub reason: String,
    pub created_at: Timestamp,
    /// The feeds it was compiled from.
    pub feeds: Vec<String>,
}

/// The entries added and removed between two revisions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub from: u64,
    pub to: u64,
    pub added: EntryDifference,
    pub removed: EntryDifference,
}

/// The added or the removed entries.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntryDifference {
    /// The number of prefixes.
    pub entries: u64,
    /// The number of IPv4 addresses in them.
    pub v4_addresses: u64,
    /// The first hundred.
    pub samples: Vec<String>,
}

/// The result of restoring or resuming.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The revision whose listings are in force until an operator resumes.
    pub restored: Option<u64>,
    /// The revision in force now.
    pub revision: Option<u64>,
    pub entries: u64,
    /// Why the list could not be compiled, in that case.
    pub trouble: Option<String>,
}

/// Addresses that are never blocked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Exception {
    pub id: String,
    /// An address, a CIDR, or `network:NAME`: a named network of the committed policy.
    pub target: String,
    pub reason: String,
    /// Whether it is in force now.
    #[schema(value_type = Validity)]
    pub state: Open<Validity>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
}

/// Whether an exception is in force.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ExceptionState)]
pub enum Validity {
    /// It is.
    Active,
    /// It has expired.
    Expired,
    /// Its named network is not in the committed policy, so it excepts nothing.
    NoNetwork,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewException {
    /// An address, a CIDR, or `network:NAME`.
    pub target: String,
    /// The reason.
    pub reason: String,
    /// The expiry; permanent when left out.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// The revision of the threat list to export.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A revision; the newest when left out.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u64>)]
    pub revision: Option<u64>,
}

/// The two revisions of the threat list to compare.
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
