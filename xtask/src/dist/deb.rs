//! Debian packages, by dpkg-deb (Debian Policy, chapters 5 and 6).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::package::{Effort, Linking, Package, Upgrade};
use super::stage::Stage;
use crate::run;

/// A maintainer script's name, when our body runs, and what its first argument becomes.
const SCRIPTS: [(&str, &str, &str); 3] = [
    (
        "postinst",
        "after-install",
        r#"[ "$1" = configure ] || exit 0
if [ -z "$2" ]; then set -- install; else set -- upgrade; fi"#,
    ),
    (
        "prerm",
        "before-remove",
        r#"case "$1" in remove) set -- remove ;; upgrade) set -- upgrade ;; *) exit 0 ;; esac"#,
    ),
    ("postrm", "after-remove", r#"case "$1" in remove | purge | upgrade) ;; *) exit 0 ;; esac"#),
];

/// Builds `NAME_VERSION_amd64.deb`.
pub(super) fn pack(
    directory: &Path,
    package: &Package,
    version: &str,
    effort: Effort,
    stage: &Stage,
) -> Result<PathBuf> {
    let control = stage.root.join("DEBIAN");
    fs::create_dir_all(&control)?;
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
    write(&control.join("control"), &description(package, version, stage)?, 0o644)?;
    let kept: String = package
        .items
        .iter()
        .filter(|item| item.upgrade == Upgrade::Kept)
        .map(|item| format!("{}\n", item.path))
        .collect();
    if !kept.is_empty() {
        write(&control.join("conffiles"), &kept, 0o644)?;
    }
    for (name, moment, arguments) in SCRIPTS {
        let text = format!("#!/bin/sh\nset -e\n{arguments}\n{}", package.script(moment)?);
        write(&control.join(name), &text, 0o755)?;
    }
    let file = directory.join(format!("{}_{version}_amd64.deb", package.name));
    let part = file.with_extension("deb.new");
    let mut build = Command::new("dpkg-deb");
    let compression: &[&str] = match effort {
        Effort::Fast => &["-Zgzip", "-z1"],
        Effort::Small => &["-Zxz"],
    };
    build.arg("--root-owner-group").args(compression).arg("--build").arg(&stage.root).arg(&part);
    run::succeed(build.stdout(Stdio::null()))?;
    fs::rename(&part, &file).with_context(|| format!("could not name {}", file.display()))?;
    // The other package format is built from the same directory.
    fs::remove_dir_all(&control).context("could not remove DEBIAN")?;
    Ok(file)
}

fn description(package: &Package, version: &str, stage: &Stage) -> Result<String> {
    let depends = match package.linking {
        Linking::Static => String::new(),
        Linking::Dynamic => format!("Depends: libc6 (>= {}), libgcc-s1, passwd\n", glibc()?),
    };
    Ok(format!(
        "Package: {name}
Version: {version}
Architecture: amd64
Maintainer: The Xshield developers
Installed-Size: {size}
Section: net
Priority: optional
{depends}Description: {summary}
 {description}
",
        name = package.name,
        size = stage.kibibytes(package)?,
        summary = package.summary,
        description = package.description,
    ))
}

/// The C library of this machine.
fn glibc() -> Result<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.context("could not start getconf")?.stdout;
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().nth(1).context("getconf names no C library")?;
    Ok(version.to_owned())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
