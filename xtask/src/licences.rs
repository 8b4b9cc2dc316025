//! Every dependency's licence against an allow-list.

use anyhow::{Result, bail};

use crate::metadata::{Membership, Metadata, Package};
use crate::spdx;

/// Licences under which we may ship without giving up ours: attribution at most; for MPL-2.0, changes
/// to the dependency's own files.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Fails with every package whose licence is missing or not allowed.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let foreign: Vec<&Package> =
        metadata.packages.iter().filter(|p| p.membership == Membership::Foreign).collect();
    let refused: Vec<String> = foreign.iter().filter_map(|package| refusal(package)).collect();
    if !refused.is_empty() {
        bail!("{}\nAllowed licences: {}", refused.join("\n"), ALLOWED.join(", "));
    }
    println!("licences: {} dependencies, every one allowed", foreign.len());
    Ok(())
}

fn refusal(package: &Package) -> Option<String> {
    let named = format!("{} {}", package.name, package.version);
    let Some(licence) = &package.license else {
        return Some(format!("{named} names no licence"));
    };
    match spdx::satisfied(licence, &|licence| ALLOWED.contains(&licence)) {
        Ok(true) => None,
        Ok(false) => Some(format!("{named} is under {licence}")),
        Err(unreadable) => Some(format!("{named}: {unreadable}")),
    }
}
