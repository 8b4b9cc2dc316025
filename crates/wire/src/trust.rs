//! The trust information of a platform, and the deployment key that vouches for it.
//!
//! `GET /host/v1/trust` returns [`PublicTrust`] to anyone: nothing in it is secret. A new host can't verify
//! the sender, so it only accepts the one whose digest is in its [`DeploymentKey`]. Someone who only knows an
//! enforcement key can't impersonate a platform with it: the operator brought the digest to the host.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::bytes::Bytes;
use crate::keys::{EnforcementKey, KeyError, KeyId, PolicyPublicKey, sha256};

/// The largest trust document, in bytes.
pub const MAX_TRUST: usize = 64 << 10;
/// The most certificates or keys of a platform.
pub(crate) const MOST: usize = 16;

/// A certificate in DER (RFC 5280); base64 (RFC 4648, padded) in JSON. It is not parsed here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Der(pub Vec<u8>);

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(&text).map(Self).map_err(|_| de::Error::custom("expected base64"))
    }
}

/// Certificates in PEM (RFC 7468).
#[must_use]
pub fn to_pem(certificates: &[Der]) -> String {
    let mut pem = String::new();
    for der in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = STANDARD.encode(&der.0);
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// The certificates and keys that hosts of a platform trust: public, and only valid once its digest was
/// verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicTrust {
    /// [`crate::message::VERSION`].
    pub version: u16,
    /// The authorities that may have issued the platform's certificate.
    pub ca: Vec<Der>,
    /// The keys that may sign rulesets and orders.
    pub policy_keys: Vec<PolicyPublicKey>,
}

impl PublicTrust {
    /// SHA-256 over certificates and keys, independent of their order and of other fields of the document.
    #[must_use]
    pub fn digest(&self) -> TrustDigest {
        let mut certificates: Vec<&[u8]> = self.ca.iter().map(|der| der.0.as_slice()).collect();
        let mut keys: Vec<&[u8]> =
            self.policy_keys.iter().map(|key| key.as_bytes().as_slice()).collect();
        let mut text = b"xshield public trust v1\0".to_vec();
        for list in [&mut certificates, &mut keys] {
            list.sort_unstable();
            list.dedup();
            text.extend_from_slice(&(list.len() as u64).to_be_bytes());
            for entry in list.iter() {
                text.extend_from_slice(&(entry.len() as u64).to_be_bytes());
                text.extend_from_slice(entry);
            }
        }
        TrustDigest(Bytes(sha256(&text)))
    }
}

/// Identifies a [`PublicTrust`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustDigest(Bytes<32>);

impl From<[u8; 32]> for TrustDigest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(Bytes(bytes))
    }
}

impl fmt::Display for TrustDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Proof that a deployment key vouches for this trust information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VouchedTrust(PublicTrust);

impl VouchedTrust {
    /// The authorities' certificates in PEM (RFC 7468).
    #[must_use]
    pub fn ca_pem(&self) -> String {
        to_pem(&self.0.ca)
    }

    /// The keys that may sign rulesets and orders; at least one.
    #[must_use]
    pub fn policy_keys(&self) -> &[PolicyPublicKey] {
        &self.0.policy_keys
    }
}

/// Why a platform's trust information was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is not the one for which the key was created.
    #[error(
        "the platform's trust information is not the one for which this key was created: it is \
         {got}, expected {expected}; check that the key belongs to this platform and that \
         nothing in between intercepts the connection"
    )]
    Other {
        /// The received digest.
        got: TrustDigest,
        /// The digest in the key.
        expected: TrustDigest,
    },
    /// It contains no or too many keys or certificates, although the key vouches for it.
    #[error("the platform's trust information is invalid: expected 1 to 16 {0}")]
    Count(&'static str),
}

const DEPLOYMENT_PREFIX: &str = "xdk1_";

/// All that a new host needs: an [`EnforcementKey`], and the digest of its platform's trust information.
///
/// Its text form is `xdk1_<id>_<text>`, the text being base64url (RFC 4648, unpadded) of the secret's 32
/// bytes, the [`TrustDigest`]'s 32 bytes and 4 bytes of checksum, so that a copying error can be
/// distinguished from another platform.
#[derive(Clone, PartialEq, Eq)]
pub struct DeploymentKey {
    enforcement: EnforcementKey,
    trust: TrustDigest,
}

impl DeploymentKey {
    /// The key with which hosts identify the platform with `trust`.
    #[must_use]
    pub fn new(enforcement: EnforcementKey, trust: TrustDigest) -> Self {
        Self { enforcement, trust }
    }

    /// Whether a text is apparently intended as a deployment key, valid or not.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.trim_start().starts_with("xdk")
    }

    /// The enforcement key with which the host registers.
    #[must_use]
    pub fn enforcement(&self) -> &EnforcementKey {
        &self.enforcement
    }

    /// The trust information for which it was created.
    #[must_use]
    pub fn trust(&self) -> TrustDigest {
        self.trust
    }

    /// Accepts `shown` if it is the one for which this key was created.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn vouch(&self, shown: PublicTrust) -> Result<VouchedTrust, TrustError> {
        let (got, expected) = (shown.digest(), self.trust);
        if got != expected {
            return Err(TrustError::Other { got, expected });
        }
        if !(1..=MOST).contains(&shown.ca.len()) {
            return Err(TrustError::Count("CA certificates"));
        }
        if !(1..=MOST).contains(&shown.policy_keys.len()) {
            return Err(TrustError::Count("policy keys"));
        }
        Ok(VouchedTrust(shown))
    }

    /// The text form, including the secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 68]);
        bytes[..32].copy_from_slice(self.enforcement.expose_secret());
        bytes[32..64].copy_from_slice(&self.trust.0.0);
        bytes[64..].copy_from_slice(&self.checksum());
        let packed = Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]));
        Zeroizing::new(format!("{DEPLOYMENT_PREFIX}{}_{}", self.enforcement.id(), *packed))
    }

    fn checksum(&self) -> [u8; 4] {
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        text.extend_from_slice(b"xshield deployment key v1\0");
        text.extend_from_slice(self.enforcement.id().as_str().as_bytes());
        text.push(0);
        text.extend_from_slice(self.enforcement.expose_secret());
        text.extend_from_slice(&self.trust.0.0);
        let hash = sha256(&text);
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl FromStr for DeploymentKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        const FORM: KeyError = KeyError::DeploymentForm;
        let rest = text.trim().strip_prefix(DEPLOYMENT_PREFIX).ok_or(FORM)?;
        let (id, packed) = rest.split_once('_').ok_or(FORM)?;
        let id = KeyId::from_str(id).map_err(|_| FORM)?;
        let bytes = URL_SAFE_NO_PAD.decode(packed).map(Zeroizing::new).map_err(|_| FORM)?;
        let (secret, rest) = bytes.split_first_chunk::<32>().ok_or(FORM)?;
        let (trust, checksum) = rest.split_first_chunk::<32>().ok_or(FORM)?;
        let checksum: [u8; 4] = checksum.try_into().map_err(|_| FORM)?;
        let key = Self::new(EnforcementKey::new(id, *secret), TrustDigest::from(*trust));
        if key.checksum() == checksum { Ok(key) } else { Err(KeyError::DeploymentChecksum) }
    }
}

impl fmt::Debug for DeploymentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeploymentKey")
            .field("enforcement", &self.enforcement)
            .field("trust", &self.trust)
            .finish()
    }
}
