//! Successions: how hosts follow changes of the platform's certificate authority or policy key.
//!
//! A host's pins are replaced as a whole by those in the succession, if one of the policy keys that the host
//! trusts so far has signed it. During a change it contains old and new keys, at the end only the new ones. A
//! sequence number that only increases prevents replaced keys from being restored.

use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError, sign, verify};
use crate::keys::{PolicyKey, PolicyPublicKey};
use crate::trust::{Der, MOST};

/// The payload's media type.
const TYPE: &str = "application/vnd.xshield.trust.v1+json";

/// The certificates and keys that hosts trust from now on, instead of the previous ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    /// Increases with every change; hosts never go back.
    pub sequence: u64,
    /// The authorities that may have issued the platform's certificate.
    pub ca: Vec<Der>,
    /// The keys that may sign rulesets and orders.
    pub policy_keys: Vec<PolicyPublicKey>,
}

/// Why a succession was refused.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// It is not signed by a trusted key, or not readable.
    #[error("the platform's new keys were refused: {0}")]
    Envelope(#[from] EnvelopeError),
    /// It contains no or too many keys or certificates.
    #[error("the platform's new keys are invalid: expected 1 to {MOST} {0}")]
    Count(&'static str),
}

/// Platform: signs a succession with each of these keys.
///
/// # Errors
/// When it can't be encoded as JSON.
pub fn seal(keys: &[&PolicyKey], succession: &Succession) -> serde_json::Result<Envelope> {
    Ok(sign(keys, TYPE, serde_json::to_vec(succession)?))
}

/// Host: opens a succession that a currently trusted key has signed.
///
/// # Errors
/// See [`SuccessionError`].
pub fn open(
    envelope: &Envelope,
    trusted: &[PolicyPublicKey],
) -> Result<Succession, SuccessionError> {
    verify(envelope, TYPE, trusted)?;
    let succession = peek(envelope)?;
    for (count, what) in
        [(succession.ca.len(), "CA certificates"), (succession.policy_keys.len(), "policy keys")]
    {
        if !(1..=MOST).contains(&count) {
            return Err(SuccessionError::Count(what));
        }
    }
    Ok(succession)
}

/// The content of an envelope, without verifying signatures.
///
/// # Errors
/// [`EnvelopeError::Payload`] when it can't be read.
pub fn peek(envelope: &Envelope) -> Result<Succession, EnvelopeError> {
    serde_json::from_slice(envelope.payload()).map_err(EnvelopeError::Payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PolicyKey {
        PolicyKey::from_seed([seed; 32])
    }

    fn succession(keys: &[u8]) -> Succession {
        let policy_keys = keys.iter().map(|seed| key(*seed).public()).collect();
        Succession { sequence: 3, ca: vec![Der(vec![1, 2])], policy_keys }
    }

    #[test]
    fn a_new_key_signed_by_an_old_one_is_accepted() {
        let (old, new, other) = (key(1), key(2), key(3));
        let wanted = succession(&[1, 2]);
        for (signed_by, trusted, taken) in [
            (&[&old][..], &[1][..], true),
            (&[&old, &new], &[1], true),
            (&[&old, &new], &[2], true),
            // The new key can't vouch for itself.
            (&[&new], &[1], false),
            (&[&other], &[1, 2], false),
            (&[], &[1], false),
        ] {
            let envelope = seal(signed_by, &wanted).unwrap();
            let read = Envelope::from_bytes(&envelope.to_bytes()).unwrap();
            let trusted: Vec<_> = trusted.iter().map(|seed| key(*seed).public()).collect();
            let opened = open(&read, &trusted);
            assert_eq!(opened.as_ref().ok(), taken.then_some(&wanted), "{opened:?}");
        }
    }

    #[test]
    fn useless_or_unrelated_successions_are_refused() {
        let old = key(1);
        let trusted = [old.public()];
        for wrong in [
            Succession { ca: Vec::new(), ..succession(&[2]) },
            Succession { policy_keys: Vec::new(), ..succession(&[2]) },
            Succession { ca: vec![Der(vec![1]); MOST + 1], ..succession(&[2]) },
        ] {
            let envelope = seal(&[&old], &wrong).unwrap();
            assert!(
                matches!(open(&envelope, &trusted), Err(SuccessionError::Count(_))),
                "{wrong:?}"
            );
        }
        let order = sign(&[&old], "application/vnd.xshield.ruleset.v1+json", b"{}".to_vec());
        assert!(matches!(
            open(&order, &trusted),
            Err(SuccessionError::Envelope(EnvelopeError::PayloadType { .. }))
        ));
        let mut bytes = seal(&[&old], &succession(&[2])).unwrap().to_bytes();
        let at = bytes.iter().position(|byte| *byte == b'.').unwrap_or(60) + 40;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let damaged = Envelope::from_bytes(&bytes);
        assert!(damaged.is_err() || open(&damaged.unwrap(), &trusted).is_err());
    }
}
