//! Why an address is blocked or not.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;

/// Whether and why an address is on the threat list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether it is on the list in force.
    pub listed: bool,
    /// The prefix of the list that contains it.
    pub blocked_as: Option<String>,
    /// Since when any effective feed has listed it.
    pub since: Option<Timestamp>,
    /// Every entry of every feed that contains it.
    pub feeds: Vec<FeedEntry>,
    /// The exceptions that keep it off.
    pub exceptions: Vec<Kept>,
    /// The protected ranges that keep it off.
    pub protected: Vec<Kept>,
}

/// A feed's entry that contains the address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FeedEntry {
    pub feed: String,
    pub entry: String,
    /// Percent.
    pub confidence: u8,
    /// Whether it reaches the feed's minimum confidence.
    pub counts: bool,
    /// Since when the feed lists it.
    pub since: Option<Timestamp>,
    /// When the entry expires.
    pub until: Option<Timestamp>,
}

/// What keeps an address off the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Kept {
    pub prefix: String,
    /// The exception's id, or what protects the range.
    pub by: String,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// Up to 10,000.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}
