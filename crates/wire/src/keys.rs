//! The keys of hosts and platform. None of them shows its secret in `Debug`, and all are erased from memory
//! when dropped.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::bytes::{Bytes, BytesError};

/// SHA-256 (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// HMAC-SHA256 (RFC 2104).
pub(crate) fn hmac_sha256(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref());
    out
}

/// Compares in constant time.
pub(crate) fn is_hmac_sha256(key: &[u8], bytes: &[u8], mac: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes, mac).is_ok()
}

/// Identifies a key: 1 to 32 letters, digits or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if (1..=32).contains(&text.len()) && text.chars().all(plain) {
            Ok(Self(text))
        } else {
            Err(KeyError::Id(text))
        }
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a key's text was refused. It never contains the text, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a key id.
    #[error("{0:?} is not a key id: expected 1 to 32 letters, digits or '-'")]
    Id(String),
    /// Not in the format of an enforcement key.
    #[error("not an enforcement key: expected xek1_<id>_<48 characters>, copied whole")]
    EnforcementForm,
    /// In the right format, but with a wrong or missing character.
    #[error("the enforcement key was not copied correctly: its checksum is wrong; copy it again")]
    EnforcementChecksum,
    /// Not in the format of a deployment key.
    #[error("not a deployment key: expected xdk1_<id>_<91 characters>, copied whole")]
    DeploymentForm,
    /// In the right format, but with a wrong or missing character.
    #[error("the deployment key was not copied correctly: its checksum is wrong; copy it again")]
    DeploymentChecksum,
    /// Not a policy key.
    #[error("reading the policy key failed; expected the base64 text that the platform shows")]
    Policy(#[source] BytesError),
}

const ENFORCEMENT_PREFIX: &str = "xek1_";

/// The secret with which a host sets up its session key.
///
/// Its text form is `xek1_<id>_<secret>`, the secret being base64url (RFC 4648, unpadded) of its 32 bytes and
/// 4 bytes of checksum, so that a copying error can be distinguished from a wrong key.
#[derive(Clone, PartialEq, Eq)]
pub struct EnforcementKey {
    id: KeyId,
    secret: Zeroizing<[u8; 32]>,
}

impl EnforcementKey {
    /// A key with this id and 32 random bytes.
    #[must_use]
    pub fn new(id: KeyId, secret: [u8; 32]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The secret itself, for the platform's store.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The text form, including the secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 36]);
        bytes[..32].copy_from_slice(&self.secret[..]);
        bytes[32..].copy_from_slice(&self.checksum());
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]));
        Zeroizing::new(format!("{ENFORCEMENT_PREFIX}{}_{}", self.id, *secret))
    }

    fn checksum(&self) -> [u8; 4] {
        let mut text = Zeroizing::new(Vec::with_capacity(96));
        text.extend_from_slice(b"xshield enforcement key v1\0");
        text.extend_from_slice(self.id.as_str().as_bytes());
        text.push(0);
        text.extend_from_slice(&self.secret[..]);
        let hash = sha256(&text);
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl FromStr for EnforcementKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let rest = text.trim().strip_prefix(ENFORCEMENT_PREFIX).ok_or(KeyError::EnforcementForm)?;
        let (id, secret) = rest.split_once('_').ok_or(KeyError::EnforcementForm)?;
        let id = KeyId::from_str(id).map_err(|_| KeyError::EnforcementForm)?;
        let bytes = URL_SAFE_NO_PAD.decode(secret).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| KeyError::EnforcementForm)?;
        let (secret, checksum) = bytes.split_last_chunk::<4>().ok_or(KeyError::EnforcementForm)?;
        let secret = secret.try_into().map_err(|_| KeyError::EnforcementForm)?;
        let key = Self::new(id, secret);
        if key.checksum() == *checksum { Ok(key) } else { Err(KeyError::EnforcementChecksum) }
    }
}

impl fmt::Debug for EnforcementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnforcementKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An Ed25519 private key (RFC 8032), as its seed.
struct SigningSeed {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SigningSeed {
    fn new(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        // ring only refuses a wrong length, which the type excludes.
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&seed[..]) else {
            unreachable!("a seed of 32 bytes is an Ed25519 key")
        };
        Self { seed, pair }
    }

    fn public(&self) -> Bytes<32> {
        let mut out = [0; 32];
        out.copy_from_slice(self.pair.public_key().as_ref());
        Bytes(out)
    }

    fn sign(&self, message: &[u8]) -> Bytes<64> {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        Bytes(out)
    }
}

/// Whether `signature` is a valid signature of `message` by the Ed25519 key `public`.
pub(crate) fn is_signed_by(public: &Bytes<32>, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public.0).verify(message, signature).is_ok()
}

/// A host's own key, generated at its first run and kept permanently; the platform pins its public half.
pub struct IdentityKey(SigningSeed);

impl IdentityKey {
    /// The key from 32 random bytes; any 32 bytes are valid.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningSeed::new(seed))
    }

    /// The seed itself, for the host's key file.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.0.seed
    }

    /// The public half, which the platform pins.
    #[must_use]
    pub fn public(&self) -> Bytes<32> {
        self.0.public()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Bytes<64> {
        self.0.sign(message)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// The platform's key for signing rulesets.
pub struct PolicyKey(SigningSeed);

impl PolicyKey {
    /// The key from 32 random bytes; any 32 bytes are valid.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningSeed::new(seed))
    }

    /// The seed itself, for the platform's key file.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.0.seed
    }

    /// The public half, which hosts pin.
    #[must_use]
    pub fn public(&self) -> PolicyPublicKey {
        PolicyPublicKey(self.0.public())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Bytes<64> {
        self.0.sign(message)
    }
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyKey").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// The public half of a [`PolicyKey`]; base64 in the host's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PolicyPublicKey(Bytes<32>);

impl PolicyPublicKey {
    /// The first 8 bytes of the key's SHA-256, in lower-case hexadecimal.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = sha256(&self.0.0);
        KeyId(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        is_signed_by(&self.0, message, signature)
    }
}

impl From<[u8; 32]> for PolicyPublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Bytes(bytes))
    }
}

impl FromStr for PolicyPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Bytes::from_base64(text).map(Self).map_err(KeyError::Policy)
    }
}

impl fmt::Display for PolicyPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

/// The key that both sides of a session derive; signs the session's requests.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey(Zeroizing<[u8; 32]>);

impl SessionKey {
    /// The key from the platform's sealed token.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, for the platform's sealed token and the host's session file.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}
