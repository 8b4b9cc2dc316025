//! Objects as the structures that Windows' functions take.
#![expect(unsafe_code, reason = "frees the memory to which Windows' structures point")]

use std::any::Any;
use std::ptr::{null, null_mut};

use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_PERMIT, FWP_BYTE_ARRAY16, FWP_BYTE_ARRAY16_TYPE, FWP_BYTE_BLOB,
    FWP_BYTE_BLOB_TYPE, FWP_CONDITION_VALUE0, FWP_CONDITION_VALUE0_0, FWP_EMPTY, FWP_MATCH_EQUAL,
    FWP_MATCH_EQUAL_CASE_INSENSITIVE, FWP_MATCH_FLAGS_ALL_SET, FWP_MATCH_FLAGS_ANY_SET,
    FWP_MATCH_FLAGS_NONE_SET, FWP_MATCH_GREATER, FWP_MATCH_GREATER_OR_EQUAL, FWP_MATCH_LESS,
    FWP_MATCH_LESS_OR_EQUAL, FWP_MATCH_NOT_EQUAL, FWP_MATCH_NOT_PREFIX, FWP_MATCH_PREFIX,
    FWP_MATCH_RANGE, FWP_MATCH_TYPE, FWP_RANGE_TYPE, FWP_RANGE0, FWP_SECURITY_DESCRIPTOR_TYPE,
    FWP_SID, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_UINT64, FWP_V4_ADDR_AND_MASK, FWP_V4_ADDR_MASK,
    FWP_V6_ADDR_AND_MASK, FWP_V6_ADDR_MASK, FWP_VALUE0, FWP_VALUE0_0, FWPM_DISPLAY_DATA0,
    FWPM_FILTER_CONDITION0, FWPM_FILTER0, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0,
    FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;

use crate::wfp::filter_engine::EngineFault;
use crate::wfp::model::{
    Filter, FilterAction, FilterCondition, Lifetime, MatchType, ObjectKey, Provider, SubLayer,
    Value, Weight,
};
use crate::wfp::program::Sid;
use crate::wfp::security_descriptor;

/// The numbers of match types, for both directions.
pub(super) const MATCH_TYPES: [(MatchType, FWP_MATCH_TYPE); 13] = [
    (MatchType::Equal, FWP_MATCH_EQUAL),
    (MatchType::NotEqual, FWP_MATCH_NOT_EQUAL),
    (MatchType::Greater, FWP_MATCH_GREATER),
    (MatchType::Less, FWP_MATCH_LESS),
    (MatchType::GreaterOrEqual, FWP_MATCH_GREATER_OR_EQUAL),
    (MatchType::LessOrEqual, FWP_MATCH_LESS_OR_EQUAL),
    (MatchType::Range, FWP_MATCH_RANGE),
    (MatchType::FlagsAllSet, FWP_MATCH_FLAGS_ALL_SET),
    (MatchType::FlagsAnySet, FWP_MATCH_FLAGS_ANY_SET),
    (MatchType::FlagsNoneSet, FWP_MATCH_FLAGS_NONE_SET),
    (MatchType::EqualCaseInsensitive, FWP_MATCH_EQUAL_CASE_INSENSITIVE),
    (MatchType::Prefix, FWP_MATCH_PREFIX),
    (MatchType::NotPrefix, FWP_MATCH_NOT_PREFIX),
];

/// Memory to which structures point, as long as this value lives.
#[derive(Default)]
pub(super) struct Memory(Vec<*mut dyn Any>);

impl Memory {
    /// Keeps a value at a place that does not change.
    fn keep<T: Any>(&mut self, value: T) -> *mut T {
        let place = Box::into_raw(Box::new(value));
        self.0.push(place);
        place
    }

    fn keep_all<T: Any>(&mut self, values: Vec<T>) -> *mut T {
        let place = self.keep(values);
        // SAFETY: the vector is at `place` until `self` is dropped, and nobody else refers to it.
        unsafe { (*place).as_mut_ptr() }
    }

    /// Text as Windows takes it; none as a null pointer.
    pub(super) fn wide(&mut self, text: &str) -> *mut u16 {
        if text.is_empty() {
            return null_mut();
        }
        self.keep_all(text.encode_utf16().chain([0]).collect())
    }

    fn blob(&mut self, bytes: Vec<u8>) -> Result<FWP_BYTE_BLOB, EngineFault> {
        let size = u32::try_from(bytes.len())
            .map_err(|_| EngineFault::Malformed("a value is longer than 4 GiB".to_owned()))?;
        Ok(FWP_BYTE_BLOB { size, data: self.keep_all(bytes) })
    }

    fn display(&mut self, name: &str, description: &str) -> FWPM_DISPLAY_DATA0 {
        FWPM_DISPLAY_DATA0 { name: self.wide(name), description: self.wide(description) }
    }

    fn key_of(&mut self, provider: Option<&ObjectKey>) -> Result<*mut GUID, EngineFault> {
        Ok(match provider {
            Some(key) => self.keep(guid(key)?),
            None => null_mut(),
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for place in self.0.drain(..) {
            // SAFETY: every pointer came from `Box::into_raw` in `keep` and is freed once. Structures
            // that point there are not used after the value that owns their memory.
            drop(unsafe { Box::from_raw(place) });
        }
    }
}

/// A key as Windows has it.
pub(super) fn guid(key: &ObjectKey) -> Result<GUID, EngineFault> {
    match key {
        ObjectKey::Guid(guid) => Ok(GUID::from_u128(guid.0)),
        ObjectKey::BuiltIn(name) => {
            Err(EngineFault::Malformed(format!("the GUID of {name} is not known here")))
        }
    }
}

/// A provider; it points into `memory`.
pub(super) fn provider(
    provider: &Provider,
    memory: &mut Memory,
) -> Result<FWPM_PROVIDER0, EngineFault> {
    Ok(FWPM_PROVIDER0 {
        providerKey: guid(&provider.key)?,
        displayData: memory.display(&provider.name, ""),
        flags: match provider.lifetime {
            Lifetime::Persistent => FWPM_PROVIDER_FLAG_PERSISTENT,
            Lifetime::Dynamic | Lifetime::Static | Lifetime::BootTime => 0,
        },
        providerData: FWP_BYTE_BLOB { size: 0, data: null_mut() },
        serviceName: memory.wide(provider.service.as_deref().unwrap_or_default()),
    })
}

/// A sublayer; it points into `memory`.
pub(super) fn sublayer(
    sublayer: &SubLayer,
    memory: &mut Memory,
) -> Result<FWPM_SUBLAYER0, EngineFault> {
    Ok(FWPM_SUBLAYER0 {
        subLayerKey: guid(&sublayer.key)?,
        displayData: memory.display(&sublayer.name, ""),
        flags: match sublayer.lifetime {
            Lifetime::Persistent => FWPM_SUBLAYER_FLAG_PERSISTENT,
            Lifetime::Dynamic | Lifetime::Static | Lifetime::BootTime => 0,
        },
        providerKey: memory.key_of(sublayer.provider.as_ref())?,
        providerData: FWP_BYTE_BLOB { size: 0, data: null_mut() },
        weight: sublayer.weight,
    })
}

/// A filter; it points into `memory`.
pub(super) fn filter(filter: &Filter, memory: &mut Memory) -> Result<FWPM_FILTER0, EngineFault> {
    let layer = filter.layer.guid().ok_or_else(|| {
        EngineFault::Malformed(format!("the GUID of layer {} is not known here", filter.layer))
    })?;
    let conditions = filter.conditions.iter().map(|compared| condition(compared, memory));
    let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
    let action = match filter.action {
        FilterAction::Permit => FWP_ACTION_PERMIT,
        FilterAction::Block => FWP_ACTION_BLOCK,
        FilterAction::Callout { .. } => {
            return Err(EngineFault::Malformed("a filter of ours asks a driver".to_owned()));
        }
    };
    let mut native = FWPM_FILTER0 {
        filterKey: guid(&filter.key)?,
        displayData: memory.display(&filter.name, &filter.description),
        flags: filter.flags.0,
        providerKey: memory.key_of(filter.provider.as_ref())?,
        layerKey: GUID::from_u128(layer.0),
        subLayerKey: guid(&filter.sublayer)?,
        weight: weight(filter.weight, memory),
        numFilterConditions: u32::try_from(conditions.len()).map_err(|_| {
            EngineFault::Malformed("a filter has more than 2^32 conditions".to_owned())
        })?,
        filterCondition: if conditions.is_empty() {
            null_mut()
        } else {
            memory.keep_all(conditions)
        },
        ..FWPM_FILTER0::default()
    };
    native.action.r#type = action;
    Ok(native)
}

fn weight(weight: Weight, memory: &mut Memory) -> FWP_VALUE0 {
    let (kind, value) = match weight {
        Weight::Exact(weight) => (FWP_UINT64, FWP_VALUE0_0 { uint64: memory.keep(weight) }),
        Weight::Within(range) => (FWP_UINT8, FWP_VALUE0_0 { uint8: range }),
        Weight::Automatic => (FWP_EMPTY, FWP_VALUE0_0 { uint64: null_mut() }),
    };
    FWP_VALUE0 { r#type: kind, Anonymous: value }
}

fn condition(
    condition: &FilterCondition,
    memory: &mut Memory,
) -> Result<FWPM_FILTER_CONDITION0, EngineFault> {
    let field = condition.field.guid().ok_or_else(|| {
        EngineFault::Malformed(format!(
            "the GUID of field {} is not known here",
            condition.field.name()
        ))
    })?;
    let known = MATCH_TYPES.iter().find(|(kind, _)| *kind == condition.match_type);
    let match_type = known.map(|(_, number)| *number);
    Ok(FWPM_FILTER_CONDITION0 {
        fieldKey: GUID::from_u128(field.0),
        matchType: match_type.ok_or_else(|| {
            EngineFault::Malformed(format!("no number for match type {:?}", condition.match_type))
        })?,
        conditionValue: condition_value(&condition.value, memory)?,
    })
}

fn condition_value(
    value: &Value,
    memory: &mut Memory,
) -> Result<FWP_CONDITION_VALUE0, EngineFault> {
    type Union = FWP_CONDITION_VALUE0_0;
    let (kind, value) = match value {
        Value::V4Mask { address, mask } => {
            let both = FWP_V4_ADDR_AND_MASK { addr: *address, mask: *mask };
            (FWP_V4_ADDR_MASK, Union { v4AddrMask: memory.keep(both) })
        }
        Value::V6Mask { address, length } => {
            let both = FWP_V6_ADDR_AND_MASK { addr: address.to_be_bytes(), prefixLength: *length };
            (FWP_V6_ADDR_MASK, Union { v6AddrMask: memory.keep(both) })
        }
        Value::Range(ends) => {
            let both = FWP_RANGE0 {
                valueLow: plain_value(&ends.0, memory)?,
                valueHigh: plain_value(&ends.1, memory)?,
            };
            (FWP_RANGE_TYPE, Union { rangeValue: memory.keep(both) })
        }
        plain => {
            let FWP_VALUE0 { r#type, Anonymous: value } = plain_value(plain, memory)?;
            // SAFETY: the two unions have the same members at the same places, but for the three types
            // above, and `plain_value` makes none of these.
            (r#type, unsafe { std::mem::transmute::<FWP_VALUE0_0, Union>(value) })
        }
    };
    Ok(FWP_CONDITION_VALUE0 { r#type: kind, Anonymous: value })
}

/// A value that can stand in a range and in a weight, too.
fn plain_value(value: &Value, memory: &mut Memory) -> Result<FWP_VALUE0, EngineFault> {
    type Union = FWP_VALUE0_0;
    let (kind, value) = match value {
        Value::Empty => (FWP_EMPTY, Union { uint64: null_mut() }),
        Value::U8(number) => (FWP_UINT8, Union { uint8: *number }),
        Value::U16(number) => (FWP_UINT16, Union { uint16: *number }),
        Value::U32(number) => (FWP_UINT32, Union { uint32: *number }),
        Value::U64(number) => (FWP_UINT64, Union { uint64: memory.keep(*number) }),
        Value::V6(address) => {
            let bytes = FWP_BYTE_ARRAY16 { byteArray16: address.to_be_bytes() };
            (FWP_BYTE_ARRAY16_TYPE, Union { byteArray16: memory.keep(bytes) })
        }
        Value::Blob(bytes) => {
            let blob = memory.blob(bytes.clone())?;
            (FWP_BYTE_BLOB_TYPE, Union { byteBlob: memory.keep(blob) })
        }
        Value::Sid(text) => {
            let sid = Sid::try_from(text.clone()).ok();
            let bytes = sid.and_then(|sid| security_descriptor::sid_bytes(&sid));
            let bytes = bytes.ok_or_else(|| {
                EngineFault::Malformed(format!("{text} is not a security identifier of Windows"))
            })?;
            (FWP_SID, Union { sid: memory.keep_all(bytes).cast() })
        }
        Value::SecurityDescriptor(text) => {
            let bytes = security_descriptor::bytes(text).ok_or_else(|| {
                EngineFault::Malformed(format!("{text} is not a list of identities"))
            })?;
            let blob = memory.blob(bytes)?;
            (FWP_SECURITY_DESCRIPTOR_TYPE, Union { sd: memory.keep(blob) })
        }
        Value::Range(_) | Value::V4Mask { .. } | Value::V6Mask { .. } => {
            return Err(EngineFault::Malformed("a range has an end that is no value".to_owned()));
        }
        Value::Other(kind) => {
            return Err(EngineFault::Malformed(format!("a value of ours is of type {kind}")));
        }
    };
    Ok(FWP_VALUE0 { r#type: kind, Anonymous: value })
}

/// A pointer that is null where there is nothing.
pub(super) fn optional<T>(value: Option<&T>) -> *const T {
    value.map_or(null(), std::ptr::from_ref)
}
