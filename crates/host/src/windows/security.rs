//! Access lists of files: read, and set for what nobody but SYSTEM and Administrators may open.

use std::fs::{self, File};
use std::io;
use std::os::windows::io::FromRawHandle as _;
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_SHARING_VIOLATION, GENERIC_WRITE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT, SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_ALWAYS, CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, MOVEFILE_REPLACE_EXISTING,
    MOVEFILE_WRITE_THROUGH, MoveFileExW,
};

use super::accounts;
use super::owned::Local;
use super::wide::{checked, pointed, succeeded, wide, wide_path};
use crate::windows_formats::access::{Ability, FileAccess};

/// Nothing is inherited; SYSTEM and Administrators may do everything with it and with what is made in it.
const PRIVATE_DIRECTORY: &str = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// The same of a file.
const PRIVATE_FILE: &str = "D:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

/// A security descriptor.
pub(super) struct Descriptor(Local);

impl Descriptor {
    #[allow(unsafe_code, reason = "security descriptors have no safe form in windows-sys")]
    pub(super) fn parse(sddl: &str) -> io::Result<Self> {
        let sddl = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero, and `descriptor` takes the result, which `Local` frees.
        let result = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                sddl.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        succeeded(result)?;
        Ok(Self(Local(descriptor)))
    }

    #[allow(unsafe_code, reason = "security descriptors have no safe form in windows-sys")]
    fn of(path: &Path) -> io::Result<Self> {
        let path = wide_path(path)?;
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the path ends with a zero; only the descriptor is asked for, which `Local` frees.
        let code = unsafe {
            GetNamedSecurityInfoW(
                path.as_ptr(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &raw mut descriptor,
            )
        };
        checked(code)?;
        Ok(Self(Local(descriptor)))
    }

    #[allow(unsafe_code, reason = "security descriptors have no safe form in windows-sys")]
    fn sddl(&self) -> io::Result<String> {
        let mut text = ptr::null_mut();
        // SAFETY: the descriptor is valid; `text` takes the result, which `Local` frees below.
        let result = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0.0,
                SDDL_REVISION_1,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &raw mut text,
                ptr::null_mut(),
            )
        };
        succeeded(result)?;
        let _freed = Local(text.cast());
        // SAFETY: Windows wrote a text with a zero at its end.
        Ok(unsafe { pointed(text) })
    }

    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        let length = size_of::<SECURITY_ATTRIBUTES>() as u32;
        SECURITY_ATTRIBUTES { nLength: length, lpSecurityDescriptor: self.0.0, bInheritHandle: 0 }
    }
}

/// Who may do what with a file or a directory.
pub(super) fn access(path: &Path) -> io::Result<FileAccess> {
    let sddl = Descriptor::of(path)?.sddl()?;
    FileAccess::parse(&sddl)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Makes a directory, and those above it, that only SYSTEM and Administrators may use. One that is there
/// stays as it is.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
        private_directory(above)?;
    }
    match create_directory(path) {
        Err(error) if is(&error, ERROR_ALREADY_EXISTS) && path.is_dir() => Ok(()),
        other => other,
    }
}

#[allow(unsafe_code, reason = "the standard library makes directories without access lists")]
fn create_directory(path: &Path) -> io::Result<()> {
    let descriptor = Descriptor::parse(PRIVATE_DIRECTORY)?;
    let attributes = descriptor.attributes();
    let path = wide_path(path)?;
    // SAFETY: the path ends with a zero, and the descriptor outlives the call.
    succeeded(unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) })
}

/// What there may be of a file that is opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: an existing file is an error.
    Nothing,
    /// An older one, whose content goes; it keeps its access list.
    Anything,
}

/// Opens a file for writing, empty, that only SYSTEM and Administrators may open.
#[allow(unsafe_code, reason = "the standard library makes files without access lists")]
pub(crate) fn private_file(path: &Path, before: Before) -> io::Result<File> {
    let descriptor = Descriptor::parse(PRIVATE_FILE)?;
    let attributes = descriptor.attributes();
    let path = wide_path(path)?;
    let disposition = match before {
        Before::Nothing => CREATE_NEW,
        Before::Anything => CREATE_ALWAYS,
    };
    // SAFETY: the path ends with a zero, and the descriptor outlives the call.
    let handle = unsafe {
        CreateFileW(
            path.as_ptr(),
            GENERIC_WRITE,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            &raw const attributes,
            disposition,
            FILE_ATTRIBUTE_NORMAL,
            ptr::null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a handle of a file that was just opened and that nobody else has.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// How often another program may be in the way, and how long it is waited for.
const ATTEMPTS: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Puts a file in the place of another; on disk when this returns. Programs that look at every new file,
/// such as virus scanners, are in the way for moments: tried again for some seconds.
#[allow(
    clippy::disallowed_methods,
    reason = "Windows does not tell when a file is no longer in use"
)]
pub(crate) fn replace(new: &Path, old: &Path) -> io::Result<()> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match move_over(new, old) {
            Err(error) if is_in_use(&error) => thread::sleep(wait),
            other => return other,
        }
        wait *= 2;
    }
    move_over(new, old)
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}

fn is_in_use(error: &io::Error) -> bool {
    is(error, ERROR_ACCESS_DENIED) || is(error, ERROR_SHARING_VIOLATION)
}

#[allow(unsafe_code, reason = "the standard library does not write a rename through to the disk")]
fn move_over(new: &Path, old: &Path) -> io::Result<()> {
    let (from, to) = (wide_path(new)?, wide_path(old)?);
    let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    // SAFETY: both paths end with a zero.
    match succeeded(unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags) }) {
        // The standard library's way also replaces a file that others have open, where Windows can.
        Err(error) if is_in_use(&error) => fs::rename(new, old),
        other => other,
    }
}

/// Closes a file to everyone but SYSTEM and Administrators; says to whom it was open. `None` when it was
/// not, or can't be looked at.
pub(crate) fn close(path: &Path) -> Option<(String, io::Result<()>)> {
    let access = access(path).ok()?;
    let who = access.who_else_can(Ability::Read, &accounts::trusted())?;
    Some((format!("open to {}", accounts::shown(who)), make_private(path)))
}

#[allow(unsafe_code, reason = "access lists have no safe form in windows-sys")]
fn make_private(path: &Path) -> io::Result<()> {
    let descriptor = Descriptor::parse(PRIVATE_FILE)?;
    let (mut present, mut defaulted) = (0, 0);
    let mut list: *mut ACL = ptr::null_mut();
    // SAFETY: the descriptor is valid; `list` will point into it.
    let result = unsafe {
        GetSecurityDescriptorDacl(
            descriptor.0.0,
            &raw mut present,
            &raw mut list,
            &raw mut defaulted,
        )
    };
    succeeded(result)?;
    let path = wide_path(path)?;
    // SAFETY: the path ends with a zero; the list is part of the descriptor, which is still there.
    checked(unsafe {
        SetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            ptr::null_mut(),
            ptr::null_mut(),
            list,
            ptr::null(),
        )
    })
}
