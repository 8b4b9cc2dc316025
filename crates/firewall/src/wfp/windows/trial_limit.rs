//! What ends a trial when its time has passed and the program is busy with something else: the end of the
//! process, with which the filter engine ends its sessions.
#![expect(unsafe_code, reason = "calls functions of Windows")]

use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};

/// What a program does about it.
#[derive(Debug, Clone, Copy)]
struct LastWords {
    say: fn(),
    exit_code: u32,
}

static LAST_WORDS: OnceLock<LastWords> = OnceLock::new();

/// The exit code of a program that has not named one.
const FAILED: u32 = 1;
/// How long a program's last words may take: what it writes to may be full.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);

/// When the time of a trial has passed, the process ends with this exit code; before, `say` is called in a
/// thread of its own. Only the first call counts.
pub fn on_expired_trial(say: fn(), exit_code: u32) {
    let _ = LAST_WORDS.set(LastWords { say, exit_code });
}

/// Ends this process.
pub(super) fn end_process() {
    let last = LAST_WORDS.get();
    if let Some(LastWords { say, .. }) = last.copied() {
        let (done, said) = channel();
        let words = move || {
            say();
            let _ = done.send(());
        };
        if thread::Builder::new().spawn(words).is_ok() {
            let _ = said.recv_timeout(LAST_WORDS_LIMIT);
        }
    }
    // An orderly exit waits for locks that a hanging thread may hold.
    // SAFETY: the handle stands for this process and need not be closed.
    unsafe { TerminateProcess(GetCurrentProcess(), last.map_or(FAILED, |last| last.exit_code)) };
}
