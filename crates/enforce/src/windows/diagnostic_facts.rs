//! What diagnostics contain about this Windows.

use xshield_host::windows::system;

use crate::problems::chain;
use crate::run::Run;

/// Each as a file of the archive.
pub(crate) fn facts(_: &Run<'_>) -> Vec<(&'static str, String)> {
    let version = match system::version() {
        Ok(version) => format!("{}\n{}\n", version.name(), version.kernel()),
        Err(error) => format!("# {error}\n"),
    };
    vec![("system/version", version), ("firewall/filters", firewall_text())]
}

fn firewall_text() -> String {
    let read = super::open_firewall().and_then(|mut firewall| {
        let state = firewall.state()?.to_string();
        Ok((state, firewall.read_back(None)))
    });
    match read {
        Ok((state, Ok(read))) => format!("# {state}\n{}", read.programmed),
        Ok((state, Err(error))) => format!("# {state}\n# {}\n", chain(&error)),
        Err(error) => format!("# {}\n", chain(&error)),
    }
}
