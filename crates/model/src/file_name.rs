//! Names of content-addressed files.

use std::fmt;
use std::str::FromStr;

use ring::digest::{self, SHA256};
use xshield_threat::Digest;
use xshield_threat::set::DigestError;

/// The SHA-256 of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(pub Digest);

impl FileName {
    /// The name for these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut name = [0; 32];
        name.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
        Self(Digest(name))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FileName {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}
