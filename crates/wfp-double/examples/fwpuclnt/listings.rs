//! Enumerations.

use std::any::Any;
use std::ffi::c_void;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_FILTER_ENUM_TEMPLATE0, FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;
use xshield_wfp_double::contract::code;
use xshield_wfp_double::store::{RawFilter, Store};

use crate::engine::{self, Listing, Session, call};
use crate::hand_out::{self, Kept};
use crate::take_in;

const BOOT_TIME: u32 = 2;
const DISABLED: u32 = 32;
const BOOT_TIME_ONLY: u32 = 4;
const INCLUDE_BOOT_TIME: u32 = 8;
const INCLUDE_DISABLED: u32 = 16;

fn create(
    session: &mut Session,
    handle: *mut HANDLE,
    list: impl FnOnce(&Store) -> Listing,
) -> Result<(), u32> {
    if handle.is_null() {
        return Err(code::NULL_POINTER);
    }
    let listing = session.with(false, |store, _| Ok(list(store)))?;
    let number = engine::handle();
    session.listings.insert(number, listing);
    // SAFETY: not null, and the caller's promise: a place for a handle.
    unsafe { *handle = number as HANDLE };
    Ok(())
}

fn destroy(handle: HANDLE, listing: HANDLE, name: &str) -> u32 {
    call(handle, name, |session| {
        let listing = session.listings.remove(&(listing as usize));
        listing.map(drop).ok_or(code::INVALID_ENUMERATOR)
    })
}

/// Hands out the next objects; `take` removes them from what is left.
unsafe fn next<T: Any, R>(
    objects: &mut Vec<R>,
    wanted: u32,
    (entries, count): (*mut *mut *mut T, *mut u32),
    make: impl Fn(&mut Kept, &R) -> *mut T,
) -> Result<(), u32> {
    if entries.is_null() || count.is_null() {
        return Err(code::NULL_POINTER);
    }
    let number = objects.len().min(wanted as usize);
    let mut kept = Kept::default();
    let pointers: Vec<*mut T> =
        objects.drain(..number).map(|object| make(&mut kept, &object)).collect();
    // SAFETY: not null, and the caller's promise: places for a pointer and a number.
    unsafe {
        *count = u32::try_from(number).unwrap_or_default();
        *entries =
            if number == 0 { std::ptr::null_mut() } else { engine::hand_out(pointers, kept) };
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmProviderCreateEnumHandle0(
    handle: HANDLE,
    _template: *const c_void,
    listing: *mut HANDLE,
) -> u32 {
    call(handle, "FwpmProviderCreateEnumHandle0", |session| {
        create(session, listing, |store| {
            Listing::Providers(store.providers.values().cloned().collect())
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmSubLayerCreateEnumHandle0(
    handle: HANDLE,
    _template: *const c_void,
    listing: *mut HANDLE,
) -> u32 {
    call(handle, "FwpmSubLayerCreateEnumHandle0", |session| {
        create(session, listing, |store| {
            Listing::SubLayers(store.sublayers.values().cloned().collect())
        })
    })
}

/// Whether boot-time and disabled filters are listed without a template, the documentation does not say:
/// they are not.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterCreateEnumHandle0(
    handle: HANDLE,
    template: *const FWPM_FILTER_ENUM_TEMPLATE0,
    listing: *mut HANDLE,
) -> u32 {
    call(handle, "FwpmFilterCreateEnumHandle0", |session| {
        // SAFETY: the caller's promise: null, or a template.
        let wanted = unsafe { template.as_ref() };
        let flags = wanted.map_or(0, |template| template.flags);
        // SAFETY: the caller's promise.
        let provider = wanted.and_then(|template| unsafe { take_in::key(template.providerKey) });
        let layer = wanted.map(|template| take_in::written(&template.layerKey));
        let actions = wanted.map_or(u32::MAX, |template| template.actionMask);
        let is_listed = |filter: &&RawFilter| {
            let has = |flag: u32| filter.flags & flag != 0;
            let by_flags = if flags & BOOT_TIME_ONLY != 0 {
                has(BOOT_TIME)
            } else {
                (!has(BOOT_TIME) || flags & INCLUDE_BOOT_TIME != 0)
                    && (!has(DISABLED) || flags & INCLUDE_DISABLED != 0)
            };
            by_flags
                && (provider.is_none() || filter.provider == provider)
                && layer.as_ref().is_none_or(|layer| filter.layer == *layer)
                && filter.action & actions != 0
        };
        create(session, listing, |store| {
            Listing::Filters(store.filters.values().filter(is_listed).cloned().collect())
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterGetByKey0(
    handle: HANDLE,
    key: *const GUID,
    filter: *mut *mut FWPM_FILTER0,
) -> u32 {
    call(handle, "FwpmFilterGetByKey0", |session| {
        // SAFETY: the caller's promise: null, or a GUID.
        let key = unsafe { take_in::key(key) }.ok_or(code::NULL_POINTER)?;
        if filter.is_null() {
            return Err(code::NULL_POINTER);
        }
        let found = session.with(false, |store, _| {
            store.filters.get(&key).cloned().ok_or(code::FILTER_NOT_FOUND)
        })?;
        // SAFETY: not null, and the caller's promise: a place for a pointer.
        unsafe { *filter = hand_out::filter_alone(&found) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmProviderEnum0(
    handle: HANDLE,
    listing: HANDLE,
    wanted: u32,
    entries: *mut *mut *mut FWPM_PROVIDER0,
    count: *mut u32,
) -> u32 {
    call(handle, "FwpmProviderEnum0", |session| {
        match session.listings.get_mut(&(listing as usize)) {
            Some(Listing::Providers(left)) => {
                // SAFETY: the caller's promise.
                unsafe { next(left, wanted, (entries, count), Kept::provider) }
            }
            _ => Err(code::INVALID_ENUMERATOR),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmSubLayerEnum0(
    handle: HANDLE,
    listing: HANDLE,
    wanted: u32,
    entries: *mut *mut *mut FWPM_SUBLAYER0,
    count: *mut u32,
) -> u32 {
    call(handle, "FwpmSubLayerEnum0", |session| {
        match session.listings.get_mut(&(listing as usize)) {
            Some(Listing::SubLayers(left)) => {
                // SAFETY: the caller's promise.
                unsafe { next(left, wanted, (entries, count), Kept::sublayer) }
            }
            _ => Err(code::INVALID_ENUMERATOR),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterEnum0(
    handle: HANDLE,
    listing: HANDLE,
    wanted: u32,
    entries: *mut *mut *mut FWPM_FILTER0,
    count: *mut u32,
) -> u32 {
    call(handle, "FwpmFilterEnum0", |session| match session.listings.get_mut(&(listing as usize)) {
        Some(Listing::Filters(left)) => {
            // SAFETY: the caller's promise.
            unsafe { next(left, wanted, (entries, count), Kept::filter) }
        }
        _ => Err(code::INVALID_ENUMERATOR),
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmProviderDestroyEnumHandle0(
    handle: HANDLE,
    listing: HANDLE,
) -> u32 {
    destroy(handle, listing, "FwpmProviderDestroyEnumHandle0")
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmSubLayerDestroyEnumHandle0(
    handle: HANDLE,
    listing: HANDLE,
) -> u32 {
    destroy(handle, listing, "FwpmSubLayerDestroyEnumHandle0")
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterDestroyEnumHandle0(handle: HANDLE, listing: HANDLE) -> u32 {
    destroy(handle, listing, "FwpmFilterDestroyEnumHandle0")
}
