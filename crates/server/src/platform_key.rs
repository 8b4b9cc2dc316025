//! Keys whose loss affects hosts or the database. One that is missing next to a database is not recreated
//! automatically: restoring it from a backup loses nothing.

use std::fmt;
use std::str::FromStr;

/// One of these keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformKey {
    /// Signs rulesets and orders; hosts pin it.
    Policy,
    /// Signs the platform's certificate; hosts and operators pin it.
    Ca,
    /// Seals sessions, and secrets in the database.
    Storage,
}

impl PlatformKey {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Policy, Self::Ca, Self::Storage];

    /// Its file in the data directory.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Policy => "policy.key",
            Self::Ca => "ca.key",
            Self::Storage => "storage.key",
        }
    }

    /// The consequences of replacing it.
    #[must_use]
    pub fn another_means(self) -> &'static str {
        match self {
            Self::Policy => "no host accepts a ruleset until it has a new configuration",
            Self::Ca => {
                "no host and no operator can connect to the platform until they trust \
                 the new CA"
            }
            Self::Storage => {
                "every enforcement key and every stored secret (of channels, feeds, proxies) \
                 must be created or entered again, and hosts need the new enforcement keys"
            }
        }
    }
}

/// As on the command line.
impl fmt::Display for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::Ca => "ca",
            Self::Storage => "storage",
        })
    }
}

/// The text names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {0:?}: expected policy, ca or storage")]
pub struct NoSuchKey(String);

impl FromStr for PlatformKey {
    type Err = NoSuchKey;

    fn from_str(text: &str) -> Result<Self, NoSuchKey> {
        let named = Self::ALL.into_iter().find(|key| key.to_string() == text);
        named.ok_or_else(|| NoSuchKey(text.to_owned()))
    }
}
