//! Memory and handles that Windows hands out and wants back.

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LocalFree};

/// Memory that Windows wants back by LocalFree.
pub(super) struct Local(pub(super) *mut core::ffi::c_void);

impl Drop for Local {
    #[allow(unsafe_code, reason = "gives memory back to Windows")]
    fn drop(&mut self) {
        // SAFETY: it was allocated for the caller by a function that asks for LocalFree, and nobody else
        // frees it.
        unsafe { LocalFree(self.0) };
    }
}

/// A handle that is closed when it is dropped.
pub(super) struct Handle(pub(super) HANDLE);

impl Drop for Handle {
    #[allow(unsafe_code, reason = "closes a handle")]
    fn drop(&mut self) {
        // SAFETY: it is this value's alone.
        unsafe { CloseHandle(self.0) };
    }
}
