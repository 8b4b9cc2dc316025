//! Reads dpkg's status file, deb822(5): paragraphs of fields. Distroless images have one file per package.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xshield_wire::telemetry::SoftwarePackage;

use super::SoftwareError;
use crate::files;

const STATUS: &str = "var/lib/dpkg/status";
const DIRECTORY: &str = "var/lib/dpkg/status.d";

pub(super) fn inventory(root: &Path) -> Result<BTreeSet<SoftwarePackage>, SoftwareError> {
    let mut packages = BTreeSet::new();
    for path in status_files(root)? {
        match files::read(&path) {
            Ok(content) => {
                let text = content.unwrap_or_default();
                packages.extend(self::packages(&String::from_utf8_lossy(&text)));
            }
            Err(error) => {
                let source = io::Error::other(error);
                return Err(SoftwareError::Read { path, source });
            }
        }
    }
    Ok(packages)
}

/// The files whose change indicates a change of the inventory.
pub(super) fn files(root: &Path) -> [PathBuf; 2] {
    [root.join(STATUS), root.join(DIRECTORY)]
}

fn status_files(root: &Path) -> Result<Vec<PathBuf>, SoftwareError> {
    let [status, path] = files(root);
    let mut found = vec![status];
    let listing = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other,
    };
    let listing = listing.and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let listing = listing.map_err(|source| SoftwareError::Read { path, source })?;
    // Beside each package's file there is one with its checksums.
    let is_status = |path: &PathBuf| path.extension().is_none_or(|end| end != "md5sums");
    found.extend(listing.iter().map(fs::DirEntry::path).filter(is_status));
    Ok(found)
}

/// The installed packages of a status file. A removed package of which only the configuration is left is not
/// installed; a half-installed one is.
pub fn packages(status: &str) -> impl Iterator<Item = SoftwarePackage> {
    paragraphs(status).filter_map(package)
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('\n');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n\n").unwrap_or(rest.len());
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        Some(paragraph)
    })
}

fn package(paragraph: &str) -> Option<SoftwarePackage> {
    let field = |name: &str| {
        let mut lines = paragraph.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    // `Status: want flag state`; distroless files have none.
    if let Some(status) = field("Status")
        && matches!(status.rsplit(' ').next(), Some("not-installed" | "config-files"))
    {
        return None;
    }
    Some(SoftwarePackage {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture").unwrap_or_default(),
        manager: "dpkg".to_owned(),
    })
}
