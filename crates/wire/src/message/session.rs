//! The messages of the handshake for a session key.

use serde::{Deserialize, Serialize};
use xshield_policy::AssetId;

use super::UnixSeconds;
use crate::bytes::Bytes;

/// A host's request for a session key. `mac` proves possession of the enforcement key, `signature` of the
/// identity key; both over the transcript of [`crate::session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// [`super::VERSION`].
    pub version: u16,
    /// The id of the enforcement key.
    pub key_id: String,
    /// The host's name as the host reports it.
    pub host_name: String,
    /// The host's own Ed25519 public key, generated at its first run.
    pub identity: Bytes<32>,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Makes requests within one second different.
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
    /// The host's asset id.
    pub asset: AssetId,
    /// X25519, for this session only.
    pub ephemeral: Bytes<32>,
    /// Opaque to the host; part of every request.
    pub token: String,
    /// When the token expires.
    pub expires: UnixSeconds,
    /// The platform's clock.
    pub time: UnixSeconds,
    /// HMAC-SHA256 with a key derived together with the session key: proves that the platform knew the
    /// enforcement key.
    pub mac: Bytes<32>,
}
