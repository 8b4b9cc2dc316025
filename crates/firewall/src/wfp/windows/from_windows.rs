//! What Windows' functions hand out, as values. Every object becomes one: what is not understood of an
//! object stays in it as [`Value::Other`], which no comparison takes for harmless.
#![expect(unsafe_code, reason = "reads the memory to which Windows' structures point")]

use std::slice;

use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_ACTION_BLOCK, FWP_ACTION_CALLOUT_INSPECTION, FWP_ACTION_CALLOUT_TERMINATING,
    FWP_ACTION_FLAG_CALLOUT, FWP_ACTION_PERMIT, FWP_BYTE_ARRAY16_TYPE, FWP_BYTE_BLOB,
    FWP_BYTE_BLOB_TYPE, FWP_CONDITION_VALUE0, FWP_EMPTY, FWP_RANGE_TYPE,
    FWP_SECURITY_DESCRIPTOR_TYPE, FWP_SID, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_UINT64,
    FWP_V4_ADDR_MASK, FWP_V6_ADDR_MASK, FWP_VALUE0, FWP_VALUE0_0, FWPM_ACTION0,
    FWPM_FILTER_CONDITION0, FWPM_FILTER0, FWPM_PROVIDER_FLAG_PERSISTENT, FWPM_PROVIDER0,
    FWPM_SUBLAYER_FLAG_PERSISTENT, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;

use super::to_windows::MATCH_TYPES;
use crate::wfp::guid::Guid;
use crate::wfp::model::{
    CalloutKind, Filter, FilterAction, FilterCondition, Flags, Lifetime, MatchType, ObjectKey,
    Provider, SubLayer, Value, Weight,
};
use crate::wfp::names::{FilterField, Layer};
use crate::wfp::security_descriptor;

/// Longer texts and blobs are not read: a pointer that leads elsewhere must not lead through all memory.
const MOST_UNITS: usize = 1 << 20;
/// A SID with all of its parts.
const MOST_SID_BYTES: usize = 8 + 15 * 4;

/// A GUID as a number.
fn guid(guid: GUID) -> Guid {
    let tail = u64::from_be_bytes(guid.data4);
    let [head, middle, third]: [u128; 3] =
        [guid.data1.into(), guid.data2.into(), guid.data3.into()];
    Guid(head << 96 | middle << 80 | third << 64 | u128::from(tail))
}

/// # Safety
/// `key` is null or points to a GUID.
pub(super) unsafe fn key(key: *const GUID) -> Option<ObjectKey> {
    // SAFETY: the caller's promise.
    unsafe { key.as_ref() }.map(|key| guid(*key).into())
}

/// # Safety
/// `text` is null or points to UTF-16 with a zero at its end.
unsafe fn text(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise; nothing is read beyond the first zero.
    let length = (0..MOST_UNITS).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: so many units were just read.
    String::from_utf16_lossy(unsafe { slice::from_raw_parts(text, length) })
}

/// # Safety
/// `blob` is null or points to a blob whose data are as long as it says.
pub(super) unsafe fn bytes(blob: *const FWP_BYTE_BLOB) -> Option<Vec<u8>> {
    // SAFETY: the caller's promise.
    let blob = unsafe { blob.as_ref() }?;
    let size = usize::try_from(blob.size).ok().filter(|size| *size <= MOST_UNITS)?;
    if size == 0 {
        return Some(Vec::new());
    }
    if blob.data.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { slice::from_raw_parts(blob.data, size) }.to_vec())
}

/// # Safety
/// Every pointer in `provider` is null or as Windows' documentation says.
pub(super) unsafe fn provider(provider: &FWPM_PROVIDER0) -> Provider {
    // SAFETY: the caller's promise.
    let [name, service] = unsafe { [text(provider.displayData.name), text(provider.serviceName)] };
    Provider {
        key: guid(provider.providerKey).into(),
        name: name.into(),
        service: (!service.is_empty()).then(|| service.into()),
        lifetime: lasting(provider.flags, FWPM_PROVIDER_FLAG_PERSISTENT),
    }
}

/// # Safety
/// Every pointer in `sublayer` is null or as Windows' documentation says.
pub(super) unsafe fn sublayer(sublayer: &FWPM_SUBLAYER0) -> SubLayer {
    // SAFETY: the caller's promise.
    let (name, provider) = unsafe { (text(sublayer.displayData.name), key(sublayer.providerKey)) };
    SubLayer {
        key: guid(sublayer.subLayerKey).into(),
        name: name.into(),
        provider,
        weight: sublayer.weight,
        lifetime: lasting(sublayer.flags, FWPM_SUBLAYER_FLAG_PERSISTENT),
    }
}

fn lasting(flags: u32, persistent: u32) -> Lifetime {
    if flags & persistent != 0 { Lifetime::Persistent } else { Lifetime::Static }
}

/// # Safety
/// Every pointer in `filter` is null or as Windows' documentation says.
pub(super) unsafe fn filter(filter: &FWPM_FILTER0) -> Filter {
    let count = usize::try_from(filter.numFilterConditions).unwrap_or_default();
    let conditions = if filter.filterCondition.is_null() {
        &[][..]
    } else {
        // SAFETY: the caller's promise.
        unsafe { slice::from_raw_parts(filter.filterCondition, count) }
    };
    // SAFETY: the caller's promise.
    let (display, provider, weight, effective_weight, conditions) = unsafe {
        (
            [text(filter.displayData.name), text(filter.displayData.description)],
            key(filter.providerKey),
            plain_value(filter.weight.r#type, filter.weight.Anonymous),
            plain_value(filter.effectiveWeight.r#type, filter.effectiveWeight.Anonymous),
            conditions.iter().map(|compared| condition(compared)).collect(),
        )
    };
    let [name, description] = display;
    Filter {
        key: guid(filter.filterKey).into(),
        name: name.into(),
        description: description.into(),
        flags: Flags(filter.flags),
        provider,
        layer: Layer::of_guid(guid(filter.layerKey)),
        sublayer: guid(filter.subLayerKey).into(),
        weight: match weight {
            Value::U64(weight) => Weight::Exact(weight),
            Value::U8(range) => Weight::Within(range),
            _ => Weight::Automatic,
        },
        effective_weight: match effective_weight {
            Value::U64(weight) => Some(weight),
            _ => None,
        },
        conditions,
        action: action(&filter.action),
        id: Some(filter.filterId),
    }
}

fn action(action: &FWPM_ACTION0) -> FilterAction {
    let kind = match action.r#type {
        FWP_ACTION_PERMIT => return FilterAction::Permit,
        FWP_ACTION_BLOCK => return FilterAction::Block,
        FWP_ACTION_CALLOUT_TERMINATING => CalloutKind::Terminating,
        FWP_ACTION_CALLOUT_INSPECTION => CalloutKind::Inspection,
        _ => CalloutKind::Unknown,
    };
    let callout = if action.r#type & FWP_ACTION_FLAG_CALLOUT == 0 {
        format!("action {:#x}", action.r#type)
    } else {
        // SAFETY: a GUID is there for every type of action; with this flag it is the callout's key.
        guid(unsafe { action.Anonymous.calloutKey }).to_string()
    };
    FilterAction::Callout { kind, callout }
}

/// # Safety
/// Every pointer in `condition` is null or as Windows' documentation says.
unsafe fn condition(condition: &FWPM_FILTER_CONDITION0) -> FilterCondition {
    let known = MATCH_TYPES.iter().find(|(_, number)| *number == condition.matchType);
    let (match_type, value) = match known {
        // SAFETY: the caller's promise.
        Some((kind, _)) => (*kind, unsafe { condition_value(&condition.conditionValue) }),
        None => (MatchType::Equal, Value::Other(format!("match type {}", condition.matchType))),
    };
    FilterCondition { field: FilterField::of_guid(guid(condition.fieldKey)), match_type, value }
}

/// # Safety
/// As [`condition`].
unsafe fn condition_value(value: &FWP_CONDITION_VALUE0) -> Value {
    let unreadable = || Value::Other(format!("type {} without a value", value.r#type));
    // SAFETY: the type says which member is there, and the caller promises that pointers lead to what
    // the documentation says.
    unsafe {
        match value.r#type {
            FWP_V4_ADDR_MASK => match value.Anonymous.v4AddrMask.as_ref() {
                Some(both) => Value::V4Mask { address: both.addr, mask: both.mask },
                None => unreadable(),
            },
            FWP_V6_ADDR_MASK => match value.Anonymous.v6AddrMask.as_ref() {
                Some(both) => Value::V6Mask {
                    address: u128::from_be_bytes(both.addr),
                    length: both.prefixLength,
                },
                None => unreadable(),
            },
            FWP_RANGE_TYPE => match value.Anonymous.rangeValue.as_ref() {
                Some(range) => {
                    let [low, high] = [range.valueLow, range.valueHigh]
                        .map(|end| plain_value(end.r#type, end.Anonymous));
                    Value::Range(Box::new((low, high)))
                }
                None => unreadable(),
            },
            // The members of the two unions are the same but for those above.
            kind => plain_value(kind, FWP_VALUE0_0 { uint64: value.Anonymous.uint64 }),
        }
    }
}

/// # Safety
/// As [`condition`].
unsafe fn plain_value(kind: i32, value: FWP_VALUE0_0) -> Value {
    let unreadable = || Value::Other(format!("type {kind} without a value"));
    // SAFETY: the type says which member is there, and the caller promises that pointers lead to what
    // the documentation says.
    unsafe {
        match kind {
            FWP_EMPTY => Value::Empty,
            FWP_UINT8 => Value::U8(value.uint8),
            FWP_UINT16 => Value::U16(value.uint16),
            FWP_UINT32 => Value::U32(value.uint32),
            FWP_UINT64 => value.uint64.as_ref().map_or_else(unreadable, |n| Value::U64(*n)),
            FWP_BYTE_ARRAY16_TYPE => match value.byteArray16.as_ref() {
                Some(bytes) => Value::V6(u128::from_be_bytes(bytes.byteArray16)),
                None => unreadable(),
            },
            FWP_BYTE_BLOB_TYPE => bytes(value.byteBlob).map_or_else(unreadable, Value::Blob),
            FWP_SID => match sid(value.sid.cast()) {
                Some(sid) => Value::Sid(sid),
                None => unreadable(),
            },
            FWP_SECURITY_DESCRIPTOR_TYPE => {
                let said = bytes(value.sd).as_deref().and_then(security_descriptor::text);
                said.map_or_else(
                    || Value::Other("FWP_SECURITY_DESCRIPTOR_TYPE".to_owned()),
                    Value::SecurityDescriptor,
                )
            }
            kind => Value::Other(format!("type {kind}")),
        }
    }
}

/// # Safety
/// `sid` is null or points to a security identifier.
unsafe fn sid(sid: *const u8) -> Option<String> {
    if sid.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; the second byte tells how many parts there are.
    let parts = usize::from(unsafe { *sid.add(1) });
    let length = 8_usize.checked_add(parts.checked_mul(4)?)?;
    if length > MOST_SID_BYTES {
        return None;
    }
    // SAFETY: as above.
    let bytes = unsafe { slice::from_raw_parts(sid, length) };
    security_descriptor::sid(bytes).map(|sid| sid.to_string())
}
