//! The services of this host: which runs where, and how it stands.

use std::collections::HashMap;
use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SERVICE_DOES_NOT_EXIST};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW,
    OpenServiceW, QueryServiceStatusEx, SC_ENUM_PROCESS_INFO, SC_HANDLE, SC_MANAGER_CONNECT,
    SC_MANAGER_ENUMERATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_ACTIVE, SERVICE_CONTINUE_PENDING,
    SERVICE_QUERY_STATUS, SERVICE_RUNNING, SERVICE_START_PENDING, SERVICE_STATUS_PROCESS,
    SERVICE_WIN32,
};

use super::registry::Key;
use super::wide::{Filled, grown, pointed, succeeded, wide};

/// How a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It will run soon.
    Starting,
    /// It does not run.
    Stopped,
    /// This host has no such service.
    Missing,
}

/// The Base Filtering Engine, which keeps and enforces the filters of WFP.
pub const FILTER_ENGINE: &str = "BFE";

struct ServiceHandle(SC_HANDLE);

impl ServiceHandle {
    fn of(handle: SC_HANDLE) -> io::Result<Self> {
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    #[allow(unsafe_code, reason = "services have no safe form in windows-sys")]
    fn manager(access: u32) -> io::Result<Self> {
        // SAFETY: null means this host and its services.
        Self::of(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), access) })
    }
}

impl Drop for ServiceHandle {
    #[allow(unsafe_code, reason = "closes a handle")]
    fn drop(&mut self) {
        // SAFETY: it is this value's alone.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// How a service stands.
///
/// # Errors
/// When the service manager does not tell.
#[allow(unsafe_code, reason = "services have no safe form in windows-sys")]
pub fn state(service: &str) -> io::Result<ServiceState> {
    let manager = ServiceHandle::manager(SC_MANAGER_CONNECT)?;
    let name = wide(service);
    // SAFETY: the manager is open, and the name ends with a zero.
    let handle = unsafe { OpenServiceW(manager.0, name.as_ptr(), SERVICE_QUERY_STATUS) };
    let handle = match ServiceHandle::of(handle) {
        Ok(handle) => handle,
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed()) => {
            return Ok(ServiceState::Missing);
        }
        Err(error) => return Err(error),
    };
    let mut status = SERVICE_STATUS_PROCESS::default();
    let (size, mut needed) = (size_of::<SERVICE_STATUS_PROCESS>() as u32, 0);
    // SAFETY: the service is open, and the buffer is as long as it is said to be.
    succeeded(unsafe {
        QueryServiceStatusEx(
            handle.0,
            SC_STATUS_PROCESS_INFO,
            (&raw mut status).cast(),
            size,
            &raw mut needed,
        )
    })?;
    Ok(match status.dwCurrentState {
        SERVICE_RUNNING => ServiceState::Running,
        SERVICE_START_PENDING | SERVICE_CONTINUE_PENDING => ServiceState::Starting,
        _ => ServiceState::Stopped,
    })
}

/// Whether the processes of a service have its identity in their access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnIdentity {
    /// They do, once the service was started after this was set.
    Present,
    /// They do not: Windows' default for services that ask for nothing else.
    Absent,
    /// This host has no such service.
    NoService,
}

/// Whether the processes of a service have its identity in their access tokens (`sc qsidtype`).
///
/// # Errors
/// When the registry does not tell.
pub fn own_identity(service: &str) -> io::Result<OwnIdentity> {
    // A name with a separator would lead to another key.
    if service.is_empty() || service.contains('\\') {
        return Ok(OwnIdentity::NoService);
    }
    let key = Key::open(&format!(r"SYSTEM\CurrentControlSet\Services\{service}"))?;
    let Some(key) = key else { return Ok(OwnIdentity::NoService) };
    // SERVICE_SID_TYPE_UNRESTRICTED and SERVICE_SID_TYPE_RESTRICTED.
    Ok(match key.number("ServiceSidType") {
        Some(1 | 3) => OwnIdentity::Present,
        _ => OwnIdentity::Absent,
    })
}

/// The services in each process, by their names (not the ones for people), sorted.
///
/// # Errors
/// When the service manager does not list them.
#[allow(unsafe_code, reason = "services have no safe form in windows-sys")]
pub fn by_process() -> io::Result<HashMap<u32, Vec<String>>> {
    let manager = ServiceHandle::manager(SC_MANAGER_ENUMERATE_SERVICE)?;
    let mut count = 0;
    // Words of eight bytes, so that structures are aligned.
    let buffer = grown(8_192, |buffer: &mut [u64]| {
        let (size, mut missing, mut resume) = (size_of_val(buffer) as u32, 0, 0);
        // SAFETY: the manager is open, and the buffer is as long as it is said to be.
        let result = unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                buffer.as_mut_ptr().cast(),
                size,
                &raw mut missing,
                &raw mut count,
                &raw mut resume,
                ptr::null(),
            )
        };
        match succeeded(result) {
            Ok(()) => Ok(Filled::Whole(buffer.len())),
            Err(error) if error.raw_os_error() == Some(ERROR_MORE_DATA.cast_signed()) => {
                Ok(Filled::TooSmall(buffer.len() + (missing as usize).div_ceil(8)))
            }
            Err(error) => Err(error),
        }
    })?;
    let first: *const ENUM_SERVICE_STATUS_PROCESSW = buffer.as_ptr().cast();
    // SAFETY: Windows wrote so many entries at the start of the aligned buffer.
    let entries = unsafe { std::slice::from_raw_parts(first, count as usize) };
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    for entry in entries {
        let process = entry.ServiceStatusProcess.dwProcessId;
        if process != 0 {
            // SAFETY: the names lie in the same buffer and end with a zero.
            found.entry(process).or_default().push(unsafe { pointed(entry.lpServiceName) });
        }
    }
    found.values_mut().for_each(|services| services.sort_unstable());
    Ok(found)
}
