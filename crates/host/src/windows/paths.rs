//! What drive letters stand for.

use std::io;

use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::Storage::FileSystem::{GetLogicalDrives, QueryDosDeviceW};

use super::wide::{Filled, grown, text, wide};
use crate::windows_formats::paths::Drives;

/// The drives of this host, for translating paths. Network drives are those of the user that this program
/// runs as: SYSTEM has its own.
#[must_use]
pub fn drives() -> Drives {
    drive_targets().into_iter().collect()
}

/// Letters, and what the object manager says they stand for.
#[allow(unsafe_code, reason = "drives have no safe form in windows-sys")]
pub(super) fn drive_targets() -> Vec<(char, String)> {
    // SAFETY: takes nothing.
    let mask = unsafe { GetLogicalDrives() };
    let letters = ('A'..='Z').enumerate().filter(|(bit, _)| mask & 1 << bit != 0);
    letters.filter_map(|(_, letter)| Some((letter, target(letter).ok()?))).collect()
}

#[allow(unsafe_code, reason = "drives have no safe form in windows-sys")]
fn target(letter: char) -> io::Result<String> {
    let name = wide(&format!("{letter}:"));
    let target = grown(512, |buffer: &mut [u16]| {
        let size = buffer.len() as u32;
        // SAFETY: the name ends with a zero, and the buffer is as long as it is said to be.
        let length = unsafe { QueryDosDeviceW(name.as_ptr(), buffer.as_mut_ptr(), size) };
        if length > 0 {
            return Ok(Filled::Whole(length as usize));
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) => {
                Ok(Filled::TooSmall(buffer.len() * 2))
            }
            error => Err(error),
        }
    })?;
    // Several texts, the current one first.
    Ok(text(&target))
}
