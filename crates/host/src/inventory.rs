//! Reports of the installed software.

use std::collections::BTreeSet;

use xshield_wire::message::UnixSeconds;
use xshield_wire::telemetry::{SoftwareContents, SoftwarePackage, SoftwareReport, software_digest};

/// The report of an inventory: all of it the first time, then what has changed. `None`: nothing has.
#[must_use]
pub fn report(
    before: Option<&BTreeSet<SoftwarePackage>>,
    now: &BTreeSet<SoftwarePackage>,
    taken: UnixSeconds,
) -> Option<SoftwareReport> {
    let contents = match before {
        Some(before) if before == now => return None,
        Some(before) => SoftwareContents::Changes {
            base: software_digest(before),
            added: now.difference(before).cloned().collect(),
            removed: before.difference(now).cloned().collect(),
        },
        None => SoftwareContents::Full { packages: now.iter().cloned().collect() },
    };
    Some(SoftwareReport { taken, digest: software_digest(now), contents })
}
