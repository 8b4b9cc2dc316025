//! Ctrl-C at the console, and its closing.

use std::io;
use std::sync::OnceLock;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::wide::succeeded;

static HANDLER: OnceLock<fn()> = OnceLock::new();

/// Calls `handler` in a thread of its own when Ctrl-C or Ctrl-Break is pressed, or the console is closed; then
/// Windows ends the program some seconds later, whatever the handler does. A second handler is ignored.
///
/// # Errors
/// When Windows does not take it; then the process ends as by default.
#[allow(unsafe_code, reason = "handlers of the console have no safe form in windows-sys")]
pub fn on_interruption(handler: fn()) -> io::Result<()> {
    if HANDLER.set(handler).is_err() {
        return Ok(());
    }
    // SAFETY: the function lives as long as the program.
    succeeded(unsafe { SetConsoleCtrlHandler(Some(called), 1) })
}

#[allow(unsafe_code, reason = "called by Windows")]
unsafe extern "system" fn called(event: u32) -> BOOL {
    match (event, HANDLER.get()) {
        (CTRL_C_EVENT | CTRL_BREAK_EVENT | CTRL_CLOSE_EVENT, Some(handler)) => {
            handler();
            1
        }
        _ => 0,
    }
}
