//! Sessions and transactions.

use std::collections::HashMap;
use std::ffi::c_void;
use std::time::Duration;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::{
    FWP_BYTE_BLOB, FWPM_SESSION0,
};
use xshield_wfp_double::contract::{By, code};

use crate::engine::{self, Session, broken, call, counted};
use crate::take_in;

const DYNAMIC: u32 = 1;
const READ_ONLY: u32 = 1;
/// What Windows waits when the session says nothing.
const USUAL_WAIT_MS: u32 = 15_000;

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmEngineOpen0(
    server: *const u16,
    _authentication: u32,
    _identity: *const c_void,
    session: *const FWPM_SESSION0,
    handle: *mut HANDLE,
) -> u32 {
    let directory = match engine::directory() {
        Ok(directory) => directory,
        Err(code) => return code,
    };
    // SAFETY: the caller's promise: null, or a session.
    let (flags, wait) = match unsafe { session.as_ref() } {
        Some(session) => (session.flags, session.txnWaitTimeoutInMSec),
        None => (0, 0),
    };
    let wait = if wait == 0 { USUAL_WAIT_MS } else { wait };
    let (faults, log) = match (directory.faults(), directory.log()) {
        (Ok(faults), Ok(log)) => (faults, log),
        (Err(error), _) | (_, Err(error)) => return broken(&error),
    };
    counted(&directory, &faults, &mut log.clone(), "FwpmEngineOpen0", || {
        if handle.is_null() || !server.is_null() {
            return Err(code::NULL_POINTER);
        }
        if flags & !DYNAMIC != 0 {
            return Err(code::INVALID_FLAGS);
        }
        let mut session = Session {
            directory: directory.clone(),
            by: By::Lasting,
            live: None,
            wait: Duration::from_millis(wait.into()),
            transaction: None,
            listings: HashMap::new(),
            faults: faults.clone(),
            log: log.clone(),
        };
        if flags & DYNAMIC != 0 {
            let number = session.with(true, |store, _| {
                store.last_session += 1;
                Ok(store.last_session)
            })?;
            session.by = By::Dynamic(number);
            session.live = Some(directory.begin_session(number).map_err(|error| broken(&error))?);
        }
        // SAFETY: not null, and the caller's promise: a place for a handle.
        unsafe { *handle = engine::opened(session) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmEngineClose0(handle: HANDLE) -> u32 {
    let code = call(handle, "FwpmEngineClose0", |session| {
        session.transaction = None;
        if let By::Dynamic(number) = session.by {
            session.with(true, |store, _| {
                store.end(number);
                Ok(())
            })?;
        }
        session.live = None;
        Ok(())
    });
    if code == code::SUCCESS {
        engine::closed(handle);
    }
    code
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmTransactionBegin0(handle: HANDLE, flags: u32) -> u32 {
    call(handle, "FwpmTransactionBegin0", |session| {
        if session.transaction.is_some() {
            return Err(code::TXN_IN_PROGRESS);
        }
        if flags & !READ_ONLY != 0 {
            return Err(code::INVALID_FLAGS);
        }
        session.transaction = Some(session.begin(flags & READ_ONLY == 0)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmTransactionCommit0(handle: HANDLE) -> u32 {
    call(handle, "FwpmTransactionCommit0", |session| {
        let running = session.transaction.take().ok_or(code::NO_TXN_IN_PROGRESS)?;
        if running.writes {
            session.directory.save(&running.store).map_err(|error| broken(&error))?;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmTransactionAbort0(handle: HANDLE) -> u32 {
    call(handle, "FwpmTransactionAbort0", |session| {
        session.transaction.take().map(drop).ok_or(code::NO_TXN_IN_PROGRESS)
    })
}

/// The device path of an executable, in small letters: drive C is the third volume, and so on.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn FwpmGetAppIdFromFileName0(
    name: *const u16,
    blob: *mut *mut FWP_BYTE_BLOB,
) -> u32 {
    const FILE_NOT_FOUND: u32 = 2;
    // SAFETY: the caller's promise: null, or text with a zero at its end.
    let Some(name) = (unsafe { take_in::text(name) }) else { return code::NULL_POINTER };
    let path = std::path::absolute(&name).unwrap_or_default();
    let text = path.to_string_lossy().to_lowercase();
    let (Some(drive), true) = (text.bytes().next(), path.is_file()) else { return FILE_NOT_FOUND };
    let Some(rest) = text.get(2..) else { return FILE_NOT_FOUND };
    let volume = drive.saturating_sub(b'a') + 1;
    let path = format!(r"\device\harddiskvolume{volume}{rest}");
    let bytes: Vec<u8> = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    if blob.is_null() {
        return code::NULL_POINTER;
    }
    // SAFETY: not null, and the caller's promise: a place for a pointer.
    unsafe { *blob = crate::hand_out::blob_alone(bytes) };
    code::SUCCESS
}
