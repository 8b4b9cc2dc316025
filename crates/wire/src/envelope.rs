//! Envelopes, which the platform signs for one host: DSSE (Dead Simple Signing Envelope, protocol and JSON
//! form 1.0.2) with Ed25519 signatures by pinned keys.
//!
//! Nothing signed has an expiry. A host without a connection to the platform for weeks must keep enforcing
//! what it last received; an expiry would leave it open or unreachable after a long outage. The purpose of an
//! expiry, to prevent old states from being replayed, is served by the floor.

use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xshield_policy::{AssetId, Ruleset};

use crate::bytes::Bytes;
use crate::keys::{KeyId, PolicyKey, PolicyPublicKey, sha256};
use crate::label::{RulesetLabel, RulesetVersion};
use crate::message::{Digest, InForce};
use crate::payload::written;
pub use crate::payload::{Payload, SealError};
use crate::threat::{ThreatOrder, ThreatWanted};

/// The largest envelope that is read, in bytes.
pub const MAX_ENVELOPE: usize = 64 << 20;

/// The most signatures that are checked: a key change needs two.
const MAX_SIGNATURES: usize = 8;

/// A payload and its signatures, not verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    #[serde(serialize_with = "write_base64", deserialize_with = "read_base64")]
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
    /// Identifies the compilation. It is not part of DSSE; programs that do not know it ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<SignedLabel>,
}

/// The envelope of a [`RulesetLabel`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedLabel {
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

/// Platform: signs an order, or a ruleset without a label.
///
/// # Errors
/// When it can't be encoded as JSON.
pub fn seal<T: Payload>(key: &PolicyKey, value: &T) -> Result<Envelope, SealError> {
    let (payload, signature) = signed(key, value)?;
    let payload_type = T::TYPE.to_owned();
    Ok(Envelope { payload_type, payload, signatures: vec![signature], label: None })
}

/// Platform: signs a ruleset together with the label of its compilation.
///
/// # Errors
/// When it can't be encoded as JSON.
pub fn seal_ruleset(
    key: &PolicyKey,
    ruleset: &Ruleset,
    compilation: u64,
) -> Result<Envelope, SealError> {
    let mut envelope = seal(key, ruleset)?;
    let label = RulesetLabel {
        asset: ruleset.asset.clone(),
        version: RulesetVersion { revision: ruleset.revision, compilation },
        digest: envelope.digest(),
    };
    let (payload, signature) = signed(key, &label)?;
    let payload_type = RulesetLabel::TYPE.to_owned();
    envelope.label = Some(SignedLabel { payload_type, payload, signatures: vec![signature] });
    Ok(envelope)
}

fn signed<T: Payload>(
    key: &PolicyKey,
    value: &T,
) -> Result<(Vec<u8>, EnvelopeSignature), SealError> {
    let payload = written(value)?;
    let sig = key.sign(&pre_authentication(T::TYPE, &payload));
    Ok((payload, EnvelopeSignature { keyid: key.public().id().into(), sig }))
}

impl Envelope {
    /// Parses the JSON form without verifying signatures.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`] and [`EnvelopeError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge { bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(EnvelopeError::Malformed)
    }

    /// The payload, for display; its signatures are not verified.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// SHA-256 of the payload, by which [`InForce`] and [`ThreatWanted`] identify it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Bytes(sha256(&self.payload))
    }

    /// The JSON form, to be sent and stored unchanged.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Ok(json) = serde_json::to_vec(self) else {
            unreachable!(
                "an envelope consists of strings and byte strings, which JSON can \
                 represent"
            )
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
    /// It is not the JSON of an envelope.
    #[error("the platform's envelope is damaged and can't be read")]
    Malformed(#[source] serde_json::Error),
    /// The payload has another type.
    #[error("the envelope contains {got:?}, not {expected:?}; upgrade the older side")]
    PayloadType {
        /// The payload's type.
        got: String,
        /// The expected type.
        expected: &'static str,
    },
    /// It is signed, but by no pinned key.
    #[error(
        "the envelope is signed by {signed_by:?}, but only {pinned:?} are pinned; if the \
         platform's policy key was changed on purpose, put the new key into the host's \
         configuration"
    )]
    UnknownKey {
        /// The key ids in the envelope.
        signed_by: Vec<String>,
        /// The pinned key ids.
        pinned: Vec<KeyId>,
    },
    /// A pinned key is named, but the signature does not match it.
    #[error("the envelope's signature is wrong: it was damaged or forged")]
    BadSignature,
    /// It is signed, but this program can't parse the payload.
    #[error("the envelope is signed but its content can't be understood; upgrade this program")]
    Payload(#[source] serde_json::Error),
    /// It is for another host.
    #[error("the envelope is for {got}, but this host is {expected}")]
    OtherHost {
        /// The host for which it is.
        got: AssetId,
        /// This host.
        expected: AssetId,
    },
    /// The label belongs to another ruleset.
    #[error("the envelope's label belongs to another ruleset: it was damaged or manipulated")]
    Mislabelled,
    /// The ruleset is older than one that the host has had.
    #[error("the envelope contains {got}, but this host has already had {floor}")]
    Older {
        /// Its version.
        got: RulesetVersion,
        /// The newest so far.
        floor: RulesetVersion,
    },
    /// The order is older than one that the host has had.
    #[error("the envelope contains order {got}, but this host has already had order {floor}")]
    OlderOrder {
        /// Its sequence number.
        got: u64,
        /// The newest so far.
        floor: u64,
    },
    /// The ruleset has no label, but the host has had one with a label.
    #[error(
        "the envelope has no compilation number, but this host has already had {floor}; \
         if the platform was replaced by an earlier version, upgrade it"
    )]
    Unlabelled {
        /// The newest so far.
        floor: RulesetVersion,
    },
}

/// A payload that was signed by a pinned key, for this host, and is not too old. Only [`open`],
/// [`open_order`] and [`open_label`] create it, so it is proof of these checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    digest: Digest,
    envelope: Vec<u8>,
    label: Option<Labelled>,
}

/// A label that was verified together with its ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Labelled {
    compilation: u64,
    envelope: Vec<u8>,
}

impl<T> Verified<T> {
    /// SHA-256 of the payload.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The envelope, byte for byte as it was opened, which the host stores to open it again later.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

impl Verified<Ruleset> {
    /// Identifies this ruleset.
    #[must_use]
    pub fn in_force(&self) -> InForce {
        InForce { revision: self.value.revision, digest: self.digest }
    }

    /// Its version, which orders all rulesets.
    #[must_use]
    pub fn version(&self) -> RulesetVersion {
        let compilation = self.label.as_ref().map_or(0, |label| label.compilation);
        RulesetVersion { revision: self.value.revision, compilation }
    }

    /// The envelope of its label, for [`open_label`]; `None` if there is none.
    #[must_use]
    pub fn label(&self) -> Option<&[u8]> {
        self.label.as_ref().map(|label| label.envelope.as_slice())
    }
}

impl Verified<ThreatOrder> {
    /// Identifies this order.
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

/// Host: opens a ruleset's envelope, from the platform or from its own disk.
///
/// `floor` is the version of the newest ruleset that this host has had. The same version is accepted again.
///
/// # Errors
/// See [`EnvelopeError`]; checked in the order listed there.
pub fn open(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
    floor: RulesetVersion,
) -> Result<Verified<Ruleset>, EnvelopeError> {
    let verified: Verified<Ruleset> = open_any(envelope, pinned, expected)?;
    let got = verified.version();
    if got < floor {
        return Err(EnvelopeError::Older { got, floor });
    }
    if verified.label.is_none() && floor.compilation > 0 {
        return Err(EnvelopeError::Unlabelled { floor });
    }
    Ok(verified)
}

/// Host: opens an order's envelope, from the platform or from its own disk.
///
/// `floor` is the highest sequence number that this host has had.
///
/// # Errors
/// See [`EnvelopeError`]; checked in the order listed there.
pub fn open_order(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
    floor: u64,
) -> Result<Verified<ThreatOrder>, EnvelopeError> {
    let verified: Verified<ThreatOrder> = open_any(envelope, pinned, expected)?;
    if verified.sequence < floor {
        return Err(EnvelopeError::OlderOrder { got: verified.sequence, floor });
    }
    Ok(verified)
}

/// The asset for which an envelope is, without verifying signatures.
///
/// # Errors
/// [`EnvelopeError::Payload`] when it can't be read.
pub fn addressee(envelope: &Envelope) -> Result<AssetId, EnvelopeError> {
    #[derive(Deserialize)]
    struct Peek {
        asset: AssetId,
    }
    let peek: Peek = serde_json::from_slice(&envelope.payload).map_err(EnvelopeError::Payload)?;
    Ok(peek.asset)
}

/// Opens the envelope of a label alone: evidence that a ruleset with this version was made for this host.
///
/// # Errors
/// See [`EnvelopeError`]; checked in the order listed there.
pub fn open_label(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
) -> Result<Verified<RulesetLabel>, EnvelopeError> {
    open_any(envelope, pinned, expected)
}

/// Verifies everything except the version.
fn open_any<T: Payload>(
    bytes: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
) -> Result<Verified<T>, EnvelopeError> {
    let opened = Envelope::from_bytes(bytes)?;
    verify(&opened, T::TYPE, pinned)?;
    let Envelope { payload, label, .. } = opened;
    let value: T = serde_json::from_slice(&payload).map_err(EnvelopeError::Payload)?;
    if value.asset() != expected {
        let (got, expected) = (value.asset().clone(), expected.clone());
        return Err(EnvelopeError::OtherHost { got, expected });
    }
    let digest = Bytes(sha256(&payload));
    let label = label.map(|label| label.verified(pinned, expected, digest)).transpose()?;
    Ok(Verified { value, digest, envelope: bytes.to_vec(), label })
}

impl SignedLabel {
    /// The label, if it is signed and belongs to the payload with this digest.
    fn verified(
        self,
        pinned: &[PolicyPublicKey],
        asset: &AssetId,
        digest: Digest,
    ) -> Result<Labelled, EnvelopeError> {
        let Self { payload_type, payload, signatures } = self;
        let envelope = Envelope { payload_type, payload, signatures, label: None };
        verify(&envelope, RulesetLabel::TYPE, pinned)?;
        let label: RulesetLabel =
            serde_json::from_slice(&envelope.payload).map_err(EnvelopeError::Payload)?;
        if label.asset != *asset || label.digest != digest {
            return Err(EnvelopeError::Mislabelled);
        }
        Ok(Labelled { compilation: label.version.compilation, envelope: envelope.to_bytes() })
    }
}

/// Signs a payload of this type with each of the keys.
pub(crate) fn sign(keys: &[&PolicyKey], payload_type: &str, payload: Vec<u8>) -> Envelope {
    let message = pre_authentication(payload_type, &payload);
    let signature = |key: &&PolicyKey| EnvelopeSignature {
        keyid: key.public().id().into(),
        sig: key.sign(&message),
    };
    let signatures = keys.iter().map(signature).collect();
    Envelope { payload_type: payload_type.to_owned(), payload, signatures, label: None }
}

/// Checks whether a pinned key has signed the payload with this type.
pub(crate) fn verify(
    envelope: &Envelope,
    expected: &'static str,
    pinned: &[PolicyPublicKey],
) -> Result<(), EnvelopeError> {
    let Envelope { payload_type, payload, signatures, .. } = envelope;
    if payload_type != expected {
        return Err(EnvelopeError::PayloadType { got: payload_type.clone(), expected });
    }
    let message = pre_authentication(payload_type, payload);
    let signatures = &signatures[..signatures.len().min(MAX_SIGNATURES)];
    let mut known = false;
    for signature in signatures {
        // The key id is a hint and not signed: it only selects which pinned key to try.
        for key in pinned.iter().filter(|key| key.id().as_str() == signature.keyid) {
            known = true;
            if key.verifies(&message, &signature.sig.0) {
                return Ok(());
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
