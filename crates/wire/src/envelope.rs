//! What the platform signs for one host: DSSE envelopes (Dead Simple Signing Envelope, protocol and
//! JSON form 1.0.2) with Ed25519 signatures by pinned keys.
//!
//! Nothing signed has an expiry. A host that is cut off from the platform for weeks must keep
//! enforcing what it last had; an expiry would turn a long outage into an open or a dead host. What
//! an expiry is for, keeping old states from coming back, is done by the floor.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xshield_policy::{AssetId, Revision, Ruleset};

use crate::bytes::Bytes;
use crate::keys::{KeyId, PolicyKey, PolicyPublicKey, sha256};
use crate::message::{Digest, InForce};
use crate::threat::{ThreatOrder, ThreatWanted};

/// What the platform signs for one host.
pub trait Payload: Serialize + serde::de::DeserializeOwned {
    /// The payload's media type; what is signed as one type never passes as another.
    const TYPE: &'static str;

    /// For whom.
    fn asset(&self) -> &AssetId;

    /// Its place among all of its type for this host: a revision or a sequence.
    fn position(&self) -> u64;
}

impl Payload for Ruleset {
    const TYPE: &'static str = "application/vnd.xshield.ruleset.v1+json";

    fn asset(&self) -> &AssetId {
        &self.asset
    }

    fn position(&self) -> u64 {
        self.revision.0
    }
}

impl Payload for ThreatOrder {
    const TYPE: &'static str = "application/vnd.xshield.threat-order.v1+json";

    fn asset(&self) -> &AssetId {
        &self.asset
    }

    fn position(&self) -> u64 {
        self.sequence
    }
}

/// The largest envelope that is read, in bytes.
pub const MAX_ENVELOPE: usize = 64 << 20;

/// The most signatures that are looked at: a change of keys needs two.
const MAX_SIGNATURES: usize = 8;

/// A payload and who signed it, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    #[serde(serialize_with = "write_base64", deserialize_with = "read_base64")]
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: Bytes<64>,
}

/// A payload could not be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("writing what is signed for {asset} as JSON failed")]
pub struct SealError {
    asset: AssetId,
    source: serde_json::Error,
}

/// Platform: signs a ruleset or an order.
///
/// # Errors
/// When it can't be written as JSON.
pub fn seal<T: Payload>(key: &PolicyKey, value: &T) -> Result<Envelope, SealError> {
    let payload = serde_json::to_vec(value)
        .map_err(|source| SealError { asset: value.asset().clone(), source })?;
    let sig = key.sign(&pre_authentication(T::TYPE, &payload));
    let signature = EnvelopeSignature { keyid: key.public().id().into(), sig };
    let payload_type = T::TYPE.to_owned();
    Ok(Envelope { payload_type, payload, signatures: vec![signature] })
}

impl Envelope {
    /// Reads the JSON form; says nothing about who signed it.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] and [`EnvelopeError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(EnvelopeError::Malformed)
    }

    /// SHA-256 of the payload: what [`InForce`] and [`ThreatWanted`] name it by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Bytes(sha256(&self.payload))
    }

    /// The JSON form, to be sent and stored as it is.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Ok(json) = serde_json::to_vec(self) else {
            unreachable!("JSON holds strings and byte strings, and an envelope is nothing else")
        };
        json
    }
}

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Over [`MAX_ENVELOPE`].
    #[error("the envelope has {bytes} bytes, over the limit of {MAX_ENVELOPE}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not the JSON of an envelope.
    #[error("what the platform signed is damaged: its envelope can't be read")]
    Malformed(#[source] serde_json::Error),
    /// The payload is something else.
    #[error("the envelope holds {got:?}, not {expected:?}; upgrade the older side")]
    PayloadType {
        /// What it says it holds.
        got: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// Signed, but by no pinned key.
    #[error(
        "the envelope is signed by {signed_by:?}, but only {pinned:?} are pinned; if the platform's \
         policy key was changed on purpose, put the new one into the host's configuration"
    )]
    UnknownKey {
        /// The key ids in the envelope.
        signed_by: Vec<String>,
        /// The pinned key ids.
        pinned: Vec<KeyId>,
    },
    /// A pinned key is named, but the signature is not its.
    #[error("the envelope's signature is wrong: it was damaged or forged")]
    BadSignature,
    /// Properly signed, but nothing that this program understands.
    #[error("the envelope is signed but its content can't be understood; upgrade this program")]
    Payload(#[source] serde_json::Error),
    /// For another host.
    #[error("the envelope is for {got}, but this host is {expected}")]
    OtherHost {
        /// Whom it is for.
        got: AssetId,
        /// This host.
        expected: AssetId,
    },
    /// Older than what the host has had already.
    #[error("the envelope holds revision {got}, but this host has already had revision {floor}")]
    Older {
        /// Its revision or sequence.
        got: u64,
        /// The newest so far.
        floor: u64,
    },
}

/// Something that was signed by a pinned key, for this host, at a revision not too old. Made by
/// [`open_payload`] and nothing else; whoever has one has the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    digest: Digest,
    envelope: Vec<u8>,
}

impl<T> Verified<T> {
    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The envelope, byte for byte as it was opened: what the host stores, to be opened again later.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

impl Verified<Ruleset> {
    /// Names this ruleset.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        InForce { revision: self.value.revision, digest: self.digest }
    }
}

impl Verified<ThreatOrder> {
    /// Names this order.
    #[must_use]
    pub fn name(&self) -> ThreatWanted {
        ThreatWanted { sequence: self.value.sequence, order: self.digest }
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Host: opens a ruleset's envelope, from the platform or from its own disk; see [`open_payload`].
///
/// # Errors
/// See [`EnvelopeError`]; looked at in the order written there.
pub fn open(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
    floor: Revision,
) -> Result<Verified<Ruleset>, EnvelopeError> {
    open_payload(envelope, pinned, expected, floor.0)
}

/// Host: opens an envelope, from the platform or from its own disk.
///
/// `floor` is the newest revision or sequence this host has had. The same one is accepted with
/// another digest: the platform compiles a revision again when assets change their addresses or tags.
///
/// # Errors
/// See [`EnvelopeError`]; looked at in the order written there.
pub fn open_payload<T: Payload>(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
    floor: u64,
) -> Result<Verified<T>, EnvelopeError> {
    let payload = verified_payload(envelope, pinned, T::TYPE)?;
    let value: T = serde_json::from_slice(&payload).map_err(EnvelopeError::Payload)?;
    if value.asset() != expected {
        let (got, expected) = (value.asset().clone(), expected.clone());
        return Err(EnvelopeError::OtherHost { got, expected });
    }
    if value.position() < floor {
        return Err(EnvelopeError::Older { got: value.position(), floor });
    }
    let digest = Bytes(sha256(&payload));
    Ok(Verified { value, digest, envelope: envelope.to_vec() })
}

fn verified_payload(
    bytes: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &'static str,
) -> Result<Vec<u8>, EnvelopeError> {
    let envelope = Envelope::from_bytes(bytes)?;
    if envelope.payload_type != expected {
        return Err(EnvelopeError::PayloadType { got: envelope.payload_type, expected });
    }
    let message = pre_authentication(&envelope.payload_type, &envelope.payload);
    let signatures = &envelope.signatures[..envelope.signatures.len().min(MAX_SIGNATURES)];
    let mut known = false;
    for signature in signatures {
        // The key id is a hint and not signed: it only selects which pinned key to try.
        for key in pinned.iter().filter(|key| key.id().as_str() == signature.keyid) {
            known = true;
            if key.verifies(&message, &signature.sig.0) {
                return Ok(envelope.payload);
            }
        }
    }
    if known {
        return Err(EnvelopeError::BadSignature);
    }
    let signed_by = signatures.iter().map(|signature| signature.keyid.clone()).collect();
    Err(EnvelopeError::UnknownKey {
        signed_by,
        pinned: pinned.iter().map(|key| key.id()).collect(),
    })
}

/// DSSE's pre-authentication encoding, version 1.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn write_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn read_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_is_the_specification_example() {
        // The DSSE protocol's own example.
        let encoded = pre_authentication("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
