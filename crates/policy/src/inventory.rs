//! The assets that exist, as the compiler sees them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::{AssetId, Name, TagKey, TagValue};

/// A managed host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Given by the platform.
    pub id: AssetId,
    /// The host name, unique among assets.
    pub name: Name,
    /// What operators say about it.
    pub tags: BTreeMap<TagKey, TagValue>,
    /// Its own addresses, loopback and link-local ones left out.
    pub addresses: Vec<IpAddr>,
    /// The operating system, e.g. `debian 12`.
    pub os: String,
    /// Who reports it.
    pub source: Source,
}

/// Who reports an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The resident agent.
    Agent,
    /// The periodic program.
    Spark,
    /// An EDR product.
    Edr,
}

/// All assets of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// In order of their ids.
    pub assets: Vec<Asset>,
}
