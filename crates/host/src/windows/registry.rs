//! The registry.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, FILETIME,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_32KEY, KEY_WOW64_64KEY, KEY_WRITE, REG_DWORD,
    REG_EXPAND_SZ, REG_OPEN_CREATE_OPTIONS, REG_OPTION_NON_VOLATILE, REG_OPTION_VOLATILE, REG_SZ,
    REG_VALUE_TYPE, RegCloseKey, RegCreateKeyExW, RegEnumKeyExW, RegOpenKeyExW, RegQueryValueExW,
    RegSetValueExW,
};

use super::wide::{Filled, checked, grown, text, wide};

/// A key below HKEY_LOCAL_MACHINE.
#[derive(Debug)]
pub(super) struct Key(HKEY);

/// Which programs' view of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// That of 64-bit programs.
    Programs64,
    /// That of 32-bit programs.
    Programs32,
}

impl View {
    fn flag(self) -> u32 {
        match self {
            Self::Programs64 => KEY_WOW64_64KEY,
            Self::Programs32 => KEY_WOW64_32KEY,
        }
    }
}

impl Drop for Key {
    #[allow(unsafe_code, reason = "closes a key")]
    fn drop(&mut self) {
        // SAFETY: it is this value's alone.
        unsafe { RegCloseKey(self.0) };
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_FILE_NOT_FOUND.cast_signed())
}

impl Key {
    /// Opens a key of the view of 64-bit programs; `None` when there is none.
    pub(super) fn open(path: &str) -> io::Result<Option<Self>> {
        Self::open_below(HKEY_LOCAL_MACHINE, path, View::Programs64)
    }

    /// The same of another view.
    pub(super) fn open_in(path: &str, view: View) -> io::Result<Option<Self>> {
        Self::open_below(HKEY_LOCAL_MACHINE, path, view)
    }

    #[allow(unsafe_code, reason = "the registry has no safe form in windows-sys")]
    fn open_below(above: HKEY, path: &str, view: View) -> io::Result<Option<Self>> {
        let path = wide(path);
        let mut key: HKEY = ptr::null_mut();
        // SAFETY: the path ends with a zero; `key` takes the result, which is closed when dropped.
        let code =
            unsafe { RegOpenKeyExW(above, path.as_ptr(), 0, KEY_READ | view.flag(), &raw mut key) };
        match checked(code) {
            Ok(()) => Ok(Some(Self(key))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens or makes a key that is gone after the next start of Windows.
    pub(super) fn until_restart(path: &str) -> io::Result<Self> {
        Self::make(path, REG_OPTION_VOLATILE)
    }

    /// Opens or makes a key that stays.
    pub(super) fn lasting(path: &str) -> io::Result<Self> {
        Self::make(path, REG_OPTION_NON_VOLATILE)
    }

    #[allow(unsafe_code, reason = "the registry has no safe form in windows-sys")]
    fn make(path: &str, options: REG_OPEN_CREATE_OPTIONS) -> io::Result<Self> {
        let path = wide(path);
        let mut key: HKEY = ptr::null_mut();
        // SAFETY: the path ends with a zero; `key` takes the result, which is closed when dropped.
        let code = unsafe {
            RegCreateKeyExW(
                HKEY_LOCAL_MACHINE,
                path.as_ptr(),
                0,
                ptr::null(),
                options,
                KEY_READ | KEY_WRITE | KEY_WOW64_64KEY,
                ptr::null(),
                &raw mut key,
                ptr::null_mut(),
            )
        };
        checked(code).map(|()| Self(key))
    }

    /// A key below this one.
    pub(super) fn below(&self, name: &str, view: View) -> io::Result<Option<Self>> {
        Self::open_below(self.0, name, view)
    }

    /// The names of the keys below this one.
    #[allow(unsafe_code, reason = "the registry has no safe form in windows-sys")]
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for index in 0.. {
            // Names of keys have at most 255 characters.
            let mut name = [0_u16; 256];
            let (mut length, mut written) = (name.len() as u32, FILETIME::default());
            // SAFETY: the buffer is as long as it is said to be.
            let code = unsafe {
                RegEnumKeyExW(
                    self.0,
                    index,
                    name.as_mut_ptr(),
                    &raw mut length,
                    ptr::null(),
                    ptr::null_mut(),
                    ptr::null_mut(),
                    &raw mut written,
                )
            };
            match code {
                ERROR_NO_MORE_ITEMS => break,
                code => checked(code)?,
            }
            names.push(text(&name));
        }
        Ok(names)
    }

    #[allow(unsafe_code, reason = "the registry has no safe form in windows-sys")]
    fn value(&self, name: &str) -> Option<(REG_VALUE_TYPE, Vec<u8>)> {
        let name = wide(name);
        let mut kind: REG_VALUE_TYPE = 0;
        let value = grown(256, |buffer: &mut [u8]| {
            let mut length = buffer.len() as u32;
            // SAFETY: the name ends with a zero, and the buffer is as long as it is said to be.
            let code = unsafe {
                RegQueryValueExW(
                    self.0,
                    name.as_ptr(),
                    ptr::null(),
                    &raw mut kind,
                    buffer.as_mut_ptr(),
                    &raw mut length,
                )
            };
            match code {
                ERROR_MORE_DATA => Ok(Filled::TooSmall(length as usize)),
                code => checked(code).map(|()| Filled::Whole(length as usize)),
            }
        });
        value.ok().map(|value| (kind, value))
    }

    /// A text; `None` when there is none, or it is something else. Variables in it stay as they are.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let (kind, bytes) = self.value(name)?;
        let (units, _) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
        matches!(kind, REG_SZ | REG_EXPAND_SZ).then(|| text(&units))
    }

    /// A number; `None` when there is none, or it is something else.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let (kind, bytes) = self.value(name)?;
        (kind == REG_DWORD).then_some(())?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Writes a text.
    pub(super) fn set_text(&self, name: &str, value: &str) -> io::Result<()> {
        self.set(name, REG_SZ, value)
    }

    /// Writes a text in which variables of the environment stand.
    pub(super) fn set_expanding_text(&self, name: &str, value: &str) -> io::Result<()> {
        self.set(name, REG_EXPAND_SZ, value)
    }

    #[allow(unsafe_code, reason = "the registry has no safe form in windows-sys")]
    fn set(&self, name: &str, kind: REG_VALUE_TYPE, value: &str) -> io::Result<()> {
        let (name, value) = (wide(name), wide(value));
        let size = size_of_val(value.as_slice()) as u32;
        // SAFETY: both texts end with a zero, and the value is as long as it is said to be.
        checked(unsafe {
            RegSetValueExW(self.0, name.as_ptr(), 0, kind, value.as_ptr().cast(), size)
        })
    }
}
