//! Windows' structures as the double keeps them.

use std::slice;

use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FWP_CONDITION_VALUE0, FWP_VALUE0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;
use xshield_wfp_double::contract::code;
use xshield_wfp_double::store::{
    Key, RawCondition, RawFilter, RawProvider, RawSubLayer, RawValue, kind,
};

/// A GUID as `StringFromGUID2` writes it, in small letters.
pub(crate) fn written(guid: &GUID) -> Key {
    let [a, b, c, d, e, f, g, h] = guid.data4;
    format!(
        "{{{:08x}-{:04x}-{:04x}-{a:02x}{b:02x}-{c:02x}{d:02x}{e:02x}{f:02x}{g:02x}{h:02x}}}",
        guid.data1, guid.data2, guid.data3
    )
}

/// # Safety
/// Null, or a GUID.
pub(crate) unsafe fn key(key: *const GUID) -> Option<Key> {
    // SAFETY: the caller's promise.
    unsafe { key.as_ref() }.map(written)
}

/// # Safety
/// Null, or UTF-16 with a zero at its end.
pub(crate) unsafe fn text(text: *const u16) -> Option<String> {
    if text.is_null() {
        return None;
    }
    let mut units = Vec::new();
    // SAFETY: the caller's promise; nothing is read beyond the zero.
    while let unit @ 1.. = unsafe { *text.add(units.len()) } {
        units.push(unit);
    }
    Some(String::from_utf16_lossy(&units))
}

/// # Safety
/// As Windows documents the structure.
pub(crate) unsafe fn provider(provider: &FWPM_PROVIDER0) -> RawProvider {
    // SAFETY: the caller's promise.
    let (name, service) = unsafe { (text(provider.displayData.name), text(provider.serviceName)) };
    RawProvider {
        key: written(&provider.providerKey),
        name,
        flags: provider.flags,
        service,
        session: None,
    }
}

/// # Safety
/// As Windows documents the structure.
pub(crate) unsafe fn sublayer(sublayer: &FWPM_SUBLAYER0) -> RawSubLayer {
    // SAFETY: the caller's promise.
    let (name, provider) = unsafe { (text(sublayer.displayData.name), key(sublayer.providerKey)) };
    RawSubLayer {
        key: written(&sublayer.subLayerKey),
        name,
        flags: sublayer.flags,
        provider,
        weight: sublayer.weight,
        session: None,
    }
}

/// # Safety
/// As Windows documents the structure.
pub(crate) unsafe fn filter(filter: &FWPM_FILTER0) -> Result<RawFilter, u32> {
    let mut conditions = Vec::new();
    for at in 0..filter.numFilterConditions as usize {
        if filter.filterCondition.is_null() {
            return Err(code::NULL_POINTER);
        }
        // SAFETY: the caller's promise: there are so many.
        let condition = unsafe { &*filter.filterCondition.add(at) };
        conditions.push(RawCondition {
            field: written(&condition.fieldKey),
            match_type: condition.matchType,
            // SAFETY: the caller's promise.
            value: unsafe { condition_value(&condition.conditionValue) }?,
        });
    }
    // SAFETY: the caller's promise; a GUID is in the union whatever the action.
    unsafe {
        Ok(RawFilter {
            key: written(&filter.filterKey),
            name: text(filter.displayData.name),
            description: text(filter.displayData.description),
            flags: filter.flags,
            provider: key(filter.providerKey),
            layer: written(&filter.layerKey),
            sublayer: written(&filter.subLayerKey),
            weight: value(&filter.weight)?,
            effective_weight: 0,
            conditions,
            action: filter.action.r#type,
            callout: Some(written(&filter.action.Anonymous.calloutKey)),
            id: 0,
            session: None,
        })
    }
}

/// # Safety
/// As Windows documents the structure.
unsafe fn condition_value(given: &FWP_CONDITION_VALUE0) -> Result<RawValue, u32> {
    // SAFETY: the type says which member is there; the caller promises that pointers lead there.
    unsafe {
        match given.r#type {
            kind::V4_NETWORK => {
                let both = given.Anonymous.v4AddrMask.as_ref().ok_or(code::NULL_POINTER)?;
                Ok(RawValue::V4(both.addr, both.mask))
            }
            kind::V6_NETWORK => {
                let both = given.Anonymous.v6AddrMask.as_ref().ok_or(code::NULL_POINTER)?;
                Ok(RawValue::V6(both.addr, both.prefixLength))
            }
            kind::RANGE => {
                let range = given.Anonymous.rangeValue.as_ref().ok_or(code::NULL_POINTER)?;
                let ends = (value(&range.valueLow)?, value(&range.valueHigh)?);
                Ok(RawValue::Range(Box::new(ends)))
            }
            // The rest has the same shape in both structures.
            _ => value(&*std::ptr::from_ref(given).cast::<FWP_VALUE0>()),
        }
    }
}

/// # Safety
/// As Windows documents the structure.
unsafe fn value(given: &FWP_VALUE0) -> Result<RawValue, u32> {
    let number = |number: u64| Ok(RawValue::Number(given.r#type, number));
    let bytes = |bytes: Vec<u8>| Ok(RawValue::Bytes(given.r#type, bytes));
    let inside = &given.Anonymous;
    // SAFETY: the type says which member is there; the caller promises that pointers lead there.
    unsafe {
        match given.r#type {
            kind::EMPTY => number(0),
            kind::UINT8 => number(inside.uint8.into()),
            kind::UINT16 => number(inside.uint16.into()),
            kind::UINT32 => number(inside.uint32.into()),
            kind::UINT64 => number(*inside.uint64.as_ref().ok_or(code::NULL_POINTER)?),
            kind::BYTES16 => {
                bytes(inside.byteArray16.as_ref().ok_or(code::NULL_POINTER)?.byteArray16.to_vec())
            }
            kind::BLOB | kind::DESCRIPTOR => bytes(blob(inside.byteBlob)?),
            kind::SID => {
                let sid = inside.sid.cast::<u8>();
                if sid.is_null() {
                    return Err(code::NULL_POINTER);
                }
                let parts = usize::from(*sid.add(1));
                bytes(slice::from_raw_parts(sid, 8 + 4 * parts).to_vec())
            }
            _ => Err(code::TYPE_MISMATCH),
        }
    }
}

/// # Safety
/// Null, or a blob.
unsafe fn blob(blob: *const FWP_BYTE_BLOB) -> Result<Vec<u8>, u32> {
    // SAFETY: the caller's promise.
    let blob = unsafe { blob.as_ref() }.ok_or(code::NULL_POINTER)?;
    if blob.size == 0 {
        return Ok(Vec::new());
    }
    if blob.data.is_null() {
        return Err(code::NULL_POINTER);
    }
    // SAFETY: the caller's promise: there are so many bytes.
    Ok(unsafe { slice::from_raw_parts(blob.data, blob.size as usize) }.to_vec())
}
