//! A named pipe that only SYSTEM and Administrators of this host may open: what a socket in a private
//! directory is on Linux.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::windows::ffi::OsStrExt as _;
use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_PIPE_BUSY, ERROR_PIPE_CONNECTED, GENERIC_READ,
    GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
    PIPE_TYPE_BYTE, PIPE_WAIT, WaitNamedPipeW,
};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, WaitForSingleObject};

use super::owned::Handle;
use super::security::Descriptor;
use super::wide::succeeded;

/// SYSTEM and Administrators may do everything, nobody else anything.
const PRIVATE_PIPE: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";
/// The most clients at the same time; further ones wait.
const INSTANCES: u32 = 16;
/// The size of each buffer, in bytes.
const BUFFER: u32 = 64 * 1024;
/// How long a client waits until the pipe is free, in milliseconds.
const BUSY_MS: u32 = 5_000;

/// A pipe that waits for clients.
pub struct PipeListener {
    name: Vec<u16>,
    /// The instance for the next client.
    next: Mutex<Handle>,
}

impl PipeListener {
    /// Creates the pipe `name` (`\\.\pipe\…`). Clients of other hosts are refused.
    ///
    /// # Errors
    /// When it can't be created, or another program has a pipe of this name.
    pub fn new(name: &OsStr) -> io::Result<Self> {
        let name = with_zero(name);
        let next = Mutex::new(instance(&name, FILE_FLAG_FIRST_PIPE_INSTANCE)?);
        Ok(Self { name, next })
    }

    /// Waits for the next client. Its reads and writes fail after `timeout` each.
    ///
    /// # Errors
    /// When Windows refuses.
    #[allow(unsafe_code, reason = "pipes have no safe form in windows-sys")]
    pub fn accept(&self, timeout: Duration) -> io::Result<PipeConnection> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut operation = Operation::new()?;
        // SAFETY: the handle and the operation are there until it has ended, which `wait` sees to.
        let result = unsafe { ConnectNamedPipe(next.0, operation.pointer()) };
        match succeeded(result) {
            Err(error) if is(&error, ERROR_PIPE_CONNECTED) => {}
            started => operation.wait(next.0, started, None).map(drop)?,
        }
        // Before the client is served, so that the name is always taken.
        let connected = std::mem::replace(&mut *next, instance(&self.name, 0)?);
        Ok(PipeConnection { handle: connected, timeout })
    }
}

#[allow(unsafe_code, reason = "pipes have no safe form in windows-sys")]
fn instance(name: &[u16], first: u32) -> io::Result<Handle> {
    let descriptor = Descriptor::parse(PRIVATE_PIPE)?;
    let attributes = descriptor.attributes();
    // SAFETY: the name ends with a zero, and the descriptor outlives the call.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | first,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            INSTANCES,
            BUFFER,
            BUFFER,
            0,
            &raw const attributes,
        )
    };
    opened(handle)
}

/// One end of a connection over a pipe.
pub struct PipeConnection {
    handle: Handle,
    timeout: Duration,
}

// SAFETY: a handle may be used and closed by any thread of the process.
#[allow(unsafe_code, reason = "handles are pointers in windows-sys")]
unsafe impl Send for PipeConnection {}
// SAFETY: the same; the handle is only replaced under the lock.
#[allow(unsafe_code, reason = "handles are pointers in windows-sys")]
unsafe impl Send for PipeListener {}
// SAFETY: the same.
#[allow(unsafe_code, reason = "handles are pointers in windows-sys")]
unsafe impl Sync for PipeListener {}

impl PipeConnection {
    /// Connects with the pipe `name`. The other end learns who this program is, and can't act in its name.
    ///
    /// # Errors
    /// When there is no such pipe, it is not open to this program, or it stays busy.
    #[allow(unsafe_code, reason = "pipes have no safe form in windows-sys")]
    pub fn connect(name: &OsStr, timeout: Duration) -> io::Result<Self> {
        let name = with_zero(name);
        let handle = match open(&name) {
            Err(error) if is(&error, ERROR_PIPE_BUSY) => {
                // SAFETY: the name ends with a zero.
                succeeded(unsafe { WaitNamedPipeW(name.as_ptr(), BUSY_MS) })?;
                open(&name)?
            }
            other => other?,
        };
        Ok(Self { handle, timeout })
    }

    /// Waits until the other end has closed the connection, for the time of one read at most: what it has not
    /// read yet would be lost if this end were closed first.
    pub fn wait_for_close(&mut self) {
        let _ = self.read(&mut [0]);
    }
}

#[allow(unsafe_code, reason = "pipes have no safe form in windows-sys")]
fn open(name: &[u16]) -> io::Result<Handle> {
    // SAFETY: the name ends with a zero.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            0,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
            ptr::null_mut(),
        )
    };
    opened(handle)
}

impl Read for PipeConnection {
    #[allow(unsafe_code, reason = "the standard library reads pipes without a time limit")]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let mut operation = Operation::new()?;
        let (handle, into) = (self.handle.0, buffer.as_mut_ptr());
        // SAFETY: the buffer is that long; it and the operation are there until the read has ended, which
        // `wait` sees to.
        let result =
            unsafe { ReadFile(handle, into, length, ptr::null_mut(), operation.pointer()) };
        match operation.wait(handle, succeeded(result), Some(self.timeout)) {
            Err(error) if is(&error, ERROR_BROKEN_PIPE) => Ok(0),
            read => read,
        }
    }
}

impl Write for PipeConnection {
    #[allow(unsafe_code, reason = "the standard library writes to pipes without a time limit")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(BUFFER);
        let mut operation = Operation::new()?;
        let (handle, from) = (self.handle.0, bytes.as_ptr());
        // SAFETY: the buffer is that long; it and the operation are there until the write has ended, which
        // `wait` sees to.
        let result =
            unsafe { WriteFile(handle, from, length, ptr::null_mut(), operation.pointer()) };
        operation.wait(handle, succeeded(result), Some(self.timeout))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A read, a write or a connection that Windows carries out while this program waits. In a box: Windows writes
/// to it until it has ended.
struct Operation {
    overlapped: Box<OVERLAPPED>,
    _ended: Handle,
}

impl Operation {
    #[allow(unsafe_code, reason = "overlapped operations have no safe form in windows-sys")]
    fn new() -> io::Result<Self> {
        // SAFETY: no argument is a pointer that Windows follows.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        let overlapped = Box::new(OVERLAPPED { hEvent: event, ..OVERLAPPED::default() });
        Ok(Self { overlapped, _ended: Handle(event) })
    }

    fn pointer(&mut self) -> *mut OVERLAPPED {
        &raw mut *self.overlapped
    }

    /// Waits until the operation has ended, and cancels it after `timeout`. `started`: what the call that
    /// started it returned. Returns the number of bytes.
    #[allow(unsafe_code, reason = "overlapped operations have no safe form in windows-sys")]
    fn wait(
        &mut self,
        handle: HANDLE,
        started: io::Result<()>,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        match started {
            Err(error) if !is(&error, ERROR_IO_PENDING) => return Err(error),
            _ => {}
        }
        let limit = timeout
            .map_or(INFINITE, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(INFINITE - 1));
        // SAFETY: the event is this value's.
        let waited = unsafe { WaitForSingleObject(self.overlapped.hEvent, limit) };
        if waited != WAIT_OBJECT_0 {
            // SAFETY: the handle is open, and the operation is one of it.
            unsafe { CancelIoEx(handle, self.pointer()) };
        }
        let mut bytes = 0;
        // SAFETY: the same; this waits until the operation, possibly cancelled, has ended.
        let result = unsafe { GetOverlappedResult(handle, self.pointer(), &raw mut bytes, 1) };
        match succeeded(result) {
            Err(_) if waited == WAIT_TIMEOUT => Err(io::ErrorKind::TimedOut.into()),
            ended => ended.map(|()| bytes as usize),
        }
    }
}

fn opened(handle: HANDLE) -> io::Result<Handle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    Ok(Handle(handle))
}

fn with_zero(name: &OsStr) -> Vec<u16> {
    name.encode_wide().chain([0]).collect()
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
