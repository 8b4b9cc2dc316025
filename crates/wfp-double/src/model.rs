//! What the engine holds, as the values that plans are made of; and what others hold, as the engine has it.

use xshield_firewall::wfp::model::{
    CalloutKind, EngineState, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType,
    ObjectKey, Provider, SubLayer, Value, Weight,
};
use xshield_firewall::wfp::names::{FilterField, Layer};
use xshield_firewall::wfp::program::Sid;
use xshield_firewall::wfp::{Guid, security_descriptor};

use crate::store::{Key, RawCondition, RawFilter, RawProvider, RawSubLayer, RawValue, Store, kind};

/// By their numbers in `fwptypes.h`.
const MATCH_TYPES: [MatchType; 13] = [
    MatchType::Equal,
    MatchType::Greater,
    MatchType::Less,
    MatchType::GreaterOrEqual,
    MatchType::LessOrEqual,
    MatchType::Range,
    MatchType::FlagsAllSet,
    MatchType::FlagsAnySet,
    MatchType::FlagsNoneSet,
    MatchType::EqualCaseInsensitive,
    MatchType::NotEqual,
    MatchType::Prefix,
    MatchType::NotPrefix,
];

impl Store {
    /// What the engine holds, filters in the order in which they were added.
    #[must_use]
    pub fn state(&self) -> EngineState {
        let mut filters: Vec<&RawFilter> = self.filters.values().collect();
        filters.sort_by_key(|filter| filter.id);
        let dynamic = filters.iter().filter(|filter| filter.session.is_some());
        EngineState {
            providers: self.providers.values().map(provider).collect(),
            sublayers: self.sublayers.values().map(sublayer).collect(),
            dynamic: dynamic.map(|filter| object(&filter.key)).collect(),
            filters: filters.into_iter().map(filter_of).collect(),
        }
    }

    /// Puts in what a state holds: products of others, for instance those of a real machine. Fields and
    /// layers that the engine's contract does not know are kept.
    pub fn insert(&mut self, state: &EngineState) {
        for provider in &state.providers {
            let key = key(&provider.key);
            self.providers.insert(
                key.clone(),
                RawProvider {
                    key,
                    name: Some(provider.name.to_string()),
                    flags: (provider.lifetime == Lifetime::Persistent).into(),
                    service: provider.service.as_ref().map(ToString::to_string),
                    session: None,
                },
            );
        }
        for sublayer in &state.sublayers {
            let key_of = key(&sublayer.key);
            self.sublayers.insert(
                key_of.clone(),
                RawSubLayer {
                    key: key_of,
                    name: Some(sublayer.name.to_string()),
                    flags: (sublayer.lifetime == Lifetime::Persistent).into(),
                    provider: sublayer.provider.as_ref().map(key),
                    weight: sublayer.weight,
                    session: None,
                },
            );
        }
        for filter in &state.filters {
            self.last_id += 1;
            let raw = raw_filter(filter, self.last_id);
            self.filters.insert(raw.key.clone(), raw);
        }
    }
}

fn object(key: &str) -> ObjectKey {
    key.parse::<Guid>().map_or_else(|_| ObjectKey::BuiltIn(key.into()), ObjectKey::Guid)
}

/// The GUID of an object; of a built-in one, any that is always the same.
fn key(key: &ObjectKey) -> Key {
    match key {
        ObjectKey::Guid(guid) => guid.to_string(),
        ObjectKey::BuiltIn(name) => Guid::of(&["built-in", name]).to_string(),
    }
}

fn lifetime(flags: u32, session: Option<u64>) -> Lifetime {
    match (flags & 1, session) {
        (0, Some(_)) => Lifetime::Dynamic,
        (0, None) => Lifetime::Static,
        _ => Lifetime::Persistent,
    }
}

fn provider(raw: &RawProvider) -> Provider {
    Provider {
        key: object(&raw.key),
        name: raw.name.as_deref().unwrap_or_default().into(),
        service: raw.service.as_deref().map(Into::into),
        lifetime: lifetime(raw.flags, raw.session),
    }
}

fn sublayer(raw: &RawSubLayer) -> SubLayer {
    SubLayer {
        key: object(&raw.key),
        name: raw.name.as_deref().unwrap_or_default().into(),
        provider: raw.provider.as_deref().map(object),
        weight: raw.weight,
        lifetime: lifetime(raw.flags, raw.session),
    }
}

fn filter_of(raw: &RawFilter) -> Filter {
    let callout =
        |kind| FilterAction::Callout { kind, callout: raw.callout.clone().unwrap_or_default() };
    Filter {
        key: object(&raw.key),
        name: raw.name.as_deref().unwrap_or_default().into(),
        description: raw.description.as_deref().unwrap_or_default().into(),
        flags: Flags(raw.flags),
        provider: raw.provider.as_deref().map(object),
        layer: guid(&raw.layer)
            .map_or_else(|| Layer::Other(raw.layer.as_str().into()), Layer::of_guid),
        sublayer: object(&raw.sublayer),
        weight: match raw.weight {
            RawValue::Number(kind::UINT64, weight) => Weight::Exact(weight),
            RawValue::Number(kind::UINT8, range) => {
                Weight::Within(u8::try_from(range).unwrap_or(u8::MAX))
            }
            _ => Weight::Automatic,
        },
        effective_weight: Some(raw.effective_weight),
        conditions: raw.conditions.iter().map(condition).collect(),
        action: match raw.action {
            0x1001 => FilterAction::Block,
            0x1002 => FilterAction::Permit,
            0x5003 => callout(CalloutKind::Terminating),
            0x6004 => callout(CalloutKind::Inspection),
            _ => callout(CalloutKind::Unknown),
        },
        id: Some(raw.id),
    }
}

fn guid(text: &str) -> Option<Guid> {
    text.parse().ok()
}

fn condition(raw: &RawCondition) -> FilterCondition {
    let known = usize::try_from(raw.match_type).ok().and_then(|at| MATCH_TYPES.get(at));
    let field = guid(&raw.field);
    FilterCondition {
        field: field
            .map_or_else(|| FilterField::Other(raw.field.as_str().into()), FilterField::of_guid),
        match_type: known.copied().unwrap_or(MatchType::Equal),
        value: match known {
            Some(_) => value(&raw.value),
            None => Value::Other(format!("match type {}", raw.match_type)),
        },
    }
}

fn value(raw: &RawValue) -> Value {
    let other = || Value::Other(format!("type {}", raw.kind()));
    match raw {
        RawValue::Number(kind::EMPTY, _) => Value::Empty,
        RawValue::Number(kind::UINT64, number) => Value::U64(*number),
        RawValue::Number(kind, number) => {
            let number = *number;
            let read = match *kind {
                kind::UINT8 => u8::try_from(number).ok().map(Value::U8),
                kind::UINT16 => u16::try_from(number).ok().map(Value::U16),
                kind::UINT32 => u32::try_from(number).ok().map(Value::U32),
                _ => None,
            };
            read.unwrap_or_else(other)
        }
        RawValue::Bytes(kind, bytes) => {
            let read = match *kind {
                kind::BYTES16 => <[u8; 16]>::try_from(&bytes[..])
                    .ok()
                    .map(|bytes| Value::V6(u128::from_be_bytes(bytes))),
                kind::BLOB => Some(Value::Blob(bytes.clone())),
                kind::SID => security_descriptor::sid(bytes).map(|sid| Value::Sid(sid.to_string())),
                kind::DESCRIPTOR => security_descriptor::text(bytes).map(Value::SecurityDescriptor),
                _ => None,
            };
            read.unwrap_or_else(other)
        }
        RawValue::V4(address, mask) => Value::V4Mask { address: *address, mask: *mask },
        RawValue::V6(address, length) => {
            Value::V6Mask { address: u128::from_be_bytes(*address), length: *length }
        }
        RawValue::Range(ends) => Value::Range(Box::new((value(&ends.0), value(&ends.1)))),
    }
}

fn raw_filter(filter: &Filter, id: u64) -> RawFilter {
    // A GUID as the name of what has no other; else any GUID that is always the same.
    let name_of = |name: &str, known: Option<Guid>| {
        known.or_else(|| guid(name)).unwrap_or_else(|| Guid::of(&["named", name])).to_string()
    };
    let (action, callout) = match &filter.action {
        FilterAction::Block => (0x1001, None),
        FilterAction::Permit => (0x1002, None),
        FilterAction::Callout { kind, callout } => {
            let action = match kind {
                CalloutKind::Terminating => 0x5003,
                CalloutKind::Inspection => 0x6004,
                CalloutKind::Unknown => 0x4005,
            };
            (action, Some(name_of(callout, guid(callout))))
        }
    };
    let conditions = filter.conditions.iter().map(|condition| {
        let match_type = MATCH_TYPES.iter().position(|kind| *kind == condition.match_type);
        RawCondition {
            field: name_of(condition.field.name(), condition.field.guid()),
            match_type: match_type.and_then(|at| i32::try_from(at).ok()).unwrap_or_default(),
            value: raw_value(&condition.value),
        }
    });
    RawFilter {
        key: key(&filter.key),
        name: Some(filter.name.to_string()),
        description: Some(filter.description.to_string()),
        flags: filter.flags.0,
        provider: filter.provider.as_ref().map(key),
        layer: name_of(filter.layer.name(), filter.layer.guid()),
        sublayer: key(&filter.sublayer),
        weight: match filter.weight {
            Weight::Exact(weight) => RawValue::Number(kind::UINT64, weight),
            Weight::Within(range) => RawValue::Number(kind::UINT8, range.into()),
            Weight::Automatic => RawValue::Number(kind::EMPTY, 0),
        },
        effective_weight: filter.rank(),
        conditions: conditions.collect(),
        action,
        callout,
        id,
        session: None,
    }
}

fn raw_value(value: &Value) -> RawValue {
    match value {
        Value::Empty | Value::Other(_) => RawValue::Number(kind::EMPTY, 0),
        Value::U8(number) => RawValue::Number(kind::UINT8, (*number).into()),
        Value::U16(number) => RawValue::Number(kind::UINT16, (*number).into()),
        Value::U32(number) => RawValue::Number(kind::UINT32, (*number).into()),
        Value::U64(number) => RawValue::Number(kind::UINT64, *number),
        Value::V6(address) => RawValue::Bytes(kind::BYTES16, address.to_be_bytes().to_vec()),
        Value::Range(ends) => RawValue::Range(Box::new((raw_value(&ends.0), raw_value(&ends.1)))),
        Value::V4Mask { address, mask } => RawValue::V4(*address, *mask),
        Value::V6Mask { address, length } => RawValue::V6(address.to_be_bytes(), *length),
        Value::Blob(bytes) => RawValue::Bytes(kind::BLOB, bytes.clone()),
        Value::Sid(text) => {
            let sid = Sid::try_from(text.clone()).ok();
            let bytes = sid.and_then(|sid| security_descriptor::sid_bytes(&sid));
            RawValue::Bytes(kind::SID, bytes.unwrap_or_default())
        }
        Value::SecurityDescriptor(text) => {
            RawValue::Bytes(kind::DESCRIPTOR, security_descriptor::bytes(text).unwrap_or_default())
        }
    }
}
