//! How a host gets a session key.

use serde::{Deserialize, Serialize};
use xshield_policy::AssetId;

use super::UnixSeconds;
use crate::bytes::Bytes;

/// A host asks for a session key. `mac` proves the enforcement key, `signature` the identity key;
/// both over [`crate::session`]'s transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// Which enforcement key.
    pub key_id: String,
    /// The host's name, its own word for itself.
    pub host_name: String,
    /// The host's own Ed25519 public key, made at its first run.
    pub identity: Bytes<32>,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Makes two requests of one second differ.
    pub nonce: Bytes<16>,
    /// The host's clock.
    pub created: UnixSeconds,
    /// HMAC-SHA256.
    pub mac: Bytes<32>,
    /// Ed25519.
    pub signature: Bytes<64>,
}

/// The platform's half of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionResponse {
    /// [`super::VERSION`].
    pub version: u16,
    /// Who the host is to the platform.
    pub asset: AssetId,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Opaque to the host; goes into every request.
    pub token: String,
    /// When the token ends.
    pub expires: UnixSeconds,
    /// The platform's clock.
    pub time: UnixSeconds,
    /// HMAC-SHA256 under a key derived beside the session key: the platform knew the enforcement
    /// key, too.
    pub mac: Bytes<32>,
}
