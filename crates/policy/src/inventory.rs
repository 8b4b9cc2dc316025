//! The existing assets, as input of the compiler.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::{AssetId, Name, TagKey, TagValue};

/// A managed host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Its id, assigned by the platform.
    pub id: AssetId,
    /// The host name, unique among assets.
    pub name: Name,
    /// Its tags.
    pub tags: BTreeMap<TagKey, TagValue>,
    /// Its own addresses, without loopback and link-local ones.
    pub addresses: Vec<IpAddr>,
    /// The operating system, e.g. `debian 12`.
    pub os: String,
    /// The program that reports it.
    pub source: Source,
}

/// The program that reports an asset.
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
    /// The assets by id.
    pub assets: Vec<Asset>,
}
