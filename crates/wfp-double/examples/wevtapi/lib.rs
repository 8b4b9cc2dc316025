//! `wevtapi.dll` for wine, which has only stubs of it: the Security log in the directory that the environment
//! variable `WFP_DOUBLE` names.
#![cfg(windows)]
#![expect(unsafe_code, reason = "takes and hands out memory as Windows' functions do")]
#![allow(non_upper_case_globals, reason = "Microsoft's names")]
#![allow(missing_docs, reason = "Microsoft documents these functions")]
#![allow(clippy::missing_safety_doc, reason = "Microsoft documents these functions")]

use std::ffi::c_void;
use std::path::PathBuf;
use std::slice;

use windows_sys::Win32::Foundation::{
    ERROR_EVT_CHANNEL_NOT_FOUND, ERROR_EVT_INVALID_QUERY, ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER, ERROR_NO_MORE_ITEMS, ERROR_READ_FAULT,
    SetLastError,
};
use windows_sys::Win32::System::EventLog::{
    EVT_HANDLE, EVT_VARIANT, EvtLogNumberOfLogRecords, EvtLogOldestRecordNumber,
    EvtOpenChannelPath, EvtQueryChannelPath, EvtQueryForwardDirection, EvtRenderBookmark,
    EvtRenderEventXml, EvtSeekRelativeToBookmark, EvtVarTypeUInt64,
};
use windows_sys::core::BOOL;
use xshield_wfp_double::DIRECTORY;
use xshield_wfp_double::security_log::{Query, SecurityLog, bookmark, bookmarked};

const CHANNEL: &str = "Security";

/// What a handle stands for.
enum Object {
    Log(SecurityLog),
    Results { log: SecurityLog, found: Vec<u64>, next: usize },
    Event { number: u64, xml: String },
    Bookmark(Option<u64>),
}

fn refuse(code: u32) -> BOOL {
    // SAFETY: sets a number of this thread.
    unsafe { SetLastError(code) };
    0
}

fn hand_out(object: Object) -> EVT_HANDLE {
    Box::into_raw(Box::new(object)) as EVT_HANDLE
}

fn no_handle(code: u32) -> EVT_HANDLE {
    refuse(code);
    0
}

/// The object of a handle.
unsafe fn object<'a>(handle: EVT_HANDLE) -> Option<&'a mut Object> {
    // SAFETY: the caller's promise: 0, or a handle that was handed out and is not closed.
    unsafe { (handle as *mut Object).as_mut() }
}

/// A text that ends with a zero; `None` for null.
unsafe fn text(start: *const u16) -> Option<String> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller's promise: the text ends with a zero.
    let length = (0..).take_while(|&at| unsafe { *start.add(at) } != 0).count();
    // SAFETY: so many units precede the zero.
    Some(String::from_utf16_lossy(unsafe { slice::from_raw_parts(start, length) }))
}

fn load() -> Result<SecurityLog, u32> {
    let directory = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let directory = directory.ok_or(ERROR_EVT_CHANNEL_NOT_FOUND)?;
    SecurityLog::load(&directory).map_err(|_| ERROR_READ_FAULT)
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtOpenLog(
    session: EVT_HANDLE,
    path: *const u16,
    flags: u32,
) -> EVT_HANDLE {
    // SAFETY: the caller's promise: a text that ends with a zero, or null.
    let channel = unsafe { text(path) };
    if session != 0 || flags != EvtOpenChannelPath {
        return no_handle(ERROR_INVALID_PARAMETER);
    }
    if channel.as_deref() != Some(CHANNEL) {
        return no_handle(ERROR_EVT_CHANNEL_NOT_FOUND);
    }
    load().map_or_else(no_handle, |log| hand_out(Object::Log(log)))
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtGetLogInfo(
    log: EVT_HANDLE,
    property: i32,
    size: u32,
    value: *mut EVT_VARIANT,
    used: *mut u32,
) -> BOOL {
    // SAFETY: the caller's promise about the handle.
    let Some(Object::Log(log)) = (unsafe { object(log) }) else {
        return refuse(ERROR_INVALID_HANDLE);
    };
    let number = match property {
        EvtLogNumberOfLogRecords => log.records.len() as u64,
        EvtLogOldestRecordNumber => log.oldest,
        _ => return refuse(ERROR_INVALID_PARAMETER),
    };
    if value.is_null() || (size as usize) < size_of::<EVT_VARIANT>() {
        return refuse(ERROR_INSUFFICIENT_BUFFER);
    }
    let mut found = EVT_VARIANT { Type: EvtVarTypeUInt64 as u32, ..Default::default() };
    found.Anonymous.UInt64Val = number;
    // SAFETY: the caller's promise: the buffer has that size; `used` takes a number.
    unsafe {
        value.write_unaligned(found);
        *used = size_of::<EVT_VARIANT>() as u32;
    }
    1
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtQuery(
    session: EVT_HANDLE,
    path: *const u16,
    query: *const u16,
    flags: u32,
) -> EVT_HANDLE {
    // SAFETY: the caller's promise: texts that end with a zero, or null.
    let (channel, query) = unsafe { (text(path), text(query)) };
    if session != 0 || flags != EvtQueryChannelPath | EvtQueryForwardDirection {
        return no_handle(ERROR_INVALID_PARAMETER);
    }
    if channel.as_deref() != Some(CHANNEL) {
        return no_handle(ERROR_EVT_CHANNEL_NOT_FOUND);
    }
    let Some(query) = query.as_deref().and_then(Query::parse) else {
        return no_handle(ERROR_EVT_INVALID_QUERY);
    };
    load().map_or_else(no_handle, |log| {
        let found = log.find(&query);
        hand_out(Object::Results { log, found, next: 0 })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtSeek(
    results: EVT_HANDLE,
    offset: i64,
    to: EVT_HANDLE,
    _timeout: u32,
    flags: u32,
) -> BOOL {
    // SAFETY: the caller's promise about the handles, which are of different objects.
    let (results, to) = unsafe { (object(results), object(to)) };
    let (Some(Object::Results { found, next, .. }), Some(Object::Bookmark(Some(record)))) =
        (results, to)
    else {
        return refuse(ERROR_INVALID_HANDLE);
    };
    if offset != 0 || flags != EvtSeekRelativeToBookmark {
        return refuse(ERROR_INVALID_PARAMETER);
    }
    *next = found.iter().take_while(|number| *number < record).count();
    1
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtNext(
    results: EVT_HANDLE,
    size: u32,
    events: *mut EVT_HANDLE,
    _timeout: u32,
    _flags: u32,
    returned: *mut u32,
) -> BOOL {
    // SAFETY: the caller's promise about the handle.
    let Some(Object::Results { log, found, next }) = (unsafe { object(results) }) else {
        return refuse(ERROR_INVALID_HANDLE);
    };
    let numbers: Vec<u64> = found.iter().skip(*next).take(size as usize).copied().collect();
    if numbers.is_empty() {
        return refuse(ERROR_NO_MORE_ITEMS);
    }
    *next += numbers.len();
    for (at, &number) in numbers.iter().enumerate() {
        let xml = log.record(number).unwrap_or_default().to_owned();
        // SAFETY: the caller's promise: the buffer has room for `size` handles.
        unsafe { *events.add(at) = hand_out(Object::Event { number, xml }) };
    }
    // SAFETY: the caller's promise: `returned` takes a number.
    unsafe { *returned = numbers.len() as u32 };
    1
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtCreateBookmark(from: *const u16) -> EVT_HANDLE {
    // SAFETY: the caller's promise: a text that ends with a zero, or null.
    match unsafe { text(from) } {
        None => hand_out(Object::Bookmark(None)),
        Some(text) => match bookmarked(&text) {
            Some(record) => hand_out(Object::Bookmark(Some(record))),
            None => no_handle(ERROR_INVALID_PARAMETER),
        },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtUpdateBookmark(handle: EVT_HANDLE, event: EVT_HANDLE) -> BOOL {
    // SAFETY: the caller's promise about the handles, which are of different objects.
    let (bookmark, event) = unsafe { (object(handle), object(event)) };
    match (bookmark, event) {
        (Some(Object::Bookmark(record)), Some(Object::Event { number, .. })) => {
            *record = Some(*number);
            1
        }
        _ => refuse(ERROR_INVALID_HANDLE),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtRender(
    context: EVT_HANDLE,
    fragment: EVT_HANDLE,
    flags: u32,
    size: u32,
    buffer: *mut c_void,
    used: *mut u32,
    properties: *mut u32,
) -> BOOL {
    // SAFETY: the caller's promise about the handle.
    let rendered = match (unsafe { object(fragment) }, flags) {
        (Some(Object::Event { xml, .. }), EvtRenderEventXml) => xml.clone(),
        (Some(Object::Bookmark(Some(record))), EvtRenderBookmark) => bookmark(*record),
        _ => return refuse(ERROR_INVALID_PARAMETER),
    };
    if context != 0 {
        return refuse(ERROR_INVALID_PARAMETER);
    }
    let units: Vec<u16> = rendered.encode_utf16().chain([0]).collect();
    let bytes = size_of_val(units.as_slice());
    // SAFETY: the caller's promise: both take a number.
    unsafe { (*used, *properties) = (bytes as u32, 0) };
    if (size as usize) < bytes {
        return refuse(ERROR_INSUFFICIENT_BUFFER);
    }
    // SAFETY: the caller's promise: the buffer has that size, which is enough.
    unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(units.as_ptr().cast(), bytes) };
    1
}

#[unsafe(no_mangle)]
pub unsafe extern "system" fn EvtClose(handle: EVT_HANDLE) -> BOOL {
    if handle == 0 {
        return refuse(ERROR_INVALID_HANDLE);
    }
    // SAFETY: the caller's promise: it was handed out and is closed once.
    drop(unsafe { Box::from_raw(handle as *mut Object) });
    1
}
