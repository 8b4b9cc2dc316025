//! The calls to the filter engine.
#![expect(unsafe_code, reason = "calls functions of Windows")]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::slice;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FWP_FILTER_ENUM_FLAG_INCLUDE_BOOTTIME, FWP_FILTER_ENUM_FLAG_INCLUDE_DISABLED,
    FWP_FILTER_ENUM_OVERLAPPING, FWPM_DISPLAY_DATA0, FWPM_FILTER_ENUM_TEMPLATE0, FWPM_FILTER0,
    FWPM_PROVIDER0, FWPM_SESSION_FLAG_DYNAMIC, FWPM_SESSION0, FWPM_SUBLAYER0, FWPM_TXN_READ_ONLY,
    FwpmEngineClose0, FwpmEngineOpen0, FwpmFilterAdd0, FwpmFilterCreateEnumHandle0,
    FwpmFilterDeleteByKey0, FwpmFilterDestroyEnumHandle0, FwpmFilterEnum0, FwpmFilterGetByKey0,
    FwpmFreeMemory0, FwpmGetAppIdFromFileName0, FwpmProviderAdd0, FwpmProviderCreateEnumHandle0,
    FwpmProviderDeleteByKey0, FwpmProviderDestroyEnumHandle0, FwpmProviderEnum0, FwpmSubLayerAdd0,
    FwpmSubLayerCreateEnumHandle0, FwpmSubLayerDeleteByKey0, FwpmSubLayerDestroyEnumHandle0,
    FwpmSubLayerEnum0, FwpmTransactionAbort0, FwpmTransactionBegin0, FwpmTransactionCommit0,
};
use windows_sys::Win32::System::Rpc::RPC_C_AUTHN_WINNT;
use windows_sys::core::GUID;

use super::{from_windows, to_windows};
use crate::wfp::codes;
use crate::wfp::filter_engine::{
    EngineAction, EngineError, EngineFault, ObjectChange, ObjectKind, SessionKind,
};
use crate::wfp::guid::Guid;
use crate::wfp::model::{Filter, ObjectKey, Provider, SubLayer};
use crate::wfp::names::Layer;
use crate::wfp::program::AppId;

/// Objects that one call of an enumeration asks for.
const PAGE: u32 = 512;

/// The result of a call: success, or what its code says.
fn done(code: u32, kind: ObjectKind) -> Result<(), EngineFault> {
    if code == ERROR_SUCCESS { Ok(()) } else { Err(codes::fault(code, kind)) }
}

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    handle: HANDLE,
}

/// Whether a transaction may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Session {
    /// Opens a session whose transactions wait so long for those of others.
    pub(super) fn open(kind: SessionKind, wait_ms: u32) -> Result<Self, EngineError> {
        let mut memory = to_windows::Memory::default();
        let (name, flags) = match kind {
            SessionKind::Dynamic => ("Xshield trial", FWPM_SESSION_FLAG_DYNAMIC),
            SessionKind::Lasting => ("Xshield", 0),
        };
        let session = FWPM_SESSION0 {
            displayData: FWPM_DISPLAY_DATA0 { name: memory.wide(name), description: null_mut() },
            flags,
            txnWaitTimeoutInMSec: wait_ms,
            ..FWPM_SESSION0::default()
        };
        let mut handle = null_mut();
        // SAFETY: `session` and what it points to live until the call returns, and `handle` is ours.
        let code = unsafe {
            FwpmEngineOpen0(null(), RPC_C_AUTHN_WINNT, null(), &raw const session, &raw mut handle)
        };
        done(code, ObjectKind::Provider).map_err(|fault| fault.of(EngineAction::Open(kind)))?;
        Ok(Self { handle })
    }

    /// Ends the session.
    pub(super) fn close(self) -> Result<(), EngineFault> {
        let handle = self.handle;
        std::mem::forget(self);
        // SAFETY: the session is open, and nobody uses its handle after this.
        done(unsafe { FwpmEngineClose0(handle) }, ObjectKind::Provider)
    }

    pub(super) fn begin(&self, access: Access) -> Result<(), EngineFault> {
        let flags = match access {
            Access::Read => FWPM_TXN_READ_ONLY,
            Access::Write => 0,
        };
        // SAFETY: the session is open.
        done(unsafe { FwpmTransactionBegin0(self.handle, flags) }, ObjectKind::Provider)
    }

    pub(super) fn commit(&self) -> Result<(), EngineFault> {
        // SAFETY: the session is open.
        done(unsafe { FwpmTransactionCommit0(self.handle) }, ObjectKind::Provider)
    }

    /// Abandons the transaction; that there is none is no error.
    pub(super) fn abort(&self) -> Result<(), EngineFault> {
        // SAFETY: the session is open.
        match unsafe { FwpmTransactionAbort0(self.handle) } {
            codes::NO_TRANSACTION => Ok(()),
            code => done(code, ObjectKind::Provider),
        }
    }

    /// Makes one change.
    pub(super) fn change(&self, change: &ObjectChange) -> Result<(), EngineFault> {
        let mut memory = to_windows::Memory::default();
        let handle = self.handle;
        match change {
            ObjectChange::AddProvider(provider) => {
                let native = to_windows::provider(provider, &mut memory)?;
                // SAFETY: the session is open; `native` points into `memory`, which outlives the call.
                let code = unsafe { FwpmProviderAdd0(handle, &raw const native, null_mut()) };
                done(code, ObjectKind::Provider)
            }
            ObjectChange::AddSubLayer(sublayer) => {
                let native = to_windows::sublayer(sublayer, &mut memory)?;
                // SAFETY: as above.
                let code = unsafe { FwpmSubLayerAdd0(handle, &raw const native, null_mut()) };
                done(code, ObjectKind::SubLayer)
            }
            ObjectChange::AddFilter(filter) => {
                let native = to_windows::filter(filter, &mut memory)?;
                // SAFETY: as above; the number of the new filter is not asked for.
                let code =
                    unsafe { FwpmFilterAdd0(handle, &raw const native, null_mut(), null_mut()) };
                done(code, ObjectKind::Filter)
            }
            ObjectChange::DeleteFilter(key) => {
                let key = to_windows::guid(key)?;
                // SAFETY: the session is open, and the key lives until the call returns.
                let code = unsafe { FwpmFilterDeleteByKey0(handle, &raw const key) };
                done(code, ObjectKind::Filter)
            }
            ObjectChange::DeleteSubLayer(key) => {
                let key = to_windows::guid(key)?;
                // SAFETY: as above.
                let code = unsafe { FwpmSubLayerDeleteByKey0(handle, &raw const key) };
                done(code, ObjectKind::SubLayer)
            }
            ObjectChange::DeleteProvider(key) => {
                let key = to_windows::guid(key)?;
                // SAFETY: as above.
                let code = unsafe { FwpmProviderDeleteByKey0(handle, &raw const key) };
                done(code, ObjectKind::Provider)
            }
        }
    }

    /// All providers.
    pub(super) fn providers(&self) -> Result<Vec<Provider>, EngineFault> {
        let mut handle = null_mut();
        // SAFETY: the session is open; without a template all are enumerated.
        let code = unsafe { FwpmProviderCreateEnumHandle0(self.handle, null(), &raw mut handle) };
        done(code, ObjectKind::Provider)?;
        let next: Next<FWPM_PROVIDER0> = FwpmProviderEnum0;
        let listing = Listing::new(self, handle, next, FwpmProviderDestroyEnumHandle0);
        // SAFETY: what the engine hands out is as documented.
        listing.read(ObjectKind::Provider, |provider| unsafe { from_windows::provider(provider) })
    }

    /// All sublayers.
    pub(super) fn sublayers(&self) -> Result<Vec<SubLayer>, EngineFault> {
        let mut handle = null_mut();
        // SAFETY: the session is open; without a template all are enumerated.
        let code = unsafe { FwpmSubLayerCreateEnumHandle0(self.handle, null(), &raw mut handle) };
        done(code, ObjectKind::SubLayer)?;
        let next: Next<FWPM_SUBLAYER0> = FwpmSubLayerEnum0;
        let listing = Listing::new(self, handle, next, FwpmSubLayerDestroyEnumHandle0);
        // SAFETY: what the engine hands out is as documented.
        listing.read(ObjectKind::SubLayer, |sublayer| unsafe { from_windows::sublayer(sublayer) })
    }

    /// All filters but those of a provider; whether boot-time and disabled ones are among them, the
    /// documentation does not say.
    pub(super) fn filters_without(&self, left_out: Guid) -> Result<Vec<Filter>, EngineFault> {
        let mut found = Vec::new();
        self.each_filter(None, &mut |filter: &FWPM_FILTER0| {
            // SAFETY: what the engine hands out is as documented.
            let provider = unsafe { from_windows::key(filter.providerKey) };
            if provider != Some(left_out.into()) {
                // SAFETY: as above.
                found.push(unsafe { from_windows::filter(filter) });
            }
        })?;
        Ok(found)
    }

    /// The filter with this key; `None` if there is none.
    pub(super) fn filter_by_key(&self, key: &ObjectKey) -> Result<Option<Filter>, EngineFault> {
        let key = to_windows::guid(key)?;
        let mut filter: *mut FWPM_FILTER0 = null_mut();
        // SAFETY: the session is open, the key lives until the call returns, and the result is ours.
        let code = unsafe { FwpmFilterGetByKey0(self.handle, &raw const key, &raw mut filter) };
        // SAFETY: null, or a filter that the engine handed out, as documented.
        let found = unsafe { filter.as_ref().map(|filter| from_windows::filter(filter)) };
        free(filter);
        match done(code, ObjectKind::Filter) {
            Err(EngineFault::NotFound(_)) => Ok(None),
            result => result.map(|()| found),
        }
    }

    /// Passes the filters of a provider at a layer to `each`, boot-time and disabled ones too.
    pub(super) fn each_filter_at(
        &self,
        layer: &Layer,
        provider: Guid,
        each: &mut dyn FnMut(Filter),
    ) -> Result<(), EngineFault> {
        let layer = layer.guid().ok_or_else(|| {
            EngineFault::Malformed(format!("the GUID of layer {layer} is not known here"))
        })?;
        let mut provider = GUID::from_u128(provider.0);
        let template = FWPM_FILTER_ENUM_TEMPLATE0 {
            providerKey: &raw mut provider,
            layerKey: GUID::from_u128(layer.0),
            // Without conditions, either way of comparing them admits every filter.
            enumType: FWP_FILTER_ENUM_OVERLAPPING,
            flags: FWP_FILTER_ENUM_FLAG_INCLUDE_BOOTTIME | FWP_FILTER_ENUM_FLAG_INCLUDE_DISABLED,
            actionMask: u32::MAX,
            ..FWPM_FILTER_ENUM_TEMPLATE0::default()
        };
        // SAFETY: what the engine hands out is as documented.
        self.each_filter(Some(&template), &mut |filter| {
            each(unsafe { from_windows::filter(filter) })
        })
    }

    fn each_filter(
        &self,
        template: Option<&FWPM_FILTER_ENUM_TEMPLATE0>,
        each: &mut dyn FnMut(&FWPM_FILTER0),
    ) -> Result<(), EngineFault> {
        let template = to_windows::optional(template);
        let mut handle = null_mut();
        // SAFETY: the session is open, and the template and its provider live until the call returns.
        let code = unsafe { FwpmFilterCreateEnumHandle0(self.handle, template, &raw mut handle) };
        done(code, ObjectKind::Filter)?;
        let next: Next<FWPM_FILTER0> = FwpmFilterEnum0;
        let listing = Listing::new(self, handle, next, FwpmFilterDestroyEnumHandle0);
        listing.each(ObjectKind::Filter, each)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the session is open, and nobody uses its handle after this. That closing fails changes
        // nothing: the engine ends the session when this program ends.
        unsafe { FwpmEngineClose0(self.handle) };
    }
}

/// The function that hands out the next objects of an enumeration.
type Next<T> = unsafe extern "system" fn(HANDLE, HANDLE, u32, *mut *mut *mut T, *mut u32) -> u32;
/// The function that ends an enumeration.
type Destroy = unsafe extern "system" fn(HANDLE, HANDLE) -> u32;

/// An enumeration, until it is dropped.
struct Listing<'a, T> {
    session: &'a Session,
    handle: HANDLE,
    next: Next<T>,
    destroy: Destroy,
}

impl<'a, T> Listing<'a, T> {
    fn new(session: &'a Session, handle: HANDLE, next: Next<T>, destroy: Destroy) -> Self {
        Self { session, handle, next, destroy }
    }

    /// All that is left in it.
    fn read<V>(&self, kind: ObjectKind, read: impl Fn(&T) -> V) -> Result<Vec<V>, EngineFault> {
        let mut found = Vec::new();
        self.each(kind, &mut |object| found.push(read(object)))?;
        Ok(found)
    }

    /// Passes all that is left in it to `each`, page by page.
    fn each(&self, kind: ObjectKind, each: &mut dyn FnMut(&T)) -> Result<(), EngineFault> {
        loop {
            let page = self.page(kind)?;
            if page.objects().is_empty() {
                return Ok(());
            }
            for object in page.objects() {
                // SAFETY: the engine hands out pointers to objects, valid until the page is freed.
                let object = unsafe { object.as_ref() }.ok_or_else(|| {
                    EngineFault::Malformed(format!("the engine handed out a {kind} that is null"))
                })?;
                each(object);
            }
        }
    }

    fn page(&self, kind: ObjectKind) -> Result<Page<T>, EngineFault> {
        let (mut entries, mut count) = (null_mut(), 0);
        // SAFETY: the session and the enumeration are open, and the results are ours.
        let code = unsafe {
            (self.next)(self.session.handle, self.handle, PAGE, &raw mut entries, &raw mut count)
        };
        // Also what comes with an error is freed.
        let page = Page { entries, count: usize::try_from(count).unwrap_or_default() };
        done(code, kind)?;
        Ok(page)
    }
}

impl<T> Drop for Listing<'_, T> {
    fn drop(&mut self) {
        // SAFETY: both are open. That it fails changes nothing: the engine ends it with the session.
        unsafe { (self.destroy)(self.session.handle, self.handle) };
    }
}

/// Objects that the engine handed out, freed when dropped.
struct Page<T> {
    entries: *mut *mut T,
    count: usize,
}

impl<T> Page<T> {
    fn objects(&self) -> &[*mut T] {
        if self.entries.is_null() {
            return &[];
        }
        // SAFETY: the engine handed out an array of so many pointers, which nobody frees before `self`.
        unsafe { slice::from_raw_parts(self.entries, self.count) }
    }
}

impl<T> Drop for Page<T> {
    fn drop(&mut self) {
        free(self.entries);
    }
}

/// Gives back what the engine handed out.
fn free<T>(place: *mut T) {
    let mut place: *mut c_void = place.cast();
    if !place.is_null() {
        // SAFETY: the engine allocated it, and nobody uses it after this.
        unsafe { FwpmFreeMemory0(&raw mut place) };
    }
}

/// The identity of an executable, as filters compare it: its NT device path in small letters.
///
/// # Errors
/// There is no such file, or its path is not that of an executable on a device.
pub fn app_id(path: &str) -> Result<AppId, EngineError> {
    let failed = |fault: EngineFault| fault.of(EngineAction::Identify(path.to_owned()));
    if path.is_empty() || path.contains('\0') {
        return Err(failed(EngineFault::NoSuchFile));
    }
    let wide: Vec<u16> = path.encode_utf16().chain([0]).collect();
    let mut blob: *mut FWP_BYTE_BLOB = null_mut();
    // SAFETY: the path lives until the call returns and ends with a zero.
    let code = unsafe { FwpmGetAppIdFromFileName0(wide.as_ptr(), &raw mut blob) };
    // SAFETY: null, or a blob that the engine handed out.
    let bytes = unsafe { from_windows::bytes(blob) };
    free(blob);
    done(code, ObjectKind::Filter).map_err(failed)?;
    let bytes = bytes.ok_or_else(|| EngineFault::Malformed("Windows gave no path".to_owned()));
    AppId::from_blob(&bytes.map_err(failed)?)
        .map_err(|error| failed(EngineFault::Malformed(error.to_string())))
}
