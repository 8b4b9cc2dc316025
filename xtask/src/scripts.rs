//! Third-party scripts of the console that were copied into the repository: no package metadata describes
//! their licences.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::run;

/// The allowed licences of copied scripts; `deny.toml` has those of crates.
const ALLOWED: &[&str] = &["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"];

/// The directory of the console's scripts.
const SCRIPTS: &str = "crates/server/static";

/// A script of the console.
enum Script {
    /// Part of this project.
    Ours(&'static str),
    /// Copied unchanged from a release.
    Copied { file: &'static str, licence: &'static str, notice: &'static str },
}

const KNOWN_SCRIPTS: &[Script] = &[
    Script::Ours("console.js"),
    Script::Copied { file: "htmx-2.0.11.min.js", licence: "0BSD", notice: "htmx.LICENSE" },
];

/// Fails when a script is unknown, or was copied without its notice; prints how many were copied.
pub(crate) fn check() -> Result<usize> {
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
            None => refused.push(format!("{SCRIPTS}/{name} has no entry in xtask/src/scripts.rs")),
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
