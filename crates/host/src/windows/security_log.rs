//! The Security log, by the functions of wevtapi.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_EVT_CHANNEL_NOT_FOUND, ERROR_INSUFFICIENT_BUFFER,
    ERROR_NO_MORE_ITEMS,
};
use windows_sys::Win32::System::EventLog::{
    EVT_HANDLE, EVT_LOG_PROPERTY_ID, EVT_VARIANT, EvtClose, EvtCreateBookmark, EvtGetLogInfo,
    EvtLogNumberOfLogRecords, EvtLogOldestRecordNumber, EvtNext, EvtOpenChannelPath, EvtOpenLog,
    EvtQuery, EvtQueryChannelPath, EvtQueryForwardDirection, EvtRender, EvtRenderBookmark,
    EvtRenderEventXml, EvtSeek, EvtSeekRelativeToBookmark, EvtUpdateBookmark,
};

use super::wide::{Filled, grown, succeeded, text, wide};
use crate::windows_logs::{Position, SecurityLog, Span, query};

const CHANNEL: &str = "Security";
/// Events that are fetched at a time.
const AT_A_TIME: usize = 64;
/// How long the service may search for the next event, in milliseconds.
const PATIENCE_MS: u32 = 60_000;

/// Why the Security log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SecurityLogError {
    /// Not allowed.
    #[error(
        "reading the Security log was denied; run it as an administrator or as a member of Event Log \
         Readers"
    )]
    Denied(#[source] io::Error),
    /// The event log service does not offer it.
    #[error("this host has no Security log; check the service EventLog: sc query EventLog")]
    Missing(#[source] io::Error),
    /// Another failure.
    #[error("{doing} the Security log failed; check the service EventLog: sc query EventLog")]
    Failed {
        /// The action.
        doing: &'static str,
        /// The error returned by Windows.
        #[source]
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> SecurityLogError {
    move |source| {
        let is = |code: u32| source.raw_os_error() == Some(code.cast_signed());
        if is(ERROR_ACCESS_DENIED) {
            SecurityLogError::Denied(source)
        } else if is(ERROR_EVT_CHANNEL_NOT_FOUND) {
            SecurityLogError::Missing(source)
        } else {
            SecurityLogError::Failed { doing, source }
        }
    }
}

/// A handle of wevtapi.
struct Evt(EVT_HANDLE);

impl Evt {
    fn of(handle: EVT_HANDLE) -> io::Result<Self> {
        if handle == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }
}

impl Drop for Evt {
    #[allow(unsafe_code, reason = "closes a handle")]
    fn drop(&mut self) {
        // SAFETY: it is this value's alone.
        unsafe { EvtClose(self.0) };
    }
}

/// The Security log of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisSecurityLog;

impl SecurityLog for ThisSecurityLog {
    type Error = SecurityLogError;

    fn span(&mut self) -> Result<Option<Span>, SecurityLogError> {
        let log = open_log().map_err(failed("opening"))?;
        let number = |id| number(&log, id).map_err(failed("asking for the records of"));
        let (count, oldest) =
            (number(EvtLogNumberOfLogRecords)?, number(EvtLogOldestRecordNumber)?);
        Ok((count > 0).then(|| Span { oldest, newest: oldest.saturating_add(count - 1) }))
    }

    fn read(
        &mut self,
        after: &Position,
        most: usize,
        each: &mut dyn FnMut(&str),
    ) -> Result<Option<String>, SecurityLogError> {
        let results = start(after).map_err(failed("querying"))?;
        let bookmark = new_bookmark(None).map_err(failed("making a bookmark of"))?;
        let mut read = 0;
        while read < most {
            let events = next(&results, AT_A_TIME.min(most - read)).map_err(failed("reading"))?;
            if events.is_empty() {
                break;
            }
            read += events.len();
            for event in &events {
                let event_text = render(event, EvtRenderEventXml).map_err(failed("rendering"))?;
                each(&event_text);
            }
            if let Some(last) = events.last() {
                update(&bookmark, last).map_err(failed("making a bookmark of"))?;
            }
        }
        let rendered = (read > 0).then(|| render(&bookmark, EvtRenderBookmark)).transpose();
        rendered.map_err(failed("making a bookmark of"))
    }
}

#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn open_log() -> io::Result<Evt> {
    let channel = wide(CHANNEL);
    // SAFETY: the name ends with a zero; 0 is this host.
    Evt::of(unsafe { EvtOpenLog(0, channel.as_ptr(), EvtOpenChannelPath) })
}

#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn number(log: &Evt, id: EVT_LOG_PROPERTY_ID) -> io::Result<u64> {
    let mut value = EVT_VARIANT::default();
    let (size, mut used) = (size_of::<EVT_VARIANT>() as u32, 0);
    // SAFETY: the log is open, and the buffer is as long as it is said to be.
    succeeded(unsafe { EvtGetLogInfo(log.0, id, size, &raw mut value, &raw mut used) })?;
    // SAFETY: both properties that are asked for are numbers of 64 bits.
    Ok(unsafe { value.Anonymous.UInt64Val })
}

/// Begins a query. The bookmark only saves Windows the search for the first event: the query itself leaves
/// out what has been read, so that a bookmark of an event that is gone does no harm.
#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn start(after: &Position) -> io::Result<Evt> {
    let (channel, query) = (wide(CHANNEL), wide(&query(after.record)));
    let flags = EvtQueryChannelPath | EvtQueryForwardDirection;
    // SAFETY: both texts end with a zero; 0 is this host.
    let results = Evt::of(unsafe { EvtQuery(0, channel.as_ptr(), query.as_ptr(), flags) })?;
    if let Some(Ok(bookmark)) = after.bookmark.as_deref().map(|text| new_bookmark(Some(text))) {
        // SAFETY: both handles are open.
        unsafe { EvtSeek(results.0, 0, bookmark.0, 0, EvtSeekRelativeToBookmark) };
    }
    Ok(results)
}

#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn new_bookmark(text: Option<&str>) -> io::Result<Evt> {
    let text = text.map(wide);
    let start = text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: null, or a text that ends with a zero.
    Evt::of(unsafe { EvtCreateBookmark(start) })
}

#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn update(bookmark: &Evt, event: &Evt) -> io::Result<()> {
    // SAFETY: both handles are open.
    succeeded(unsafe { EvtUpdateBookmark(bookmark.0, event.0) })
}

/// At most so many events; none at the end.
#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn next(results: &Evt, most: usize) -> io::Result<Vec<Evt>> {
    let mut handles = [0_isize; AT_A_TIME];
    let (most, mut returned) = (most.min(AT_A_TIME) as u32, 0);
    // SAFETY: the query is open, and the buffer has room for so many handles.
    let result = unsafe {
        EvtNext(results.0, most, handles.as_mut_ptr(), PATIENCE_MS, 0, &raw mut returned)
    };
    match succeeded(result) {
        Ok(()) => Ok(handles.into_iter().take(returned as usize).map(Evt).collect()),
        Err(error) if error.raw_os_error() == Some(ERROR_NO_MORE_ITEMS.cast_signed()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[allow(unsafe_code, reason = "the event log has no safe form in windows-sys")]
fn render(of: &Evt, form: u32) -> io::Result<String> {
    let units = grown(4_096, |buffer: &mut [u16]| {
        let (size, mut used, mut properties) = (size_of_val(buffer) as u32, 0, 0);
        // SAFETY: the handle is open, and the buffer is as long as it is said to be.
        let result = unsafe {
            EvtRender(
                0,
                of.0,
                form,
                size,
                buffer.as_mut_ptr().cast(),
                &raw mut used,
                &raw mut properties,
            )
        };
        let units = (used as usize).div_ceil(size_of::<u16>());
        match succeeded(result) {
            Ok(()) => Ok(Filled::Whole(units.min(buffer.len()))),
            Err(error) if error.raw_os_error() == Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) => {
                Ok(Filled::TooSmall(units))
            }
            Err(error) => Err(error),
        }
    })?;
    Ok(text(&units))
}
