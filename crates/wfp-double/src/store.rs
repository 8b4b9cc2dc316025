//! Objects as Windows' structures have them: GUIDs as text, everything else as numbers and bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A GUID in small letters and braces.
pub type Key = String;

/// A value with its `FWP_DATA_TYPE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawValue {
    /// Up to 64 bits.
    Number(i32, u64),
    /// Blobs, addresses of 16 bytes, identifiers and descriptors.
    Bytes(i32, Vec<u8>),
    /// An address and a mask.
    V4(u32, u32),
    /// An address and the length of its prefix.
    V6([u8; 16], u8),
    /// From one to the other.
    Range(Box<(RawValue, RawValue)>),
}

impl RawValue {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> i32 {
        match self {
            Self::Number(kind, _) | Self::Bytes(kind, _) => *kind,
            Self::V4(..) => kind::V4_NETWORK,
            Self::V6(..) => kind::V6_NETWORK,
            Self::Range(_) => kind::RANGE,
        }
    }
}

/// Numbers of `FWP_DATA_TYPE`, from `fwptypes.h`.
#[expect(missing_docs, reason = "the names say it")]
pub mod kind {
    pub const EMPTY: i32 = 0;
    pub const UINT8: i32 = 1;
    pub const UINT16: i32 = 2;
    pub const UINT32: i32 = 3;
    pub const UINT64: i32 = 4;
    pub const BYTES16: i32 = 11;
    pub const BLOB: i32 = 12;
    pub const SID: i32 = 13;
    pub const DESCRIPTOR: i32 = 14;
    pub const V4_NETWORK: i32 = 0x100;
    pub const V6_NETWORK: i32 = 0x101;
    pub const RANGE: i32 = 0x102;
}

/// A condition of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawCondition {
    /// `fieldKey`.
    pub field: Key,
    /// `matchType`.
    pub match_type: i32,
    /// `conditionValue`.
    pub value: RawValue,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFilter {
    /// `filterKey`.
    pub key: Key,
    /// `displayData.name`; `None` where the pointer is null.
    pub name: Option<String>,
    /// `displayData.description`.
    pub description: Option<String>,
    /// `flags`.
    pub flags: u32,
    /// `providerKey`.
    pub provider: Option<Key>,
    /// `layerKey`.
    pub layer: Key,
    /// `subLayerKey`.
    pub sublayer: Key,
    /// `weight`, as it was added.
    pub weight: RawValue,
    /// `effectiveWeight`.
    pub effective_weight: u64,
    /// `filterCondition`.
    pub conditions: Vec<RawCondition>,
    /// `action.type`.
    pub action: u32,
    /// `action.calloutKey`.
    pub callout: Option<Key>,
    /// `filterId`.
    pub id: u64,
    /// The dynamic session that added it.
    pub session: Option<u64>,
}

/// A sublayer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawSubLayer {
    /// `subLayerKey`.
    pub key: Key,
    /// `displayData.name`.
    pub name: Option<String>,
    /// `flags`.
    pub flags: u32,
    /// `providerKey`.
    pub provider: Option<Key>,
    /// `weight`.
    pub weight: u16,
    /// The dynamic session that added it.
    pub session: Option<u64>,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawProvider {
    /// `providerKey`.
    pub key: Key,
    /// `displayData.name`.
    pub name: Option<String>,
    /// `flags`.
    pub flags: u32,
    /// `serviceName`.
    pub service: Option<String>,
    /// The dynamic session that added it.
    pub session: Option<u64>,
}

/// Everything that the engine holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Store {
    /// By key.
    pub providers: BTreeMap<Key, RawProvider>,
    /// By key.
    pub sublayers: BTreeMap<Key, RawSubLayer>,
    /// By key.
    pub filters: BTreeMap<Key, RawFilter>,
    /// The number of the last filter.
    pub last_id: u64,
    /// The number of the last session.
    pub last_session: u64,
}

impl Store {
    /// The dynamic sessions that added something.
    #[must_use]
    pub fn sessions(&self) -> Vec<u64> {
        let filters = self.filters.values().filter_map(|filter| filter.session);
        let sublayers = self.sublayers.values().filter_map(|sublayer| sublayer.session);
        let providers = self.providers.values().filter_map(|provider| provider.session);
        let mut sessions: Vec<u64> = filters.chain(sublayers).chain(providers).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// A dynamic session ends.
    pub fn end(&mut self, session: u64) {
        self.filters.retain(|_, filter| filter.session != Some(session));
        self.sublayers.retain(|_, sublayer| sublayer.session != Some(session));
        self.providers.retain(|_, provider| provider.session != Some(session));
    }

    /// The machine starts again: what is neither persistent nor boot-time is gone.
    pub fn restart(&mut self) {
        self.filters.retain(|_, filter| filter.flags & 3 != 0);
        self.sublayers.retain(|_, sublayer| sublayer.flags & 1 != 0);
        self.providers.retain(|_, provider| provider.flags & 1 != 0);
    }
}
