//! Texts as Windows takes and gives them: UTF-16, most with a zero at the end.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use crate::windows_formats::paths;

/// With a zero at the end. What stands behind a zero in the text is not seen by Windows.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A path in full, in the form that has no limit of 260 characters, with a zero at the end.
pub(super) fn wide_path(path: &Path) -> io::Result<Vec<u16>> {
    let full: Vec<u16> = std::path::absolute(path)?.as_os_str().encode_wide().collect();
    if full.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path contains a zero"));
    }
    let mut units = paths::verbatim(&full);
    units.push(0);
    Ok(units)
}

/// Up to the first zero; what is no UTF-16 is replaced.
pub(super) fn text(units: &[u16]) -> String {
    let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..length])
}

/// Up to the first zero, exactly.
pub(super) fn os_text(units: &[u16]) -> OsString {
    let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    OsString::from_wide(&units[..length])
}

/// A text that Windows points to; empty where it points nowhere.
///
/// # Safety
/// `start` must be null or point to UTF-16 units that end with a zero and stay while this runs.
#[allow(unsafe_code, reason = "reads a text by a pointer that Windows gave")]
pub(super) unsafe fn pointed(start: *const u16) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: every unit up to the zero is there, by this function's contract.
    let length = (0..).take_while(|&at| unsafe { *start.add(at) } != 0).count();
    // SAFETY: the same units.
    text(unsafe { std::slice::from_raw_parts(start, length) })
}

/// Calls `ask` with ever larger buffers until the answer fits. `ask` returns the size that was needed,
/// in units, when the buffer was too small.
pub(super) fn grown<T: Clone + Default>(
    first: usize,
    mut ask: impl FnMut(&mut [T]) -> io::Result<Filled>,
) -> io::Result<Vec<T>> {
    // More than any answer: tables of the network, lists of services.
    const MOST: usize = 256 << 20;
    let mut size = first;
    loop {
        let mut buffer = vec![T::default(); size];
        match ask(&mut buffer)? {
            Filled::Whole(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Filled::TooSmall(needed) => size = needed.max(size + size / 4 + 1),
        }
        if size > MOST {
            return Err(io::Error::other("the answer of Windows is larger than 256 MiB"));
        }
    }
}

/// What became of a buffer.
pub(super) enum Filled {
    /// The answer is in the first so many units.
    Whole(usize),
    /// So many units are needed, as far as Windows says.
    TooSmall(usize),
}

/// What a Windows function that returns an error number says.
pub(super) fn checked(code: u32) -> io::Result<()> {
    match code {
        0 => Ok(()),
        code => Err(failure(code)),
    }
}

/// An error number of Windows as an error.
pub(super) fn failure(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

/// What a Windows function that returns zero on failure says.
pub(super) fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
