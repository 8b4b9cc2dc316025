//! Where the state of this host's programs is.

use std::io;
use std::path::PathBuf;
use std::ptr;

use windows_sys::Win32::UI::Shell::{CSIDL_COMMON_APPDATA, SHGetFolderPathW};

use super::wide::os_text;

/// Why it is not known.
#[derive(Debug, thiserror::Error)]
#[error("asking Windows for the directory of programs' data failed (%ProgramData%)")]
pub struct StateDirectoryError(#[source] io::Error);

/// The directory of the state: `Xshield` in the directory that Windows has for programs' data. Windows is
/// asked, not the environment, which whoever starts this program can change.
///
/// # Errors
/// When Windows does not know.
#[allow(unsafe_code, reason = "known directories have no safe form in windows-sys")]
pub fn state_directory() -> Result<PathBuf, StateDirectoryError> {
    // The function asks for MAX_PATH units and writes no more.
    let mut path = [0_u16; 260];
    // SAFETY: the buffer is as long as the function asks for.
    let result = unsafe {
        SHGetFolderPathW(
            ptr::null_mut(),
            CSIDL_COMMON_APPDATA.cast_signed(),
            ptr::null_mut(),
            0,
            path.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(StateDirectoryError(io::Error::other(format!("HRESULT {result:#010x}"))));
    }
    Ok(PathBuf::from(os_text(&path)).join("Xshield"))
}
