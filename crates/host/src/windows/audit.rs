//! The audit policy: which events are written to the Security log. Group policy may change it back at any
//! time, so it is compared at every run.

use std::collections::BTreeMap;
use std::io;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_NOT_ALL_ASSIGNED, HANDLE, LUID};
use windows_sys::Win32::Security::Authentication::Identity::{
    AUDIT_POLICY_INFORMATION, AuditFree, AuditQuerySystemPolicy, AuditSetSystemPolicy,
};
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
    SE_SECURITY_NAME, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};
use windows_sys::core::GUID;

use super::owned::Handle;
use super::wide::{failure, succeeded};
use crate::windows_formats::audit::{Audited, Subcategory};

/// Why the audit policy could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The right to do so is missing.
    #[error(
        "this account lacks the right to manage the Security log (SeSecurityPrivilege); run it as an \
         administrator, or see who took the right away: secpol.msc, Local Policies, User Rights \
         Assignment"
    )]
    Privilege(#[source] io::Error),
    /// Reading it.
    #[error("reading the audit policy failed (AuditQuerySystemPolicy)")]
    Read(#[source] io::Error),
    /// Changing it.
    #[error(
        "changing the audit policy failed (AuditSetSystemPolicy); switch the subcategories on by group \
         policy or auditpol"
    )]
    Change(#[source] io::Error),
}

/// What is audited now.
///
/// # Errors
/// If the right is missing or Windows does not answer.
#[allow(unsafe_code, reason = "the audit policy has no safe form in windows-sys")]
pub fn audited() -> Result<BTreeMap<Subcategory, Audited>, AuditError> {
    enable_privilege().map_err(AuditError::Privilege)?;
    let guids = Subcategory::ALL.map(|subcategory| GUID::from_u128(subcategory.guid()));
    let mut policy: *mut AUDIT_POLICY_INFORMATION = ptr::null_mut();
    let count = guids.len() as u32;
    // SAFETY: so many identifiers are passed; `policy` takes the result, which is freed below.
    if !unsafe { AuditQuerySystemPolicy(guids.as_ptr(), count, &raw mut policy) } {
        return Err(AuditError::Read(io::Error::last_os_error()));
    }
    // SAFETY: Windows returned one entry for each identifier.
    let entries = unsafe { std::slice::from_raw_parts(policy, guids.len()) };
    let found = Subcategory::ALL
        .into_iter()
        .zip(entries)
        .map(|(subcategory, entry)| (subcategory, Audited::from_flags(entry.AuditingInformation)))
        .collect();
    // SAFETY: allocated by AuditQuerySystemPolicy, and no reference to it is left.
    unsafe { AuditFree(policy.cast()) };
    Ok(found)
}

/// Changes what is audited.
///
/// # Errors
/// If the right is missing or Windows refuses; a domain's group policy does not prevent the change, but
/// reverts it later.
#[allow(unsafe_code, reason = "the audit policy has no safe form in windows-sys")]
pub fn set_audited(changes: &BTreeMap<Subcategory, Audited>) -> Result<(), AuditError> {
    if changes.is_empty() {
        return Ok(());
    }
    enable_privilege().map_err(AuditError::Privilege)?;
    let entry = |(subcategory, audited): (&Subcategory, &Audited)| AUDIT_POLICY_INFORMATION {
        AuditSubCategoryGuid: GUID::from_u128(subcategory.guid()),
        AuditingInformation: audited.flags(),
        // Ignored.
        AuditCategoryGuid: GUID::from_u128(0),
    };
    let entries: Vec<AUDIT_POLICY_INFORMATION> = changes.iter().map(entry).collect();
    // SAFETY: so many entries are passed.
    if unsafe { AuditSetSystemPolicy(entries.as_ptr(), entries.len() as u32) } {
        Ok(())
    } else {
        Err(AuditError::Change(io::Error::last_os_error()))
    }
}

/// Administrators have the right, but it is off until a program switches it on for itself.
#[allow(unsafe_code, reason = "privileges have no safe form in windows-sys")]
fn enable_privilege() -> io::Result<()> {
    let mut token: HANDLE = ptr::null_mut();
    let access = TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY;
    // SAFETY: the pseudo handle of this process is always valid; `token` takes the result.
    succeeded(unsafe { OpenProcessToken(GetCurrentProcess(), access, &raw mut token) })?;
    let token = Handle(token);
    let mut luid = LUID::default();
    // SAFETY: the name is a constant that ends with a zero; `luid` takes the result.
    succeeded(unsafe { LookupPrivilegeValueW(ptr::null(), SE_SECURITY_NAME, &raw mut luid) })?;
    let privilege = LUID_AND_ATTRIBUTES { Luid: luid, Attributes: SE_PRIVILEGE_ENABLED };
    let privileges = TOKEN_PRIVILEGES { PrivilegeCount: 1, Privileges: [privilege] };
    // SAFETY: the token is open, and one privilege is passed.
    succeeded(unsafe {
        AdjustTokenPrivileges(
            token.0,
            0,
            &raw const privileges,
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    })?;
    // The call succeeds also if the account does not have the right.
    match io::Error::last_os_error().raw_os_error() {
        Some(code) if code == ERROR_NOT_ALL_ASSIGNED.cast_signed() => {
            Err(failure(ERROR_NOT_ALL_ASSIGNED))
        }
        _ => Ok(()),
    }
}
