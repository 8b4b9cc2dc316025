//! The files of a package in a staging directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::package::{Package, Source};
use crate::run;

/// The files of one package.
pub(super) struct Stage {
    pub(super) root: PathBuf,
}

impl Stage {
    /// Copies every file to its place; previous content is removed.
    pub(super) fn fill(
        root: &Path,
        package: &Package,
        binary: &dyn Fn(&str) -> PathBuf,
    ) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root)
                .with_context(|| format!("could not empty {}", root.display()))?;
        }
        for item in package.items {
            let to = root.join(item.path.trim_start_matches('/'));
            let directory = to.parent().context("a packaged file has no directory")?;
            make_directories(root, directory)?;
            write(item.source, &to, binary).with_context(|| format!("for {}", item.path))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(item.mode))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The installed size of the files, in KiB.
    pub(super) fn kibibytes(&self, package: &Package) -> Result<u64> {
        let sizes = package.items.iter().map(|item| {
            let path = self.root.join(item.path.trim_start_matches('/'));
            fs::metadata(&path).map(|data| data.len().div_ceil(1024))
        });
        Ok(sizes.sum::<std::io::Result<u64>>()?)
    }
}

/// Directories get the usual mode, whatever this user's umask.
fn make_directories(root: &Path, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let ours = directory.ancestors().take_while(|path| path.starts_with(root));
    for path in ours {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn write(source: Source, to: &Path, binary: &dyn Fn(&str) -> PathBuf) -> Result<()> {
    match source {
        Source::Binary(name) => copy(&binary(name), to),
        Source::File(path) => copy(&run::root().join(path), to),
        Source::Manual(name) => {
            let page = run::root().join("packages/man").join(name);
            // Without name and time, the compressed page is reproducible.
            let text = printed(Command::new("gzip").args(["-9", "-n", "-c"]).arg(page))?;
            Ok(fs::write(to, text)?)
        }
        Source::Completions(program, shell) => {
            let text = printed(Command::new(binary(program)).args(["completions", shell]))?;
            Ok(fs::write(to, text)?)
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("could not copy {}", from.display()))?;
    Ok(())
}

fn printed(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
