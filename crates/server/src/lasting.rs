//! Keys whose loss hosts or the database notice. Where one is missing beside a database, it is not made
//! again by itself: restored from a backup nothing is lost.

use std::fmt;
use std::str::FromStr;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastingKey {
    /// Signs rulesets and orders; hosts pin it.
    Policy,
    /// Signs the platform's certificate; hosts and operators pin it.
    Ca,
    /// Seals sessions, and secrets in the database.
    Storage,
}

impl LastingKey {
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

    /// What another one means.
    #[must_use]
    pub fn another_means(self) -> &'static str {
        match self {
            Self::Policy => "no host takes a ruleset until it has a new configuration",
            Self::Ca => "no host and no operator reaches the platform until it trusts the new CA",
            Self::Storage => {
                "every enforcement key and every stored secret (of channels, feeds, proxies) must be \
                 made or given again, and hosts need the new enforcement keys"
            }
        }
    }
}

/// As the command line takes it.
impl fmt::Display for LastingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::Ca => "ca",
            Self::Storage => "storage",
        })
    }
}

/// Why a text names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {0:?}: expected policy, ca or storage")]
pub struct NoSuchKey(String);

impl FromStr for LastingKey {
    type Err = NoSuchKey;

    fn from_str(text: &str) -> Result<Self, NoSuchKey> {
        let named = Self::ALL.into_iter().find(|key| key.to_string() == text);
        named.ok_or_else(|| NoSuchKey(text.to_owned()))
    }
}
