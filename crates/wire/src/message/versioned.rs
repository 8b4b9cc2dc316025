//! What every message has: its version, and how it is read and written.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// The version these types describe. The platform serves this one and the one before.
pub const VERSION: u16 = 1;

/// The oldest version that is still read.
pub const OLDEST_VERSION: u16 = if VERSION > 1 { VERSION - 1 } else { 1 };

/// Seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// SHA-256 of a signed ruleset's payload: says which one is meant, byte for byte.
pub type Digest = Bytes<32>;

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Of a version that this side does not speak.
    #[error(
        "the message is of version {got}, this side reads {OLDEST_VERSION} to {VERSION}; \
         upgrade the older side"
    )]
    Version {
        /// Its version.
        got: u64,
    },
    /// Not JSON, or not this message.
    #[error("the message can't be read")]
    Malformed(#[source] serde_json::Error),
}

/// A message with a version of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The version its sender speaks.
    fn version(&self) -> u16;

    /// Reads the message. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// [`MessageError::Version`] before anything else is found fault with.
    fn read(json: &[u8]) -> Result<Self, MessageError> {
        #[derive(Deserialize)]
        struct Peek {
            version: u64,
        }
        let supported = |version: u64| {
            let range = u64::from(OLDEST_VERSION)..=u64::from(VERSION);
            if range.contains(&version) {
                Ok(())
            } else {
                Err(MessageError::Version { got: version })
            }
        };
        match serde_json::from_slice::<Self>(json) {
            Ok(message) => supported(message.version().into()).map(|()| message),
            Err(malformed) => {
                if let Ok(peek) = serde_json::from_slice::<Peek>(json) {
                    supported(peek.version)?;
                }
                Err(MessageError::Malformed(malformed))
            }
        }
    }

    /// Writes the message.
    ///
    /// # Errors
    /// When a value can't be held by JSON; no message of this version has one.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}
