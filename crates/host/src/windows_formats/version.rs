//! Which Windows this is, and whether it is supported.

use std::fmt;

/// A version as the kernel tells it, which no compatibility setting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// E.g. 10.
    pub major: u32,
    /// E.g. 0.
    pub minor: u32,
    /// E.g. 17763.
    pub build: u32,
}

/// Windows 7 and Server 2008 R2 with service pack 1: the oldest that the compiler's library supports.
const OLDEST: Version = Version { major: 6, minor: 1, build: 7601 };
/// The first build of Windows 11, whose registry still says Windows 10.
const FIRST_OF_WINDOWS_11: u32 = 22_000;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Which kind of installation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Installation {
    /// A workstation.
    Client,
    /// A server with a desktop.
    Server,
    /// A server without one.
    ServerCore,
    /// Another, in the words of the registry.
    Other(String),
}

impl From<&str> for Installation {
    fn from(text: &str) -> Self {
        match text {
            "Client" => Self::Client,
            "Server" => Self::Server,
            "Server Core" => Self::ServerCore,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What Windows says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsVersion {
    /// The version.
    pub version: Version,
    /// The number of the update, e.g. 5329; 0 before Windows 10.
    pub update: u32,
    /// E.g. `Windows Server 2019 Standard`.
    pub product: String,
    /// E.g. `ServerStandard`.
    pub edition: String,
    /// E.g. `1809`, `22H2`; empty before Windows 10.
    pub release: String,
    /// Which kind of installation.
    pub installation: Installation,
}

/// Why this Windows can't be managed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Windows {found} is not supported: {OLDEST} (Windows 7 or Windows Server 2008 R2, with service pack \
     1) or later is; upgrade the host"
)]
pub struct UnsupportedVersion {
    found: Version,
}

impl WindowsVersion {
    /// For people: `Windows Server 2019 Standard 1809`.
    #[must_use]
    pub fn name(&self) -> String {
        let product = match self.product.strip_prefix("Windows 10") {
            Some(rest)
                if self.version.build >= FIRST_OF_WINDOWS_11
                    && self.installation == Installation::Client =>
            {
                format!("Windows 11{rest}")
            }
            _ if self.product.is_empty() => "Windows".to_owned(),
            _ => self.product.clone(),
        };
        let core = match self.installation {
            Installation::ServerCore => " (Server Core)",
            _ => "",
        };
        format!("{product} {}", self.release).trim_end().to_owned() + core
    }

    /// The version with the update: `10.0.17763.5329`.
    #[must_use]
    pub fn kernel(&self) -> String {
        match self.update {
            0 => self.version.to_string(),
            update => format!("{}.{update}", self.version),
        }
    }

    /// Refuses what is too old.
    ///
    /// # Errors
    /// [`UnsupportedVersion`].
    pub fn supported(&self) -> Result<(), UnsupportedVersion> {
        if self.version < OLDEST { Err(UnsupportedVersion { found: self.version }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_versions_are_named() {
        #[rustfmt::skip]
        let table = [
            ((6, 1, 7601), 0, "Windows Server 2008 R2 Standard", "", "Server", "Windows Server 2008 R2 Standard", "6.1.7601"),
            ((10, 0, 17763), 5329, "Windows Server 2019 Standard", "1809", "Server Core", "Windows Server 2019 Standard 1809 (Server Core)", "10.0.17763.5329"),
            ((10, 0, 19045), 1, "Windows 10 Pro", "22H2", "Client", "Windows 10 Pro 22H2", "10.0.19045.1"),
            ((10, 0, 22631), 1, "Windows 10 Pro", "23H2", "Client", "Windows 11 Pro 23H2", "10.0.22631.1"),
            ((10, 0, 26100), 1, "Windows Server 2025 Datacenter", "24H2", "Server", "Windows Server 2025 Datacenter 24H2", "10.0.26100.1"),
            ((10, 0, 1), 0, "", "", "Nano Server", "Windows", "10.0.1"),
        ];
        for ((major, minor, build), update, product, release, kind, name, kernel) in table {
            let windows = WindowsVersion {
                version: Version { major, minor, build },
                update,
                product: product.to_owned(),
                edition: String::new(),
                release: release.to_owned(),
                installation: Installation::from(kind),
            };
            assert_eq!((windows.name().as_str(), windows.kernel().as_str()), (name, kernel));
            assert_eq!(windows.supported(), Ok(()));
            let old =
                WindowsVersion { version: Version { major: 6, minor: 1, build: 7600 }, ..windows };
            let refused = old.supported().unwrap_err().to_string();
            assert!(refused.contains("6.1.7600") && refused.contains("6.1.7601"), "{refused}");
        }
    }
}
