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
    /// Which compilation it is. Not of DSSE, and ignored by whoever does not know it.
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
/// When it can't be written as JSON.
pub fn seal<T: Payload>(key: &PolicyKey, value: &T) -> Result<Envelope, SealError> {
    let (payload, signature) = signed(key, value)?;
    let payload_type = T::TYPE.to_owned();
    Ok(Envelope { payload_type, payload, signatures: vec![signature], label: None })
}

/// Platform: signs a ruleset, and which compilation it is.
///
/// # Errors
/// When it can't be written as JSON.
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

    /// The payload, for showing; says nothing about who signed it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
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
    /// The label was made for something else.
    #[error(
        "the envelope's label is of another ruleset: it was damaged or put together by someone"
    )]
    Mislabelled,
    /// A ruleset older than what the host has had already.
    #[error("the envelope holds {got}, but this host has already had {floor}")]
    Older {
        /// Its place.
        got: RulesetVersion,
        /// The newest so far.
        floor: RulesetVersion,
    },
    /// An order older than what the host has had already.
    #[error("the envelope holds order {got}, but this host has already had order {floor}")]
    OlderOrder {
        /// Its sequence.
        got: u64,
        /// The newest so far.
        floor: u64,
    },
    /// A ruleset without a label, for a host that has had one with a label.
    #[error(
        "the envelope does not say which compilation it is, and this host has already had {floor}; \
         if the platform was replaced by an earlier version, upgrade it"
    )]
    Unlabelled {
        /// The newest so far.
        floor: RulesetVersion,
    },
}

/// Something that was signed by a pinned key, for this host, and is not too old. Made by [`open`],
/// [`open_order`] and [`open_label`], and by nothing else; whoever has one has the evidence.
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

    /// Its place among all rulesets.
    #[must_use]
    pub fn version(&self) -> RulesetVersion {
        let compilation = self.label.as_ref().map_or(0, |label| label.compilation);
        RulesetVersion { revision: self.value.revision, compilation }
    }

    /// The envelope of its label, for [`open_label`]; `None` when there is none.
    #[must_use]
    pub fn label(&self) -> Option<&[u8]> {
        self.label.as_ref().map(|label| label.envelope.as_slice())
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

/// Host: opens a ruleset's envelope, from the platform or from its own disk.
///
/// `floor` is the place of the newest ruleset that this host has had. The one at that place is
/// accepted again.
///
/// # Errors
/// See [`EnvelopeError`]; looked at in the order written there.
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
/// `floor` is the newest sequence that this host has had.
///
/// # Errors
/// See [`EnvelopeError`]; looked at in the order written there.
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

/// Whom something is for, as its envelope says; says nothing about who signed it.
///
/// # Errors
/// [`EnvelopeError::Payload`] when it does not say.
pub fn addressee(envelope: &Envelope) -> Result<AssetId, EnvelopeError> {
    #[derive(Deserialize)]
    struct Peek {
        asset: AssetId,
    }
    let peek: Peek = serde_json::from_slice(&envelope.payload).map_err(EnvelopeError::Payload)?;
    Ok(peek.asset)
}

/// Opens the envelope of a label alone: evidence that a ruleset of this place was made for this host.
///
/// # Errors
/// See [`EnvelopeError`]; looked at in the order written there.
pub fn open_label(
    envelope: &[u8],
    pinned: &[PolicyPublicKey],
    expected: &AssetId,
) -> Result<Verified<RulesetLabel>, EnvelopeError> {
    open_any(envelope, pinned, expected)
}

/// Verifies everything but the age.
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
    /// The label, when it is signed and of the payload with this digest.
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

/// A payload of this type, signed by each of the keys.
pub(crate) fn sign(keys: &[&PolicyKey], payload_type: &str, payload: Vec<u8>) -> Envelope {
    let message = pre_authentication(payload_type, &payload);
    let signature = |key: &&PolicyKey| EnvelopeSignature {
        keyid: key.public().id().into(),
        sig: key.sign(&message),
    };
    let signatures = keys.iter().map(signature).collect();
    Envelope { payload_type: payload_type.to_owned(), payload, signatures, label: None }
}

/// Whether a pinned key has signed the payload as one of this type.
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
