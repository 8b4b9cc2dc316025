//! Authenticode signatures, as Windows verifies them (`WinVerifyTrust`, wintrust.h).

use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    CERT_E_CHAINING, CERT_E_EXPIRED, CERT_E_REVOKED, CERT_E_UNTRUSTEDROOT, TRUST_E_BAD_DIGEST,
    TRUST_E_EXPLICIT_DISTRUST, TRUST_E_NOSIGNATURE, TRUST_E_PROVIDER_UNKNOWN,
    TRUST_E_SUBJECT_FORM_UNKNOWN,
};
use windows_sys::Win32::Security::Cryptography::{
    CERT_NAME_SIMPLE_DISPLAY_TYPE, CertGetNameStringW,
};
use windows_sys::Win32::Security::WinTrust::{
    WINTRUST_ACTION_GENERIC_VERIFY_V2, WINTRUST_DATA, WINTRUST_DATA_0, WINTRUST_FILE_INFO,
    WTD_CACHE_ONLY_URL_RETRIEVAL, WTD_CHOICE_FILE, WTD_REVOCATION_CHECK_NONE, WTD_REVOKE_NONE,
    WTD_STATEACTION_CLOSE, WTD_STATEACTION_VERIFY, WTD_UI_NONE, WTHelperGetProvCertFromChain,
    WTHelperGetProvSignerFromChain, WTHelperProvDataFromStateData, WinVerifyTrust,
};

/// What Windows says about a program's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    None,
    /// The program was changed after it was signed.
    Changed,
    /// It is intact, and Windows does not trust the signer.
    Untrusted {
        /// The name in the signer's certificate, if there is one.
        signer: Option<String>,
        /// Why.
        reason: Distrust,
    },
    /// It is intact, and Windows trusts the signer.
    Valid {
        /// The name in the signer's certificate.
        signer: Option<String>,
    },
}

/// Why Windows does not trust a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The root authority is not among those that this Windows trusts, or certificates are missing.
    UnknownAuthority,
    /// The certificate has expired, and no timestamp says that it was valid when it signed.
    Expired,
    /// The certificate is revoked or on the list of distrusted ones.
    Revoked,
    /// Another reason, by its number.
    Other(i32),
}

/// Verifies the signature of a file. Nothing is fetched from the network, so that revocations count as far as
/// this Windows knows of them.
#[must_use]
#[allow(unsafe_code, reason = "wintrust has no safe form in windows-sys")]
pub fn signature_of(path: &Path) -> Signature {
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let mut file = WINTRUST_FILE_INFO {
        cbStruct: size_of::<WINTRUST_FILE_INFO>() as u32,
        pcwszFilePath: name.as_ptr(),
        ..WINTRUST_FILE_INFO::default()
    };
    let mut data = WINTRUST_DATA {
        cbStruct: size_of::<WINTRUST_DATA>() as u32,
        dwUIChoice: WTD_UI_NONE,
        fdwRevocationChecks: WTD_REVOKE_NONE,
        dwUnionChoice: WTD_CHOICE_FILE,
        Anonymous: WINTRUST_DATA_0 { pFile: &raw mut file },
        dwStateAction: WTD_STATEACTION_VERIFY,
        dwProvFlags: WTD_CACHE_ONLY_URL_RETRIEVAL | WTD_REVOCATION_CHECK_NONE,
        ..WINTRUST_DATA::default()
    };
    let mut action = WINTRUST_ACTION_GENERIC_VERIFY_V2;
    // SAFETY: the structures are as wintrust.h wants them and live until the state is closed below.
    let result =
        unsafe { WinVerifyTrust(ptr::null_mut(), &raw mut action, (&raw mut data).cast()) };
    // SAFETY: the state of the verification above.
    let signer = unsafe { signer(&data) };
    data.dwStateAction = WTD_STATEACTION_CLOSE;
    // SAFETY: frees the state of the verification above, after which nothing uses it.
    unsafe { WinVerifyTrust(ptr::null_mut(), &raw mut action, (&raw mut data).cast()) };
    judged(result, signer)
}

fn judged(result: i32, signer: Option<String>) -> Signature {
    let reason = match result {
        0 => return Signature::Valid { signer },
        TRUST_E_NOSIGNATURE | TRUST_E_SUBJECT_FORM_UNKNOWN | TRUST_E_PROVIDER_UNKNOWN => {
            return Signature::None;
        }
        TRUST_E_BAD_DIGEST => return Signature::Changed,
        CERT_E_UNTRUSTEDROOT | CERT_E_CHAINING => Distrust::UnknownAuthority,
        CERT_E_EXPIRED => Distrust::Expired,
        CERT_E_REVOKED | TRUST_E_EXPLICIT_DISTRUST => Distrust::Revoked,
        other => Distrust::Other(other),
    };
    Signature::Untrusted { signer, reason }
}

/// The name in the certificate of the first signer.
///
/// # Safety
/// `data` must be that of a verification whose state is not closed.
#[allow(unsafe_code, reason = "wintrust has no safe form in windows-sys")]
unsafe fn signer(data: &WINTRUST_DATA) -> Option<String> {
    // SAFETY: the state is open, as the caller promises; each pointer is checked before it is used, and is
    // valid while the state is open.
    unsafe {
        let provider = WTHelperProvDataFromStateData(data.hWVTStateData);
        if provider.is_null() {
            return None;
        }
        let signer = WTHelperGetProvSignerFromChain(provider, 0, 0, 0);
        if signer.is_null() {
            return None;
        }
        let certificate = WTHelperGetProvCertFromChain(signer, 0);
        if certificate.is_null() || (*certificate).pCert.is_null() {
            return None;
        }
        let mut name = [0_u16; 256];
        let length = CertGetNameStringW(
            (*certificate).pCert,
            CERT_NAME_SIMPLE_DISPLAY_TYPE,
            0,
            ptr::null(),
            name.as_mut_ptr(),
            name.len() as u32,
        );
        let length = usize::try_from(length).ok()?.checked_sub(1)?;
        (length > 0).then(|| String::from_utf16_lossy(&name[..length]))
    }
}

/// The signature of the program that runs.
///
/// # Errors
/// If its path can't be determined.
pub fn own_signature() -> io::Result<Signature> {
    Ok(signature_of(&std::env::current_exe()?))
}

/// Whether this Windows verifies signatures with SHA-2 only with an update: 7 and Server 2008 R2.
#[must_use]
pub fn needs_update_for_sha2() -> bool {
    let version = super::system::version().map(|windows| windows.version);
    version.is_ok_and(|version| (version.major, version.minor) == (6, 1))
}
