//! The servers of the Windows Time service.

use super::registry::Key;
use super::system::domain;
use crate::time_server::TimeServer;
use crate::windows_formats::w32time::TimeSettings;

/// What group policy sets counts before the service's own settings.
const POLICY: &str = r"SOFTWARE\Policies\Microsoft\W32Time\Parameters";
const SETTINGS: &str = r"SYSTEM\CurrentControlSet\Services\W32Time\Parameters";

/// The servers that the service is configured to ask. Empty where the registry has no settings.
#[must_use]
pub fn configured() -> Vec<TimeServer> {
    let keys = [POLICY, SETTINGS].map(|path| Key::open(path).ok().flatten());
    if keys.iter().all(Option::is_none) {
        return Vec::new();
    }
    let text = |name: &str| {
        let texts = keys.iter().flatten().filter_map(|key| key.text(name));
        texts.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default()
    };
    let settings =
        TimeSettings { kind: text("Type"), servers: text("NtpServer"), domain: domain() };
    settings.time_servers()
}
