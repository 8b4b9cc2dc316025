//! Whom this host asks for names.

use std::fs;
use std::path::PathBuf;

use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;

use super::adapters::adapters;
use super::registry::Key;
use super::wide::os_text;
use crate::resolver::{Hosts, ResolvConf, parse_hosts};
use crate::windows_formats::adapters::{Suffixes, resolv_conf};

const POLICY: &str = r"SOFTWARE\Policies\Microsoft\Windows NT\DNSClient";
const SETTINGS: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";

/// The DNS servers of the adapters, and the domains in which short names are looked up. Empty where
/// Windows does not tell.
pub(super) fn conf() -> ResolvConf {
    resolv_conf(&adapters().unwrap_or_default(), &suffixes())
}

fn suffixes() -> Suffixes {
    let policy = Key::open(POLICY).ok().flatten();
    let settings = Key::open(SETTINGS).ok().flatten();
    let text = |key: Option<&Key>, name: &str| {
        key.and_then(|key| key.text(name)).filter(|text| !text.trim().is_empty())
    };
    let list =
        text(policy.as_ref(), "SearchList").or_else(|| text(settings.as_ref(), "SearchList"));
    let own = text(settings.as_ref(), "Domain").or_else(|| text(settings.as_ref(), "NV Domain"));
    Suffixes { list: list.unwrap_or_default(), own: own.unwrap_or_default() }
}

/// The hosts file; without the file it is empty.
pub(super) fn hosts() -> Hosts {
    let path = system_directory().join(r"drivers\etc\hosts");
    fs::read(path).map(|bytes| parse_hosts(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// `C:\Windows\System32`, wherever it is.
#[allow(unsafe_code, reason = "the system directory has no safe form in windows-sys")]
pub(super) fn system_directory() -> PathBuf {
    let mut path = [0_u16; 512];
    // SAFETY: the buffer is as long as it is said to be. A path that does not fit leaves it empty.
    unsafe { GetSystemDirectoryW(path.as_mut_ptr(), path.len() as u32) };
    PathBuf::from(os_text(&path))
}
