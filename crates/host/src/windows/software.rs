//! What is installed for all users, from the registry. What users installed for themselves is not
//! looked at.

use std::collections::BTreeSet;
use std::io;

use xshield_wire::telemetry::SoftwarePackage;

use super::registry::{Key, View};
use crate::windows_formats::uninstall::{Bits, Installed, packages};

const UNINSTALL: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall";

/// Why the inventory is not known.
#[derive(Debug, thiserror::Error)]
#[error("could not read the installed software from the registry (HKLM\\{UNINSTALL})")]
pub struct SoftwareError(#[source] io::Error);

/// Everything that is installed for all users: of 64-bit and of 32-bit installers.
///
/// # Errors
/// When the registry can't be read; never half an inventory.
pub fn inventory() -> Result<BTreeSet<SoftwarePackage>, SoftwareError> {
    let mut installed = Vec::new();
    for (view, bits) in [(View::Programs64, Bits::SixtyFour), (View::Programs32, Bits::ThirtyTwo)] {
        let Some(key) = Key::open_in(UNINSTALL, view).map_err(SoftwareError)? else { continue };
        for name in key.names().map_err(SoftwareError)? {
            // Removed in the meantime.
            let Some(entry) = key.below(&name, view).map_err(SoftwareError)? else { continue };
            let entry = Installed {
                name: entry.text("DisplayName"),
                version: entry.text("DisplayVersion"),
                system_component: entry.number("SystemComponent"),
                parent: entry.text("ParentKeyName"),
                release_type: entry.text("ReleaseType"),
            };
            installed.push((bits, entry));
        }
    }
    Ok(packages(installed))
}
