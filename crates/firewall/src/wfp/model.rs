//! Objects of the Windows Filtering Platform as plain values: providers, sublayers, filters.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::guid::Guid;
use super::mark::read_mark;
use super::names::{FilterField, Layer};

/// How an object is named: by a GUID, or for built-in objects by Windows' name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// By its GUID.
    Guid(Guid),
    /// A built-in object, such as `FWPM_SUBLAYER_UNIVERSAL`.
    BuiltIn(Arc<str>),
}

impl From<Guid> for ObjectKey {
    fn from(guid: Guid) -> Self {
        Self::Guid(guid)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guid(guid) => guid.fmt(f),
            Self::BuiltIn(name) => f.write_str(name),
        }
    }
}

/// The flags of a filter (`FWPM_FILTER_FLAG_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// Kept across restarts of the filter engine.
    pub const PERSISTENT: Self = Self(1);
    /// In force from the start of the TCP/IP driver until the filter engine has started.
    pub const BOOT_TIME: Self = Self(2);
    /// Removes the right of lower sublayers to change the action; see `reading::ClearRight`.
    pub const CLEAR_ACTION_RIGHT: Self = Self(8);
    /// Permits if the callout's driver is not loaded, instead of blocking.
    pub const PERMIT_IF_CALLOUT_UNREGISTERED: Self = Self(16);
    /// Set by Windows: the provider's service does not start automatically, so the filter is not in force.
    pub const DISABLED: Self = Self(32);
    /// Set by Windows: the filter is looked up by an index.
    pub const INDEXED: Self = Self(64);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::PERSISTENT, "FWPM_FILTER_FLAG_PERSISTENT"),
        (Self::BOOT_TIME, "FWPM_FILTER_FLAG_BOOTTIME"),
        (Self::CLEAR_ACTION_RIGHT, "FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT"),
        (Self::PERMIT_IF_CALLOUT_UNREGISTERED, "FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED"),
        (Self::DISABLED, "FWPM_FILTER_FLAG_DISABLED"),
        (Self::INDEXED, "FWPM_FILTER_FLAG_INDEXED"),
    ];

    /// The flag with this name; `None` for one that does not affect what the filter decides.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(flag, _)| *flag)
    }

    /// Whether all of `others` are set.
    #[must_use]
    pub fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and `others`.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

/// How a field is compared (`FWP_MATCH_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchType {
    /// The same value; an address within a network; an access token that a descriptor admits.
    Equal,
    /// Not [`MatchType::Equal`].
    NotEqual,
    /// A higher number.
    Greater,
    /// A lower number.
    Less,
    /// The number or a higher one.
    GreaterOrEqual,
    /// The number or a lower one.
    LessOrEqual,
    /// Within a range, its ends included.
    Range,
    /// Every bit is set.
    FlagsAllSet,
    /// One bit at least is set.
    FlagsAnySet,
    /// No bit is set.
    FlagsNoneSet,
    /// The same text, whatever the case of its letters.
    EqualCaseInsensitive,
    /// Begins with these bytes.
    Prefix,
    /// Does not begin with these bytes.
    NotPrefix,
}

impl MatchType {
    const NAMES: [(Self, &'static str); 13] = [
        (Self::Equal, "FWP_MATCH_EQUAL"),
        (Self::NotEqual, "FWP_MATCH_NOT_EQUAL"),
        (Self::Greater, "FWP_MATCH_GREATER"),
        (Self::Less, "FWP_MATCH_LESS"),
        (Self::GreaterOrEqual, "FWP_MATCH_GREATER_OR_EQUAL"),
        (Self::LessOrEqual, "FWP_MATCH_LESS_OR_EQUAL"),
        (Self::Range, "FWP_MATCH_RANGE"),
        (Self::FlagsAllSet, "FWP_MATCH_FLAGS_ALL_SET"),
        (Self::FlagsAnySet, "FWP_MATCH_FLAGS_ANY_SET"),
        (Self::FlagsNoneSet, "FWP_MATCH_FLAGS_NONE_SET"),
        (Self::EqualCaseInsensitive, "FWP_MATCH_EQUAL_CASE_INSENSITIVE"),
        (Self::Prefix, "FWP_MATCH_PREFIX"),
        (Self::NotPrefix, "FWP_MATCH_NOT_PREFIX"),
    ];

    /// The match type of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Whether it holds for a missing value.
    #[must_use]
    pub fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::FlagsNoneSet | Self::NotPrefix)
    }
}

/// The value with which a field is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `FWP_EMPTY`.
    Empty,
    /// 8 bits.
    U8(u8),
    /// 16 bits.
    U16(u16),
    /// 32 bits; an IPv4 address in the order of the host.
    U32(u32),
    /// 64 bits.
    U64(u64),
    /// An IPv6 address.
    V6(u128),
    /// From the first to the last.
    Range(Box<(Value, Value)>),
    /// An IPv4 network.
    V4Mask {
        /// An address in it.
        address: u32,
        /// The bits that are compared.
        mask: u32,
    },
    /// An IPv6 network.
    V6Mask {
        /// An address in it.
        address: u128,
        /// The number of leading bits that are compared.
        length: u8,
    },
    /// Bytes; for [`FilterField::AppId`], a path in UTF-16 with a zero at its end.
    Blob(Vec<u8>),
    /// The security identifier of a user, service or package.
    Sid(String),
    /// A security descriptor as text (SDDL).
    SecurityDescriptor(String),
    /// Of a type that is not interpreted; its name.
    Other(String),
}

impl Value {
    /// Its numeric value.
    #[must_use]
    pub fn number(&self) -> Option<u128> {
        match self {
            Self::U8(number) => Some((*number).into()),
            Self::U16(number) => Some((*number).into()),
            Self::U32(number) => Some((*number).into()),
            Self::U64(number) => Some((*number).into()),
            Self::V6(number) => Some(*number),
            _ => None,
        }
    }
}

/// One comparison; a filter matches if those of all its fields hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterCondition {
    /// The compared field.
    pub field: FilterField,
    /// The kind of comparison.
    pub match_type: MatchType,
    /// The value.
    pub value: Value,
}

/// What a callout, i.e. code of a driver, may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalloutKind {
    /// Permit or block.
    Terminating,
    /// Neither.
    Inspection,
    /// Permit, block, or neither.
    Unknown,
}

/// The action of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterAction {
    /// Permits it, as far as this sublayer is concerned.
    Permit,
    /// Drops it.
    Block,
    /// Calls a driver.
    Callout {
        /// What it may answer.
        kind: CalloutKind,
        /// The callout.
        callout: String,
    },
}

/// The weight given when a filter is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    /// Exactly this weight.
    Exact(u64),
    /// One of 16 ranges; within it, Windows chooses.
    Within(u8),
    /// Windows chooses, below 2^60.
    Automatic,
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its key.
    pub key: ObjectKey,
    /// Its display name; for our filters, the rule.
    pub name: Arc<str>,
    /// Its description.
    pub description: Arc<str>,
    /// Its flags.
    pub flags: Flags,
    /// Its provider.
    pub provider: Option<ObjectKey>,
    /// Its layer.
    pub layer: Layer,
    /// Its sublayer.
    pub sublayer: ObjectKey,
    /// Its weight as given when it was added.
    pub weight: Weight,
    /// The weight computed by Windows; known for filters that were read.
    pub effective_weight: Option<u64>,
    /// Its conditions.
    pub conditions: Vec<FilterCondition>,
    /// Its action.
    pub action: FilterAction,
    /// The number by which events refer to it; known for filters that were read.
    pub id: Option<u64>,
}

impl Filter {
    /// The effective weight. If Windows chose it and it was not read, the lowest of its range.
    #[must_use]
    pub fn rank(&self) -> u64 {
        match (self.effective_weight, self.weight) {
            (Some(weight), _) | (None, Weight::Exact(weight)) => weight,
            (None, Weight::Within(range)) => u64::from(range & 15) << 60,
            (None, Weight::Automatic) => 0,
        }
    }

    /// Whether both have the same key, conditions and action.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let set_by_windows = Flags::INDEXED.with(Flags::DISABLED);
        let said = |filter: &Self| {
            let flags = filter.flags.without(set_by_windows);
            (flags, filter.rank(), filter.key.clone(), filter.action.clone())
        };
        said(self) == said(other)
            && self.name == other.name
            && says_the_same(&self.description, &other.description)
            && (&self.provider, &self.sublayer) == (&other.provider, &other.sublayer)
            && self.layer == other.layer
            && self.conditions == other.conditions
    }
}

/// Whether two descriptions are the same, but for the revision that a plan was made from.
fn says_the_same(one: &str, other: &str) -> bool {
    let digest = |text| read_mark(text).map(|(_, digest)| digest);
    one == other || digest(one).is_some_and(|of_one| digest(other) == Some(of_one))
}

/// Filters that are arbitrated together, before and after those of other sublayers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubLayer {
    /// Its key.
    pub key: ObjectKey,
    /// Its display name.
    pub name: Arc<str>,
    /// Its provider.
    pub provider: Option<ObjectKey>,
    /// Sublayers with a higher weight are evaluated first.
    pub weight: u16,
    /// Whether it outlives the filter engine.
    pub lifetime: Lifetime,
}

/// A product that manages filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its key.
    pub key: ObjectKey,
    /// Its display name.
    pub name: Arc<str>,
    /// The service without which its persistent objects are not in force.
    pub service: Option<Arc<str>>,
    /// Whether it outlives the filter engine.
    pub lifetime: Lifetime,
}

/// The lifetime of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// Until the session that added it ends, also if its program is killed.
    Dynamic,
    /// Until the filter engine stops.
    Static,
    /// Until it is deleted.
    Persistent,
    /// Until it is deleted; in force only before the filter engine has started.
    BootTime,
}

/// The content of the filter engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineState {
    /// All providers.
    pub providers: Vec<Provider>,
    /// All sublayers.
    pub sublayers: Vec<SubLayer>,
    /// All filters, in the order in which they were added, if that is known.
    pub filters: Vec<Filter>,
    /// The filters added by the session of the running trial. They can't be distinguished when they are read.
    pub dynamic: BTreeSet<ObjectKey>,
}

impl EngineState {
    /// The name and key of a provider, for people.
    #[must_use]
    pub fn provider_name(&self, key: Option<&ObjectKey>) -> String {
        let Some(key) = key else { return "no provider".to_owned() };
        match self.providers.iter().find(|provider| provider.key == *key) {
            Some(provider) => format!("{} {key}", provider.name),
            None => key.to_string(),
        }
    }

    /// A sublayer by its key.
    #[must_use]
    pub fn sublayer(&self, key: &ObjectKey) -> Option<&SubLayer> {
        self.sublayers.iter().find(|sublayer| sublayer.key == *key)
    }
}
