//! Objects that are added and deleted.

use std::ffi::c_void;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWPM_FILTER0, FWPM_PROVIDER0, FWPM_SUBLAYER0,
};
use windows_sys::core::GUID;
use xshield_wfp_double::contract::code;

use crate::engine::call;
use crate::take_in;

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmProviderAdd0(
    handle: HANDLE,
    provider: *const FWPM_PROVIDER0,
    _descriptor: *const c_void,
) -> u32 {
    call(handle, "FwpmProviderAdd0", |session| {
        // SAFETY: the caller's promise: null, or a provider.
        let provider = unsafe { provider.as_ref().map(|provider| take_in::provider(provider)) };
        let provider = provider.ok_or(code::NULL_POINTER)?;
        session.with(true, |store, by| store.add_provider(provider, by))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmSubLayerAdd0(
    handle: HANDLE,
    sublayer: *const FWPM_SUBLAYER0,
    _descriptor: *const c_void,
) -> u32 {
    call(handle, "FwpmSubLayerAdd0", |session| {
        // SAFETY: the caller's promise: null, or a sublayer.
        let sublayer = unsafe { sublayer.as_ref().map(|sublayer| take_in::sublayer(sublayer)) };
        let sublayer = sublayer.ok_or(code::NULL_POINTER)?;
        session.with(true, |store, by| store.add_sublayer(sublayer, by))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterAdd0(
    handle: HANDLE,
    filter: *const FWPM_FILTER0,
    _descriptor: *const c_void,
    id: *mut u64,
) -> u32 {
    call(handle, "FwpmFilterAdd0", |session| {
        // SAFETY: the caller's promise: null, or a filter.
        let filter = unsafe { filter.as_ref().map(|filter| take_in::filter(filter)) };
        let filter = filter.ok_or(code::NULL_POINTER)??;
        let number = session.with(true, |store, by| store.add_filter(filter, by))?;
        // SAFETY: the caller's promise: null, or a place for a number.
        if let Some(id) = unsafe { id.as_mut() } {
            *id = number;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmProviderDeleteByKey0(handle: HANDLE, key: *const GUID) -> u32 {
    call(handle, "FwpmProviderDeleteByKey0", |session| {
        // SAFETY: the caller's promise: null, or a GUID.
        let key = unsafe { take_in::key(key) }.ok_or(code::NULL_POINTER)?;
        session.with(true, |store, by| store.delete_provider(&key, by))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmSubLayerDeleteByKey0(handle: HANDLE, key: *const GUID) -> u32 {
    call(handle, "FwpmSubLayerDeleteByKey0", |session| {
        // SAFETY: the caller's promise: null, or a GUID.
        let key = unsafe { take_in::key(key) }.ok_or(code::NULL_POINTER)?;
        session.with(true, |store, by| store.delete_sublayer(&key, by))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmFilterDeleteByKey0(handle: HANDLE, key: *const GUID) -> u32 {
    call(handle, "FwpmFilterDeleteByKey0", |session| {
        // SAFETY: the caller's promise: null, or a GUID.
        let key = unsafe { take_in::key(key) }.ok_or(code::NULL_POINTER)?;
        session.with(true, |store, by| store.delete_filter(&key, by))
    })
}
