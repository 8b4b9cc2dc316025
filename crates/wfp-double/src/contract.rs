//! Which changes the filter engine refuses: the documented contract, with the codes of `winerror.h`.

use std::collections::HashSet;

use xshield_firewall::wfp::security_descriptor;

use crate::store::{Key, RawCondition, RawFilter, RawProvider, RawSubLayer, RawValue, Store, kind};

/// Codes that the double answers with.
#[expect(missing_docs, reason = "the names of winerror.h")]
pub mod code {
    pub const SUCCESS: u32 = 0;
    pub const INVALID_HANDLE: u32 = 6;
    pub const INTERNAL_ERROR: u32 = 1359;
    pub const INVALID_SECURITY_DESCRIPTOR: u32 = 1338;
    pub const CONDITION_NOT_FOUND: u32 = 0x8032_0002;
    pub const FILTER_NOT_FOUND: u32 = 0x8032_0003;
    pub const LAYER_NOT_FOUND: u32 = 0x8032_0004;
    pub const PROVIDER_NOT_FOUND: u32 = 0x8032_0005;
    pub const SUBLAYER_NOT_FOUND: u32 = 0x8032_0007;
    pub const ALREADY_EXISTS: u32 = 0x8032_0009;
    pub const IN_USE: u32 = 0x8032_000a;
    pub const DYNAMIC_SESSION_IN_PROGRESS: u32 = 0x8032_000b;
    pub const WRONG_SESSION: u32 = 0x8032_000c;
    pub const NO_TXN_IN_PROGRESS: u32 = 0x8032_000d;
    pub const TXN_IN_PROGRESS: u32 = 0x8032_000e;
    pub const INCOMPATIBLE_TXN: u32 = 0x8032_0011;
    pub const TIMEOUT: u32 = 0x8032_0012;
    pub const LIFETIME_MISMATCH: u32 = 0x8032_0016;
    pub const NULL_POINTER: u32 = 0x8032_001c;
    pub const INVALID_ENUMERATOR: u32 = 0x8032_001d;
    pub const INVALID_FLAGS: u32 = 0x8032_001e;
    pub const INVALID_NET_MASK: u32 = 0x8032_001f;
    pub const INVALID_RANGE: u32 = 0x8032_0020;
    pub const ZERO_LENGTH_ARRAY: u32 = 0x8032_0022;
    pub const NULL_DISPLAY_NAME: u32 = 0x8032_0023;
    pub const INVALID_ACTION_TYPE: u32 = 0x8032_0024;
    pub const INVALID_WEIGHT: u32 = 0x8032_0025;
    pub const MATCH_TYPE_MISMATCH: u32 = 0x8032_0026;
    pub const TYPE_MISMATCH: u32 = 0x8032_0027;
    pub const DUPLICATE_CONDITION: u32 = 0x8032_002a;
}

const FLAG_PERSISTENT: u32 = 1;
const FLAG_BOOT_TIME: u32 = 2;
/// Flags that a caller may set: persistent, boot-time, context, clear right, permit if unregistered.
const FLAGS_TO_SET: u32 = 0x1f;
const ACTIONS: [u32; 5] = [0x1001, 0x1002, 0x5003, 0x6004, 0x4005];
const CALLOUT: u32 = 0x4000;

/// The session that makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A dynamic one.
    Dynamic(u64),
    /// Any other.
    Lasting,
}

/// How long an object lives, in the order of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ObjectLifetime {
    Session,
    EngineRun,
    ForGood,
}

fn lives(flags: u32, lasting: u32, session: Option<u64>) -> ObjectLifetime {
    match (flags & lasting, session) {
        (0, Some(_)) => ObjectLifetime::Session,
        (0, None) => ObjectLifetime::EngineRun,
        _ => ObjectLifetime::ForGood,
    }
}

/// The numbers of a layer's fields and what type they have there (`fwpmu.h`, and Microsoft's page on the
/// conditions that each layer has).
const FIELDS: [(&str, i32, bool); 8] = [
    ("{d78e1e87-8644-4ea5-9437-d809ecefc971}", kind::BLOB, false),
    ("{af043a0a-b34d-4f86-979c-c90371af6e66}", kind::DESCRIPTOR, false),
    ("{d9ee00de-c1ef-4617-bfe3-ffd8f5a08957}", kind::EMPTY, true),
    ("{b235ae9a-1d64-49b8-a44c-5ff3d9095045}", kind::EMPTY, true),
    ("{3971ef2b-623e-4f9a-8cb1-6e79b806b9a7}", kind::UINT8, false),
    ("{0c1ba1af-5765-453f-af22-a8f791ac775b}", kind::UINT16, true),
    ("{c35a604d-d22b-4e1a-91b4-68f674ee674b}", kind::UINT16, true),
    ("{632ce23b-5167-435c-86d7-e903684aa80c}", kind::UINT32, true),
];
/// The layers, whether their addresses are of IPv6, and whether they are those of ICMP errors, which have
/// only the fields marked above.
const LAYERS: [(&str, bool, bool); 8] = [
    ("{e1cd9fe7-f4b5-4273-96c0-592e487b8650}", false, false),
    ("{a3b42c97-9f04-4672-b87e-cee9c483257f}", true, false),
    ("{c38d57d1-05a7-4c33-904f-7fbceee60e82}", false, false),
    ("{4a72393b-319f-44bc-84c3-ba54dcb3b6b4}", true, false),
    ("{61499990-3cb6-4e84-b950-53b94b6964f3}", false, true),
    ("{65f9bdff-3b2d-4e5d-b8c6-c720651fe898}", true, true),
    ("{41390100-564c-4b32-bc1d-718048354d7c}", false, true),
    ("{7fb03b60-7b8d-4dfa-badd-980176fc4e12}", true, true),
];

impl Store {
    /// `FwpmProviderAdd0`.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn add_provider(&mut self, mut provider: RawProvider, by: By) -> Result<(), u32> {
        if provider.name.is_none() {
            return Err(code::NULL_DISPLAY_NAME);
        }
        if provider.flags & !FLAG_PERSISTENT != 0 {
            return Err(code::INVALID_FLAGS);
        }
        provider.session = session(provider.flags, FLAG_PERSISTENT, by)?;
        if self.providers.contains_key(&provider.key) {
            return Err(code::ALREADY_EXISTS);
        }
        self.providers.insert(provider.key.clone(), provider);
        Ok(())
    }

    /// `FwpmSubLayerAdd0`.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn add_sublayer(&mut self, mut sublayer: RawSubLayer, by: By) -> Result<(), u32> {
        if sublayer.name.is_none() {
            return Err(code::NULL_DISPLAY_NAME);
        }
        if sublayer.flags & !FLAG_PERSISTENT != 0 {
            return Err(code::INVALID_FLAGS);
        }
        sublayer.session = session(sublayer.flags, FLAG_PERSISTENT, by)?;
        if self.sublayers.contains_key(&sublayer.key) {
            return Err(code::ALREADY_EXISTS);
        }
        let own = lives(sublayer.flags, FLAG_PERSISTENT, sublayer.session);
        self.refers_to_provider(sublayer.provider.as_ref(), own)?;
        self.sublayers.insert(sublayer.key.clone(), sublayer);
        Ok(())
    }

    /// `FwpmFilterAdd0`; the number of the new filter.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn add_filter(&mut self, mut filter: RawFilter, by: By) -> Result<u64, u32> {
        if filter.name.is_none() {
            return Err(code::NULL_DISPLAY_NAME);
        }
        let lasting = FLAG_PERSISTENT | FLAG_BOOT_TIME;
        if filter.flags & !FLAGS_TO_SET != 0 || filter.flags & lasting == lasting {
            return Err(code::INVALID_FLAGS);
        }
        filter.session = session(filter.flags, lasting, by)?;
        if self.filters.contains_key(&filter.key) {
            return Err(code::ALREADY_EXISTS);
        }
        let layer = LAYERS.iter().find(|(key, _, _)| *key == filter.layer);
        let &(_, is_v6, is_error) = layer.ok_or(code::LAYER_NOT_FOUND)?;
        let own = lives(filter.flags, lasting, filter.session);
        self.refers_to_provider(filter.provider.as_ref(), own)?;
        let sublayer = self.sublayers.get(&filter.sublayer).ok_or(code::SUBLAYER_NOT_FOUND)?;
        if lives(sublayer.flags, FLAG_PERSISTENT, sublayer.session) < own {
            return Err(code::LIFETIME_MISMATCH);
        }
        if !ACTIONS.contains(&filter.action) {
            return Err(code::INVALID_ACTION_TYPE);
        }
        let mut fields = HashSet::new();
        for condition in &filter.conditions {
            check(condition, is_v6, is_error)?;
            // Pages differ on what several conditions on a field mean; here they are refused.
            if !fields.insert(&condition.field) {
                return Err(code::DUPLICATE_CONDITION);
            }
        }
        self.last_id += 1;
        filter.id = self.last_id;
        filter.effective_weight = match filter.weight {
            RawValue::Number(kind::UINT64, weight) => weight,
            RawValue::Number(kind::UINT8, range @ 0..=15) => range << 60 | filter.id,
            RawValue::Number(kind::EMPTY, _) => filter.conditions.len() as u64 + 1,
            _ => return Err(code::INVALID_WEIGHT),
        };
        if filter.action & CALLOUT == 0 {
            filter.callout = None;
        }
        self.filters.insert(filter.key.clone(), filter);
        Ok(self.last_id)
    }

    /// `FwpmFilterDeleteByKey0`.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn delete_filter(&mut self, key: &str, by: By) -> Result<(), u32> {
        let filter = self.filters.get(key).ok_or(code::FILTER_NOT_FOUND)?;
        may_delete(filter.session, by)?;
        self.filters.remove(key);
        Ok(())
    }

    /// `FwpmSubLayerDeleteByKey0`.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn delete_sublayer(&mut self, key: &str, by: By) -> Result<(), u32> {
        let sublayer = self.sublayers.get(key).ok_or(code::SUBLAYER_NOT_FOUND)?;
        may_delete(sublayer.session, by)?;
        if self.filters.values().any(|filter| filter.sublayer == key) {
            return Err(code::IN_USE);
        }
        self.sublayers.remove(key);
        Ok(())
    }

    /// `FwpmProviderDeleteByKey0`.
    ///
    /// # Errors
    /// The code of the refusal.
    pub fn delete_provider(&mut self, key: &str, by: By) -> Result<(), u32> {
        let provider = self.providers.get(key).ok_or(code::PROVIDER_NOT_FOUND)?;
        may_delete(provider.session, by)?;
        let is_it = |other: Option<&Key>| other.is_some_and(|other| other == key);
        if self.filters.values().any(|filter| is_it(filter.provider.as_ref()))
            || self.sublayers.values().any(|sublayer| is_it(sublayer.provider.as_ref()))
        {
            return Err(code::IN_USE);
        }
        self.providers.remove(key);
        Ok(())
    }

    fn refers_to_provider(&self, key: Option<&Key>, own: ObjectLifetime) -> Result<(), u32> {
        let Some(key) = key else { return Ok(()) };
        let provider = self.providers.get(key).ok_or(code::PROVIDER_NOT_FOUND)?;
        if lives(provider.flags, FLAG_PERSISTENT, provider.session) < own {
            return Err(code::LIFETIME_MISMATCH);
        }
        Ok(())
    }
}

/// The dynamic session that an object belongs to: it can't hold what lasts.
fn session(flags: u32, lasting: u32, by: By) -> Result<Option<u64>, u32> {
    match by {
        By::Dynamic(_) if flags & lasting != 0 => Err(code::LIFETIME_MISMATCH),
        By::Dynamic(session) => Ok(Some(session)),
        By::Lasting => Ok(None),
    }
}

/// "Can be called within a dynamic session if the object was added during the same session." Of an object
/// of a dynamic session and a caller in none, the documentation says nothing: refused.
fn may_delete(session: Option<u64>, by: By) -> Result<(), u32> {
    match (session, by) {
        (None, By::Lasting) => Ok(()),
        (Some(session), By::Dynamic(own)) if session == own => Ok(()),
        (None, By::Dynamic(_)) => Err(code::DYNAMIC_SESSION_IN_PROGRESS),
        (Some(_), _) => Err(code::WRONG_SESSION),
    }
}

/// Match types, by their number: those that order, those of ranges, those of bits.
const ORDERING: std::ops::RangeInclusive<i32> = 1..=4;
const RANGE: i32 = 5;
const BITS: std::ops::RangeInclusive<i32> = 6..=8;
const EQUAL: i32 = 0;
const NOT_EQUAL: i32 = 10;

fn check(condition: &RawCondition, is_v6: bool, is_error: bool) -> Result<(), u32> {
    let field = FIELDS.iter().find(|(key, _, _)| *key == condition.field);
    let &(_, wanted, at_errors) = field.ok_or(code::CONDITION_NOT_FOUND)?;
    if is_error && !at_errors {
        return Err(code::CONDITION_NOT_FOUND);
    }
    let (wanted, network) = match (wanted, is_v6) {
        (kind::EMPTY, false) => (kind::UINT32, Some(kind::V4_NETWORK)),
        (kind::EMPTY, true) => (kind::BYTES16, Some(kind::V6_NETWORK)),
        (wanted, _) => (wanted, None),
    };
    let is_number = (kind::UINT8..=kind::UINT64).contains(&wanted);
    let may_match = match condition.match_type {
        EQUAL | NOT_EQUAL => condition.value.kind() != kind::RANGE,
        RANGE => condition.value.kind() == kind::RANGE && (is_number || wanted == kind::BYTES16),
        other => is_number && (ORDERING.contains(&other) || BITS.contains(&other)),
    };
    if !may_match {
        return Err(code::MATCH_TYPE_MISMATCH);
    }
    match &condition.value {
        RawValue::Range(ends) => {
            if ends.0.kind() != wanted || ends.1.kind() != wanted {
                return Err(code::TYPE_MISMATCH);
            }
            let is_ordered = match (&ends.0, &ends.1) {
                (RawValue::Number(_, low), RawValue::Number(_, high)) => low <= high,
                (RawValue::Bytes(_, low), RawValue::Bytes(_, high)) => low <= high,
                _ => false,
            };
            if is_ordered { Ok(()) } else { Err(code::INVALID_RANGE) }
        }
        value if value.kind() != wanted && Some(value.kind()) != network => {
            Err(code::TYPE_MISMATCH)
        }
        RawValue::V4(_, mask) if mask.leading_ones() + mask.trailing_zeros() != 32 => {
            Err(code::INVALID_NET_MASK)
        }
        RawValue::V6(_, length) if *length > 128 => Err(code::INVALID_NET_MASK),
        RawValue::Bytes(kind::BLOB, bytes) if bytes.is_empty() => Err(code::ZERO_LENGTH_ARRAY),
        RawValue::Bytes(kind::DESCRIPTOR, bytes) if security_descriptor::text(bytes).is_none() => {
            Err(code::INVALID_SECURITY_DESCRIPTOR)
        }
        _ => Ok(()),
    }
}
