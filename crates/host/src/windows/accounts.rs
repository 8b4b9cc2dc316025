//! Users and groups by name and by security identifier.

use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, ERROR_NONE_MAPPED, HANDLE};
use windows_sys::Win32::Security::Authorization::{ConvertSidToStringSidW, ConvertStringSidToSidW};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountNameW, LookupAccountSidW, PSID, SID_NAME_USE, SidTypeUser,
    TOKEN_ELEVATION, TOKEN_QUERY, TOKEN_USER, TokenElevation, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::owned::{Handle, Local};
use super::wide::{Filled, grown, pointed, succeeded, text, wide};

/// A user as its security identifier, such as `S-1-5-18`.
pub type UserId = String;

/// Whether this process has the rights of an administrator, and not only the user's membership.
///
/// # Errors
/// When Windows does not tell.
#[allow(unsafe_code, reason = "tokens have no safe form in windows-sys")]
pub fn is_elevated() -> io::Result<bool> {
    // SAFETY: the pseudo handle of this process is always valid.
    let token = token(unsafe { GetCurrentProcess() })?;
    let mut elevation = TOKEN_ELEVATION::default();
    let (size, mut length) = (size_of::<TOKEN_ELEVATION>() as u32, 0);
    // SAFETY: the buffer is as long as it is said to be.
    succeeded(unsafe {
        GetTokenInformation(
            token.0,
            TokenElevation,
            (&raw mut elevation).cast(),
            size,
            &raw mut length,
        )
    })?;
    Ok(elevation.TokenIsElevated != 0)
}

/// The user whose rights a process has. The handle must allow a query.
#[allow(unsafe_code, reason = "tokens have no safe form in windows-sys")]
pub(super) fn user_of(process: HANDLE) -> io::Result<UserId> {
    let token = token(process)?;
    // Words of eight bytes, so that the structure at its start is aligned.
    let buffer = grown(16, |buffer: &mut [u64]| {
        let (size, mut length) = (size_of_val(buffer) as u32, 0);
        // SAFETY: the buffer is as long as it is said to be.
        let result = unsafe {
            GetTokenInformation(
                token.0,
                TokenUser,
                buffer.as_mut_ptr().cast(),
                size,
                &raw mut length,
            )
        };
        fits(result, buffer.len(), (length as usize).div_ceil(size_of::<u64>()))
    })?;
    // SAFETY: Windows filled the aligned buffer with this structure.
    let user = unsafe { &*buffer.as_ptr().cast::<TOKEN_USER>() };
    // SAFETY: the identifier is in the same buffer.
    unsafe { sid_text(user.User.Sid) }
}

#[allow(unsafe_code, reason = "tokens have no safe form in windows-sys")]
fn token(process: HANDLE) -> io::Result<Handle> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: `token` takes the handle, which is closed when it is dropped.
    succeeded(unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) })?;
    Ok(Handle(token))
}

/// Whether the answer fitted, of functions that fail with ERROR_INSUFFICIENT_BUFFER when it didn't.
fn fits(result: i32, had: usize, needed: usize) -> io::Result<Filled> {
    match succeeded(result) {
        Ok(()) => Ok(Filled::Whole(had)),
        Err(error) if error.raw_os_error() == Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) => {
            Ok(Filled::TooSmall(needed))
        }
        Err(error) => Err(error),
    }
}

/// # Safety
/// `sid` must point to a valid security identifier.
#[allow(unsafe_code, reason = "security identifiers have no safe form in windows-sys")]
unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: valid by this function's contract; `text` takes the result.
    succeeded(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    let _freed = Local(text.cast());
    // SAFETY: Windows wrote a text with a zero at its end.
    Ok(unsafe { pointed(text) })
}

/// Besides administrators: the user that runs this program.
#[allow(unsafe_code, reason = "asks for this process's token")]
pub(super) fn trusted() -> Vec<UserId> {
    // SAFETY: the pseudo handle of this process is always valid.
    user_of(unsafe { GetCurrentProcess() }).into_iter().collect()
}

/// An identity of a security descriptor for people: `DOMAIN\name`, or itself when nobody has it.
pub(super) fn shown(identity: &str) -> String {
    name(identity).unwrap_or_else(|_| identity.to_owned())
}

/// The account that has this identity, as `DOMAIN\name`. Asks domain controllers for those of a domain.
///
/// # Errors
/// When no account has it, or nobody answers.
#[allow(unsafe_code, reason = "accounts have no safe form in windows-sys")]
pub fn name(identity: &str) -> io::Result<String> {
    let identity = wide(identity);
    let mut sid: PSID = ptr::null_mut();
    // SAFETY: the text ends with a zero; `sid` takes the result, which is freed below.
    succeeded(unsafe { ConvertStringSidToSidW(identity.as_ptr(), &raw mut sid) })?;
    let _freed = Local(sid);
    // Names of accounts and of domains have at most 256 characters.
    let (mut account, mut domain) = ([0_u16; 512], [0_u16; 512]);
    let (mut account_size, mut domain_size) = (account.len() as u32, domain.len() as u32);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: the identifier is valid, and the buffers are as long as they are said to be.
    succeeded(unsafe {
        LookupAccountSidW(
            ptr::null(),
            sid,
            account.as_mut_ptr(),
            &raw mut account_size,
            domain.as_mut_ptr(),
            &raw mut domain_size,
            &raw mut kind,
        )
    })?;
    let (account, domain) = (text(&account), text(&domain));
    Ok(if domain.is_empty() { account } else { format!(r"{domain}\{account}") })
}

/// The identity of an account: `name`, `DOMAIN\name` or `name@domain`. `None` when there is none of that
/// name.
///
/// # Errors
/// When nobody answers.
pub fn identity(account: &str) -> io::Result<Option<UserId>> {
    Ok(look_up(account)?.map(|(identity, _)| identity))
}

/// The accounts as which Windows runs services; it says that they are groups.
const SERVICE_ACCOUNTS: [&str; 3] = ["S-1-5-18", "S-1-5-19", "S-1-5-20"];

/// The identity of a user, or of an account as which Windows runs services. `None` when there is none of that
/// name.
///
/// # Errors
/// When nobody answers, or the name is that of a group: its identity is in the tokens of many users.
pub fn user(account: &str) -> io::Result<Option<UserId>> {
    match look_up(account)? {
        Some((identity, kind))
            if kind == SidTypeUser || SERVICE_ACCOUNTS.contains(&identity.as_str()) =>
        {
            Ok(Some(identity))
        }
        Some(_) => Err(io::Error::other("it is the name of a group, not of a user")),
        None => Ok(None),
    }
}

#[allow(unsafe_code, reason = "accounts have no safe form in windows-sys")]
fn look_up(account: &str) -> io::Result<Option<(UserId, SID_NAME_USE)>> {
    let account = wide(account);
    let mut sid = [0_u64; 16];
    let mut domain = [0_u16; 512];
    let (mut sid_size, mut domain_size) = (size_of_val(&sid) as u32, domain.len() as u32);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: the name ends with a zero, and the buffers are as long as they are said to be; no security
    // identifier is longer than 68 bytes.
    let result = unsafe {
        LookupAccountNameW(
            ptr::null(),
            account.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_size,
            domain.as_mut_ptr(),
            &raw mut domain_size,
            &raw mut kind,
        )
    };
    match succeeded(result) {
        // SAFETY: Windows filled the buffer with an identifier.
        Ok(()) => unsafe { sid_text(sid.as_mut_ptr().cast()) }.map(|sid| Some((sid, kind))),
        Err(error) if error.raw_os_error() == Some(ERROR_NONE_MAPPED.cast_signed()) => Ok(None),
        Err(error) => Err(error),
    }
}
