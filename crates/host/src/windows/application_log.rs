//! The Application event log, where administrators look for what programs report.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use super::registry::Key;
use super::wide::{succeeded, wide};

/// The name under which events appear.
const SOURCE: &str = "Xshield";
const REGISTRATION: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application\Xshield";
/// Part of every Windows; its messages 1 to 1000 are the text that an event carries, and nothing else.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// Windows takes at most 31,839 characters.
const LONGEST: usize = 31_000;

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// For the record.
    Information,
    /// Someone should look at it.
    Warning,
    /// Something failed.
    Error,
}

impl Severity {
    fn kind(self) -> u16 {
        match self {
            Self::Information => EVENTLOG_INFORMATION_TYPE,
            Self::Warning => EVENTLOG_WARNING_TYPE,
            Self::Error => EVENTLOG_ERROR_TYPE,
        }
    }

    /// The event's number, by which administrators filter.
    fn number(self) -> u32 {
        match self {
            Self::Information => 1,
            Self::Warning => 2,
            Self::Error => 3,
        }
    }
}

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationLogError {
    /// The registration of the source.
    #[error(
        "registering the event source {SOURCE} failed (HKLM\\{REGISTRATION}); run it as an administrator"
    )]
    Register(#[source] io::Error),
    /// The event.
    #[error(
        "writing to the Application event log failed; check the service EventLog: sc query EventLog"
    )]
    Write(#[source] io::Error),
}

/// The Application log, opened for this program's events.
#[derive(Debug)]
pub struct ApplicationLog(HANDLE);

impl ApplicationLog {
    /// Registers the source, if it is not, so that Event Viewer shows the texts as they are, and opens the
    /// log.
    ///
    /// # Errors
    /// If the source can't be registered, or the event log service does not run.
    #[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
    pub fn open() -> Result<Self, ApplicationLogError> {
        register().map_err(ApplicationLogError::Register)?;
        let source = wide(SOURCE);
        // SAFETY: null is this host; the name ends with a zero.
        let handle = unsafe { RegisterEventSourceW(ptr::null(), source.as_ptr()) };
        if handle.is_null() {
            return Err(ApplicationLogError::Write(io::Error::last_os_error()));
        }
        Ok(Self(handle))
    }

    /// Writes an event. A longer text than Windows takes is cut.
    ///
    /// # Errors
    /// If Windows refuses it.
    #[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
    pub fn write(&self, severity: Severity, text: &str) -> Result<(), ApplicationLogError> {
        let fitting: String =
            text.chars().filter(|letter| *letter != '\0').take(LONGEST / 2).collect();
        let text = wide(&fitting);
        let strings = [text.as_ptr()];
        // SAFETY: the log is open; one text that ends with a zero is passed, and no data.
        let result = unsafe {
            ReportEventW(
                self.0,
                severity.kind(),
                0,
                severity.number(),
                ptr::null_mut(),
                1,
                0,
                strings.as_ptr(),
                ptr::null(),
            )
        };
        succeeded(result).map_err(ApplicationLogError::Write)
    }
}

impl Drop for ApplicationLog {
    #[allow(unsafe_code, reason = "closes a handle")]
    fn drop(&mut self) {
        // SAFETY: it is this value's alone.
        unsafe { DeregisterEventSource(self.0) };
    }
}

fn register() -> io::Result<()> {
    const FILE: &str = "EventMessageFile";
    let registered = Key::open(REGISTRATION)?.and_then(|key| key.text(FILE));
    if registered.as_deref() == Some(MESSAGES) {
        return Ok(());
    }
    Key::lasting(REGISTRATION)?.set_expanding_text(FILE, MESSAGES)
}
