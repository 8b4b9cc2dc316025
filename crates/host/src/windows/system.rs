//! The host's own description: name, version, addresses, start.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};
use windows_sys::Win32::Foundation::ERROR_MORE_DATA;
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::{
    COMPUTER_NAME_FORMAT, ComputerNamePhysicalDnsDomain, ComputerNamePhysicalDnsHostname,
    GetComputerNameExW, OSVERSIONINFOW,
};
use xshield_wire::message::HostFacts;

use super::adapters::adapters;
use super::registry::Key;
use super::wide::{Filled, grown, succeeded, text, wide};
use crate::windows_formats::adapters::{all_addresses, own_addresses};
use crate::windows_formats::version::{Installation, Version, WindowsVersion};

/// Why the host could not be described.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The version.
    #[error("asking Windows for its version failed (RtlGetVersion)")]
    Version(#[source] io::Error),
    /// The list of addresses.
    #[error("could not list this host's addresses (GetAdaptersAddresses)")]
    Addresses(#[source] io::Error),
    /// The mark of this start.
    #[error(
        "could not read or write the registry key HKLM\\{BOOT}, which marks this start of Windows; run \
         it as an administrator"
    )]
    Boot(#[source] io::Error),
}

const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
/// A key that is gone after the next start. The state that filters live in goes at the same moment.
const BOOT: &str = r"SOFTWARE\Xshield-Boot";
const BOOT_ID: &str = "Id";

/// Describes this host.
///
/// # Errors
/// When Windows does not tell its version or its addresses, or the registry can't be used.
pub fn host_facts() -> Result<HostFacts, SystemError> {
    let windows = version().map_err(SystemError::Version)?;
    Ok(HostFacts {
        name: host_name(),
        os: windows.name(),
        kernel: windows.kernel(),
        addresses: own_addresses(&adapters().map_err(SystemError::Addresses)?),
        boot_id: boot_id()?,
    })
}

/// Every address of this host, loopback included.
///
/// # Errors
/// When Windows does not list them.
pub fn addresses() -> Result<Vec<std::net::IpAddr>, SystemError> {
    Ok(all_addresses(&adapters().map_err(SystemError::Addresses)?))
}

/// The name under which this host registers: its DNS name without the domain, which is not cut to 15
/// letters as the NetBIOS name is.
#[must_use]
pub fn host_name() -> String {
    computer_name(ComputerNamePhysicalDnsHostname).unwrap_or_default()
}

/// The DNS domain that this host belongs to; empty outside of one.
#[must_use]
pub fn domain() -> String {
    computer_name(ComputerNamePhysicalDnsDomain).unwrap_or_default()
}

#[allow(unsafe_code, reason = "the names of the computer have no safe form in windows-sys")]
fn computer_name(kind: COMPUTER_NAME_FORMAT) -> io::Result<String> {
    let name = grown(256, |buffer: &mut [u16]| {
        let mut size = buffer.len() as u32;
        // SAFETY: the buffer is as long as it is said to be.
        let result = unsafe { GetComputerNameExW(kind, buffer.as_mut_ptr(), &raw mut size) };
        match succeeded(result) {
            Ok(()) => Ok(Filled::Whole(size as usize)),
            Err(error) if error.raw_os_error() == Some(ERROR_MORE_DATA.cast_signed()) => {
                Ok(Filled::TooSmall(size as usize))
            }
            Err(error) => Err(error),
        }
    })?;
    Ok(text(&name))
}

/// Changes with every start of Windows. A start from hibernation, as after shutting down with "fast
/// startup", is none: everything that a start takes away stays then.
///
/// # Errors
/// When the registry can't be read, or, first after a start, written.
pub fn boot_id() -> Result<String, SystemError> {
    if let Some(key) = Key::open(BOOT).map_err(SystemError::Boot)?
        && let Some(id) = key.text(BOOT_ID).filter(|id| !id.is_empty())
    {
        return Ok(id);
    }
    let mut random = [0_u8; 16];
    let failed = || SystemError::Boot(io::Error::other("Windows gave no random bytes"));
    SystemRandom::new().fill(&mut random).map_err(|_| failed())?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Key::until_restart(BOOT).map_err(SystemError::Boot)?;
    // Another run may have made it in the meantime: what stands there is what counts.
    if let Some(id) = key.text(BOOT_ID).filter(|id| !id.is_empty()) {
        return Ok(id);
    }
    key.set_text(BOOT_ID, &id).map_err(SystemError::Boot)?;
    Ok(id)
}

/// Which Windows this is.
///
/// # Errors
/// When Windows does not tell.
pub fn version() -> io::Result<WindowsVersion> {
    let version = kernel_version()?;
    let key = Key::open(VERSION).ok().flatten();
    let key = key.as_ref();
    let text = |name: &str| key.and_then(|key| key.text(name)).unwrap_or_default();
    let release = [text("DisplayVersion"), text("ReleaseId")];
    Ok(WindowsVersion {
        version,
        update: key.and_then(|key| key.number("UBR")).unwrap_or(0),
        product: text("ProductName"),
        edition: text("EditionID"),
        release: release.into_iter().find(|release| !release.is_empty()).unwrap_or_default(),
        installation: Installation::from(text("InstallationType").as_str()),
    })
}

/// `RtlGetVersion` tells every program the truth; `GetVersionEx` tells programs without a manifest that
/// they run on Windows 8.
#[allow(unsafe_code, reason = "calls a function of ntdll")]
fn kernel_version() -> io::Result<Version> {
    type RtlGetVersion = unsafe extern "system" fn(*mut OSVERSIONINFOW) -> i32;
    let library = wide("ntdll.dll");
    // SAFETY: the name ends with a zero; ntdll is in every process.
    let module = unsafe { GetModuleHandleW(library.as_ptr()) };
    if module.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the module is loaded, and the name ends with a zero.
    let function = unsafe { GetProcAddress(module, c"RtlGetVersion".as_ptr().cast()) };
    let function = function.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the function of this name has this signature.
    let rtl_get_version: RtlGetVersion = unsafe { std::mem::transmute(function) };
    let size = size_of::<OSVERSIONINFOW>() as u32;
    let mut version = OSVERSIONINFOW { dwOSVersionInfoSize: size, ..Default::default() };
    // SAFETY: the structure says how long it is.
    let status = unsafe { rtl_get_version(&raw mut version) };
    if status != 0 {
        return Err(io::Error::other(format!("NTSTATUS {status:#010x}")));
    }
    Ok(Version {
        major: version.dwMajorVersion,
        minor: version.dwMinorVersion,
        build: version.dwBuildNumber,
    })
}
