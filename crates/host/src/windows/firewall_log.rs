//! Where Windows Firewall writes the packets that it drops.

use std::collections::BTreeSet;
use std::path::PathBuf;

use windows_sys::Win32::System::Environment::ExpandEnvironmentStringsW;

use super::registry::Key;
use super::wide::{os_text, wide};

/// What group policy sets counts before this host's own settings.
const ROOTS: [&str; 2] = [
    r"SOFTWARE\Policies\Microsoft\WindowsFirewall",
    r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy",
];
/// The kinds of networks. Group policy names the second one `PrivateProfile` or, in older systems'
/// templates, `StandardProfile`.
const PROFILES: [&[&str]; 3] =
    [&["DomainProfile"], &["PrivateProfile", "StandardProfile"], &["PublicProfile"]];
/// Unless another file is set.
const USUAL: &str = r"%SystemRoot%\System32\LogFiles\Firewall\pfirewall.log";

/// The files to which dropped packets are written; none if that is not switched on for any kind of network.
#[must_use]
pub fn of_dropped_packets() -> BTreeSet<PathBuf> {
    PROFILES.into_iter().filter_map(of_profile).collect()
}

fn of_profile(names: &[&str]) -> Option<PathBuf> {
    let paths = ROOTS.iter().flat_map(|root| names.iter().map(move |name| (root, name)));
    let keys: Vec<Key> = paths
        .filter_map(|(root, name)| Key::open(&format!(r"{root}\{name}\Logging")).ok().flatten())
        .collect();
    let is_on = keys.iter().find_map(|key| key.number("LogDroppedPackets"))? != 0;
    let file = keys.iter().find_map(|key| key.text("LogFilePath"));
    is_on.then(|| expanded(&file.unwrap_or_else(|| USUAL.to_owned())))
}

/// With the values of environment variables; as it is if Windows can't expand it.
#[allow(unsafe_code, reason = "the standard library does not expand variables")]
fn expanded(text: &str) -> PathBuf {
    let source = wide(text);
    // More than Windows takes as a path.
    let mut buffer = vec![0_u16; 1 << 15];
    // SAFETY: the source ends with a zero; the buffer is as long as it is said to be.
    let length = unsafe {
        ExpandEnvironmentStringsW(source.as_ptr(), buffer.as_mut_ptr(), buffer.len() as u32)
    };
    match usize::try_from(length) {
        Ok(1..) if length as usize <= buffer.len() => os_text(&buffer).into(),
        _ => text.into(),
    }
}
