//! What the double keeps, as Windows' structures.

use std::any::Any;
use std::ptr::null_mut;

use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_ARRAY16, FWP_BYTE_BLOB, FWP_CONDITION_VALUE0, FWP_CONDITION_VALUE0_0, FWP_RANGE0,
    FWP_V4_ADDR_AND_MASK, FWP_V6_ADDR_AND_MASK, FWP_VALUE0, FWP_VALUE0_0, FWPM_DISPLAY_DATA0,
    FWPM_FILTER_CONDITION0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;
use xshield_wfp_double::store::{
    RawCondition, RawFilter, RawProvider, RawSubLayer, RawValue, kind,
};

use crate::engine;

/// Memory that is handed out, freed when the program gives the array back.
#[derive(Default)]
pub(crate) struct Kept(Vec<*mut dyn Any>);

// SAFETY: here the pointers are only kept.
unsafe impl Send for Kept {}

impl Kept {
    pub(crate) fn keep<T: Any>(&mut self, value: T) -> *mut T {
        let place = Box::into_raw(Box::new(value));
        self.0.push(place);
        place
    }

    fn keep_all<T: Any>(&mut self, values: Vec<T>) -> *mut T {
        let place = self.keep(values);
        // SAFETY: kept just now, and nobody else refers to it.
        unsafe { (*place).as_mut_ptr() }
    }

    fn text(&mut self, text: Option<&str>) -> *mut u16 {
        let wide = text.map(|text| text.encode_utf16().chain([0]).collect());
        wide.map_or(null_mut(), |wide| self.keep_all(wide))
    }

    fn key(&mut self, key: Option<&str>) -> *mut GUID {
        key.map_or(null_mut(), |key| self.keep(guid(key)))
    }

    fn blob(&mut self, bytes: &[u8]) -> *mut FWP_BYTE_BLOB {
        let size = u32::try_from(bytes.len()).unwrap_or_default();
        let data = self.keep_all(bytes.to_vec());
        self.keep(FWP_BYTE_BLOB { size, data })
    }

    fn display(&mut self, name: Option<&str>, description: Option<&str>) -> FWPM_DISPLAY_DATA0 {
        FWPM_DISPLAY_DATA0 { name: self.text(name), description: self.text(description) }
    }

    pub(crate) fn provider(&mut self, raw: &RawProvider) -> *mut FWPM_PROVIDER0 {
        let provider = FWPM_PROVIDER0 {
            providerKey: guid(&raw.key),
            displayData: self.display(raw.name.as_deref(), None),
            flags: raw.flags,
            providerData: FWP_BYTE_BLOB { size: 0, data: null_mut() },
            serviceName: self.text(raw.service.as_deref()),
        };
        self.keep(provider)
    }

    pub(crate) fn sublayer(&mut self, raw: &RawSubLayer) -> *mut FWPM_SUBLAYER0 {
        let sublayer = FWPM_SUBLAYER0 {
            subLayerKey: guid(&raw.key),
            displayData: self.display(raw.name.as_deref(), None),
            flags: raw.flags,
            providerKey: self.key(raw.provider.as_deref()),
            providerData: FWP_BYTE_BLOB { size: 0, data: null_mut() },
            weight: raw.weight,
        };
        self.keep(sublayer)
    }

    pub(crate) fn filter(&mut self, raw: &RawFilter) -> *mut FWPM_FILTER0 {
        let conditions: Vec<_> = raw.conditions.iter().map(|raw| self.condition(raw)).collect();
        let mut filter = FWPM_FILTER0 {
            filterKey: guid(&raw.key),
            displayData: self.display(raw.name.as_deref(), raw.description.as_deref()),
            flags: raw.flags,
            providerKey: self.key(raw.provider.as_deref()),
            layerKey: guid(&raw.layer),
            subLayerKey: guid(&raw.sublayer),
            weight: self.value(&raw.weight),
            numFilterConditions: u32::try_from(conditions.len()).unwrap_or_default(),
            filterCondition: self.keep_all(conditions),
            filterId: raw.id,
            effectiveWeight: self.value(&RawValue::Number(kind::UINT64, raw.effective_weight)),
            ..FWPM_FILTER0::default()
        };
        filter.action.r#type = raw.action;
        if let Some(callout) = &raw.callout {
            filter.action.Anonymous.calloutKey = guid(callout);
        }
        self.keep(filter)
    }

    fn condition(&mut self, raw: &RawCondition) -> FWPM_FILTER_CONDITION0 {
        let inside = match &raw.value {
            RawValue::V4(addr, mask) => FWP_CONDITION_VALUE0_0 {
                v4AddrMask: self.keep(FWP_V4_ADDR_AND_MASK { addr: *addr, mask: *mask }),
            },
            RawValue::V6(addr, length) => FWP_CONDITION_VALUE0_0 {
                v6AddrMask: self.keep(FWP_V6_ADDR_AND_MASK { addr: *addr, prefixLength: *length }),
            },
            RawValue::Range(ends) => {
                let range =
                    FWP_RANGE0 { valueLow: self.value(&ends.0), valueHigh: self.value(&ends.1) };
                FWP_CONDITION_VALUE0_0 { rangeValue: self.keep(range) }
            }
            plain => {
                let value = self.value(plain);
                // SAFETY: the members of both unions are at the same place; 8 bytes are there.
                FWP_CONDITION_VALUE0_0 { uint64: unsafe { value.Anonymous.uint64 } }
            }
        };
        FWPM_FILTER_CONDITION0 {
            fieldKey: guid(&raw.field),
            matchType: raw.match_type,
            conditionValue: FWP_CONDITION_VALUE0 { r#type: raw.value.kind(), Anonymous: inside },
        }
    }

    fn value(&mut self, raw: &RawValue) -> FWP_VALUE0 {
        let mut inside = FWP_VALUE0_0 { uint64: null_mut() };
        match raw {
            RawValue::Number(kind::UINT64, number) => inside.uint64 = self.keep(*number),
            RawValue::Number(kind::UINT8, number) => inside.uint8 = *number as u8,
            RawValue::Number(kind::UINT16, number) => inside.uint16 = *number as u16,
            RawValue::Number(_, number) => inside.uint32 = *number as u32,
            RawValue::Bytes(kind::BYTES16, bytes) => {
                let mut array = FWP_BYTE_ARRAY16 { byteArray16: [0; 16] };
                for (to, from) in array.byteArray16.iter_mut().zip(bytes) {
                    *to = *from;
                }
                inside.byteArray16 = self.keep(array);
            }
            RawValue::Bytes(kind::SID, bytes) => inside.sid = self.keep_all(bytes.clone()).cast(),
            RawValue::Bytes(_, bytes) => inside.byteBlob = self.blob(bytes),
            RawValue::V4(..) | RawValue::V6(..) | RawValue::Range(_) => {}
        }
        FWP_VALUE0 { r#type: raw.kind(), Anonymous: inside }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for place in self.0.drain(..) {
            // SAFETY: from `Box::into_raw`, and freed once.
            drop(unsafe { Box::from_raw(place) });
        }
    }
}

/// A filter that is freed by itself.
pub(crate) fn filter_alone(raw: &RawFilter) -> *mut FWPM_FILTER0 {
    let mut kept = Kept::default();
    let filter = kept.filter(raw);
    engine::keep_at(filter as usize, kept);
    filter
}

/// A blob that is freed by itself.
pub(crate) fn blob_alone(bytes: Vec<u8>) -> *mut FWP_BYTE_BLOB {
    let mut kept = Kept::default();
    let blob = kept.blob(&bytes);
    engine::keep_at(blob as usize, kept);
    blob
}

/// A GUID from its text; zero where the text is none.
fn guid(text: &str) -> GUID {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let part = |from: usize, to: usize| {
        u64::from_str_radix(digits.get(from..to).unwrap_or("0"), 16).unwrap_or_default()
    };
    GUID {
        data1: part(0, 8) as u32,
        data2: part(8, 12) as u16,
        data3: part(12, 16) as u16,
        data4: part(16, 32).to_be_bytes(),
    }
}
