//! Which distribution this is, and whether it is supported. Format: os-release(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// The needed fields of os-release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OsRelease {
    /// `ID`, lower case, e.g. `debian`; `linux` if absent.
    pub id: String,
    /// `ID_LIKE`: the distributions from which it derives, closest first.
    pub like: Vec<String>,
    /// `VERSION_ID`, e.g. `12`; empty for rolling distributions.
    pub version: String,
}

/// Why a host can't be managed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The distribution is supported, but this version is too old.
    #[error("{os} is not supported; {needed} or later is required: upgrade the host")]
    TooOld {
        /// Distribution and version.
        os: String,
        /// The oldest supported version.
        needed: String,
    },
    /// Neither the distribution nor any from which it derives is known.
    #[error(
        "{os} is not supported: supported are RHEL 7 and its relatives, Fedora, Ubuntu 20.04, \
         Debian 10, SLES 15, openSUSE Leap 15, Amazon Linux 2, their later versions and derivatives"
    )]
    Unknown {
        /// Distribution and version.
        os: String,
    },
}

/// Proof that the distribution is supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportedOs {
    /// Distribution and version, e.g. `debian 12`.
    pub name: String,
}

/// The oldest supported version of each distribution. Rolling ones have no versions.
const OLDEST: &[(&str, &str)] = &[
    ("rhel", "7"),
    ("centos", "7"),
    ("rocky", "8"),
    ("almalinux", "8"),
    ("ol", "7"),
    ("fedora", "0"),
    ("ubuntu", "20.04"),
    ("debian", "10"),
    ("sles", "15"),
    ("sles_sap", "15"),
    ("opensuse", "15"),
    ("opensuse-leap", "15"),
    ("opensuse-tumbleweed", "0"),
    ("suse", "15"),
    ("amzn", "2"),
];

impl OsRelease {
    /// Reads `etc/os-release`, else `usr/lib/os-release`, under `root`.
    ///
    /// # Errors
    /// When a file exists but can't be read. It is no error if there is none.
    pub fn read(root: &Path) -> Result<Self, FileError> {
        Ok(Self::parse(&text(root)?))
    }

    /// Parses the text of the file. Lines that are not assignments are comments or damaged, and ignored.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let values = values(text);
        let value = |key: &str| values.get(key).map(|text| text.to_ascii_lowercase());
        Self {
            id: value("ID").filter(|id| !id.is_empty()).unwrap_or_else(|| "linux".to_owned()),
            like: value("ID_LIKE")
                .map(|like| like.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            version: value("VERSION_ID").unwrap_or_default(),
        }
    }

    /// Distribution and version, e.g. `debian 12`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.id, self.version).trim_end().to_owned()
    }
}

impl SupportedOs {
    /// Whether the distribution is supported. A derivative of a known distribution is, whatever its own
    /// version.
    ///
    /// # Errors
    /// [`Unsupported`], with what is required.
    pub fn check(os: &OsRelease) -> Result<Self, Unsupported> {
        let supported = Self { name: os.name() };
        let oldest = |id: &str| OLDEST.iter().find(|(known, _)| *known == id).map(|(_, old)| *old);
        if let Some(needed) = oldest(&os.id) {
            // Debian testing and the like have no version.
            if os.version.is_empty() || numbers(&os.version) >= numbers(needed) {
                return Ok(supported);
            }
            let needed = format!("{} {needed}", os.id);
            return Err(Unsupported::TooOld { os: os.name(), needed });
        }
        if os.like.iter().any(|like| oldest(like).is_some()) {
            return Ok(supported);
        }
        Err(Unsupported::Unknown { os: os.name() })
    }
}

/// The distribution's display name, e.g. `Debian GNU/Linux 12 (bookworm)`; `None` if absent.
///
/// # Errors
/// As [`OsRelease::read`].
pub fn pretty_name(root: &Path) -> Result<Option<String>, FileError> {
    let name = values(&text(root)?).remove("PRETTY_NAME");
    Ok(name.filter(|name| !name.is_empty()))
}

fn text(root: &Path) -> Result<String, FileError> {
    let candidates: [PathBuf; 2] = [root.join("etc/os-release"), root.join("usr/lib/os-release")];
    for path in candidates {
        if let Some(content) = files::read(&path)? {
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
    }
    Ok(String::new())
}

fn values(text: &str) -> BTreeMap<&str, String> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .map(|(key, value)| (key, unquote(value)))
        .collect()
}

/// Removes shell-like quotes as far as os-release(5) allows them.
fn unquote(value: &str) -> String {
    let value = value.trim();
    let quoted = ['"', '\''].iter().find_map(|&quote| {
        let inner = value.strip_prefix(quote)?;
        Some(inner.strip_suffix(quote).unwrap_or(inner))
    });
    let mut text = String::new();
    let mut characters = quoted.unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_comments_and_damage() {
        let os = OsRelease::parse(
            "# comment\nNAME=\"Red Hat \\\"Enterprise\\\" Linux\"\nID=\"rhel\"\n  ID_LIKE='fedora centos'\nnonsense\nVERSION_ID=\"8.10\"",
        );
        let like = vec!["fedora".to_owned(), "centos".to_owned()];
        assert_eq!(os, OsRelease { id: "rhel".into(), like, version: "8.10".into() });
        assert_eq!(os.name(), "rhel 8.10");
        assert_eq!(OsRelease::parse("").name(), "linux");
    }

    #[test]
    fn supported_distributions() {
        #[rustfmt::skip]
        let table = [
            // id, like, version, supported
            ("rhel", "fedora", "7.9", true),
            ("rhel", "fedora", "6.10", false),
            ("rhel", "fedora", "10.0", true),
            ("centos", "rhel fedora", "7", true),
            ("centos", "rhel fedora", "6", false),
            ("rocky", "rhel centos fedora", "9.3", true),
            ("almalinux", "rhel centos fedora", "8.9", true),
            ("ol", "fedora", "7.9", true),
            ("fedora", "", "41", true),
            ("ubuntu", "debian", "18.04", false),
            ("ubuntu", "debian", "20.04", true),
            ("ubuntu", "debian", "24.10", true),
            ("debian", "", "9", false),
            ("debian", "", "10", true),
            ("debian", "", "12", true),
            ("debian", "", "", true),
            ("sles", "suse", "12.5", false),
            ("sles", "suse", "15.5", true),
            ("opensuse-leap", "suse opensuse", "15.6", true),
            ("opensuse-tumbleweed", "opensuse suse", "20261101", true),
            ("amzn", "centos rhel fedora", "2", true),
            ("amzn", "fedora", "2023", true),
            ("linuxmint", "ubuntu debian", "21", true),
            ("raspbian", "debian", "1", true),
            ("alpine", "", "3.19", false),
            ("linux", "", "", false),
        ];
        for (id, like, version, supported) in table {
            let os = OsRelease {
                id: id.to_owned(),
                like: like.split_whitespace().map(str::to_owned).collect(),
                version: version.to_owned(),
            };
            let got = SupportedOs::check(&os);
            assert_eq!(got.is_ok(), supported, "{id} {version}: {got:?}");
        }
    }

    #[test]
    fn a_refusal_names_supported_versions() {
        let os = OsRelease::parse("ID=ubuntu\nVERSION_ID=\"18.04\"");
        let text = SupportedOs::check(&os).unwrap_err().to_string();
        assert_eq!(
            text,
            "ubuntu 18.04 is not supported; ubuntu 20.04 or later is required: upgrade the host"
        );
    }

    #[test]
    fn etc_takes_precedence() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(OsRelease::read(root.path()).unwrap().id, "linux");
        write("usr/lib/os-release", "ID=fedora");
        assert_eq!(OsRelease::read(root.path()).unwrap().id, "fedora");
        write("etc/os-release", "ID=debian");
        assert_eq!(OsRelease::read(root.path()).unwrap().id, "debian");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*|[A-Z_=\"'\\\\\n a-z0-9.]*") {
            let _ = SupportedOs::check(&OsRelease::parse(&text));
        }
    }
}
