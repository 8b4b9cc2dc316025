//! The processes behind sockets.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, FILETIME, HANDLE};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION,
    QueryFullProcessImageNameW,
};

use super::accounts::{self, UserId};
use super::owned::Handle;
use super::services;
use super::wide::{Filled, grown, succeeded, text};

/// The kernel and its drivers: HTTP.sys, SMB and the like listen as this process.
const SYSTEM: u32 = 4;

/// A process, as far as it may be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// The name of its executable, e.g. `svchost.exe`; `System` of the kernel.
    pub name: Option<String>,
    /// The full path of its executable; `None` of the kernel.
    pub path: Option<String>,
    /// The user whose rights it has.
    pub user: Option<UserId>,
    /// The services in it, sorted; several share a process on hosts with little memory.
    pub services: Vec<String>,
    /// When it started, in units of 100 ns since 1601.
    started: Option<u64>,
}

impl Process {
    /// The service, if it is the only one in the process.
    #[must_use]
    pub fn only_service(&self) -> Option<&str> {
        match self.services.as_slice() {
            [service] => Some(service),
            _ => None,
        }
    }

    /// Whether it may have made something at `then`: a later process with the same number has not.
    pub(super) fn was_there(&self, then: u64) -> bool {
        then == 0 || self.started.is_none_or(|started| started <= then)
    }
}

/// Looks at processes, at each once.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<u32, Option<Arc<Process>>>,
    services: HashMap<u32, Vec<String>>,
    users: HashMap<UserId, Option<String>>,
}

impl Processes {
    /// Of this host, now.
    pub(super) fn now() -> Self {
        Self { services: services::by_process().unwrap_or_default(), ..Self::default() }
    }

    /// The process with this number; `None` when there is none any more.
    pub(super) fn get(&mut self, id: u32) -> Option<Arc<Process>> {
        let services = &self.services;
        let look = || look(id, services.get(&id).cloned().unwrap_or_default()).map(Arc::new);
        self.known.entry(id).or_insert_with(look).clone()
    }

    /// The name of a user.
    pub(super) fn user_name(&mut self, user: &UserId) -> Option<String> {
        let known = self.users.entry(user.clone());
        known.or_insert_with(|| accounts::name(user).ok()).clone()
    }
}

fn look(id: u32, services: Vec<String>) -> Option<Process> {
    let nothing = Process { id, name: None, path: None, user: None, services, started: None };
    if id == 0 {
        return None;
    }
    if id == SYSTEM {
        return Some(Process { name: Some("System".to_owned()), ..nothing });
    }
    let process = match open(id) {
        Ok(process) => process,
        // It is there, and may not be looked at.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Some(nothing),
        Err(_) => return None,
    };
    let path = image(process.0).ok();
    let name = path.as_deref().and_then(|path| Path::new(path).file_name());
    Some(Process {
        name: name.map(|name| name.to_string_lossy().into_owned()),
        path,
        user: accounts::user_of(process.0).ok(),
        started: started(process.0).ok(),
        ..nothing
    })
}

#[allow(unsafe_code, reason = "processes have no safe form in windows-sys")]
fn open(id: u32) -> io::Result<Handle> {
    // SAFETY: takes numbers alone.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id) };
    if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Handle(handle)) }
}

#[allow(unsafe_code, reason = "processes have no safe form in windows-sys")]
fn image(process: HANDLE) -> io::Result<String> {
    let path = grown(1_024, |buffer: &mut [u16]| {
        let mut length = buffer.len() as u32;
        // SAFETY: the handle is open, and the buffer is as long as it is said to be.
        let result = unsafe {
            QueryFullProcessImageNameW(
                process,
                PROCESS_NAME_WIN32,
                buffer.as_mut_ptr(),
                &raw mut length,
            )
        };
        match succeeded(result) {
            Ok(()) => Ok(Filled::Whole(length as usize)),
            Err(error) if error.raw_os_error() == Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) => {
                Ok(Filled::TooSmall(buffer.len() * 2))
            }
            Err(error) => Err(error),
        }
    })?;
    Ok(text(&path))
}

#[allow(unsafe_code, reason = "processes have no safe form in windows-sys")]
fn started(process: HANDLE) -> io::Result<u64> {
    let none = FILETIME::default();
    let (mut created, mut ended, mut kernel, mut user) = (none, none, none, none);
    // SAFETY: the handle is open, and all four take results.
    succeeded(unsafe {
        GetProcessTimes(process, &raw mut created, &raw mut ended, &raw mut kernel, &raw mut user)
    })?;
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}
