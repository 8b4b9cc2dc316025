//! The version of messages, and reading and writing them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

/// The version of these types. The platform supports this one and the previous one.
pub const VERSION: u16 = 1;

/// The oldest version that is still read.
pub const OLDEST_VERSION: u16 = if VERSION > 1 { VERSION - 1 } else { 1 };

/// Seconds since 1970-01-01 UTC.
pub type UnixSeconds = u64;

/// SHA-256 of a signed payload, which identifies it exactly.
pub type Digest = Bytes<32>;

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It has a version that this side does not support.
    #[error(
        "the message has version {got}, this side supports {OLDEST_VERSION} to {VERSION}; \
         upgrade the older side"
    )]
    Version {
        /// Its version.
        got: u64,
    },
    /// It is not JSON, or not this message.
    #[error("the message can't be read")]
    Malformed(#[source] serde_json::Error),
}

/// A message with its own version.
pub trait Message: Serialize + DeserializeOwned {
    /// Its version.
    fn version(&self) -> u16;

    /// Parses the message. Fields that this version does not know are ignored.
    ///
    /// # Errors
    /// [`MessageError::Version`] before any other error.
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

    /// Encodes the message.
    ///
    /// # Errors
    /// When JSON can't represent a value; messages of this version have no such value.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}
