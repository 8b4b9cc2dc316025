//! Every dependency's licence against an allow-list, and that of files that were copied here.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::metadata::{Membership, Metadata, Package};
use crate::{run, spdx};

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

/// Where the console's scripts are: no registry knows those that were copied.
const SCRIPTS: &str = "crates/platform/static";

/// A script as it is in the console.
enum Script {
    /// Of this repository.
    Ours(&'static str),
    /// Copied unchanged from a release.
    Copied { file: &'static str, licence: &'static str, notice: &'static str },
}

const KNOWN_SCRIPTS: &[Script] = &[
    Script::Ours("console.js"),
    Script::Copied { file: "htmx-2.0.11.min.js", licence: "0BSD", notice: "htmx.LICENSE" },
];

/// Fails with every package whose licence is missing or not allowed.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let foreign: Vec<&Package> =
        metadata.packages.iter().filter(|p| p.membership == Membership::Foreign).collect();
    let refused: Vec<String> = foreign.iter().filter_map(|package| refusal(package)).collect();
    if !refused.is_empty() {
        bail!("{}\nAllowed licences: {}", refused.join("\n"), ALLOWED.join(", "));
    }
    let copied = check_scripts()?;
    println!("licences: {} dependencies and {copied} copied files, all allowed", foreign.len());
    Ok(())
}

/// Fails when a script is not known, or was copied without its notice; says how many were copied.
fn check_scripts() -> Result<usize> {
    let directory = run::root().join(SCRIPTS);
    let (mut refused, mut copied) = (Vec::new(), 0);
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "js") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_known = |script: &&Script| match script {
            Script::Ours(file) | Script::Copied { file, .. } => *file == name,
        };
        match KNOWN_SCRIPTS.iter().find(is_known) {
            None => refused.push(format!("{SCRIPTS}/{name} has no entry in xtask/src/licences.rs")),
            Some(Script::Ours(_)) => {}
            Some(Script::Copied { licence, notice, .. }) => {
                copied += 1;
                if !ALLOWED.contains(licence) || !directory.join(notice).is_file() {
                    refused.push(format!("{SCRIPTS}/{name}: {licence}, notice {notice}"));
                }
            }
        }
    }
    if !refused.is_empty() {
        bail!("copied without an allowed licence and its notice:\n{}", refused.join("\n"));
    }
    Ok(copied)
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
