//! Fixed-size byte strings, encoded as base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `N` bytes; base64 (RFC 4648, padded) in JSON. For public values: secret keys have their own types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const N: usize>(pub [u8; N]);

impl<const N: usize> Bytes<N> {
    /// Parses base64.
    ///
    /// # Errors
    /// When `text` is not base64 of exactly `N` bytes.
    pub fn from_base64(text: &str) -> Result<Self, BytesError> {
        let refuse = || BytesError { expected: N };
        let bytes = STANDARD.decode(text.trim()).map_err(|_| refuse())?;
        bytes.try_into().map(Self).map_err(|_| refuse())
    }

    /// Writes base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

/// The text is not base64 of the expected length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected base64 of {expected} bytes")]
pub struct BytesError {
    expected: usize,
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(de::Error::custom)
    }
}
