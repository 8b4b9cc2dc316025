//! The fingerprint of a host's identity key, for comparison by people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::keys::sha256;

/// SHA-256 of the 32 bytes of a host's public identity key, written `sha256:` and 64 hexadecimal digits. Host
/// and platform show the same one, so that an operator can identify the machine that registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityFingerprint(Bytes<32>);

/// The text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the fingerprint of an identity key: expected sha256: and 64 hexadecimal digits, copied whole"
)]
pub struct FingerprintError;

const PREFIX: &str = "sha256:";

impl IdentityFingerprint {
    /// The fingerprint of a public identity key.
    #[must_use]
    pub fn of(identity: &Bytes<32>) -> Self {
        Self(Bytes(sha256(&identity.0)))
    }
}

impl fmt::Display for IdentityFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdentityFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IdentityFingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(FingerprintError)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(FingerprintError);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(Bytes(bytes)))
    }
}

fn nibble(digit: u8) -> Result<u8, FingerprintError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(FingerprintError),
    }
}

impl TryFrom<String> for IdentityFingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<IdentityFingerprint> for String {
    fn from(fingerprint: IdentityFingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written_and_nothing_else_is_one() {
        // printf '\0%.0s' $(seq 32) | sha256sum
        let zeros = "sha256:66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        let fingerprint = IdentityFingerprint::of(&Bytes([0; 32]));
        assert_eq!(fingerprint.to_string(), zeros);
        assert_eq!(zeros.parse(), Ok(fingerprint));
        let shouted = format!(" sha256:{}\n", zeros[7..].to_uppercase());
        assert_eq!(shouted.parse(), Ok(fingerprint));
        for wrong in [
            "",
            "sha256:",
            &zeros[7..],
            &zeros[..70],
            &format!("{zeros}0"),
            &zeros.replace('6', "g"),
            "sha256:ä",
        ] {
            assert_eq!(wrong.parse::<IdentityFingerprint>(), Err(FingerprintError), "{wrong:?}");
        }
        assert_ne!(IdentityFingerprint::of(&Bytes([1; 32])), fingerprint);
    }
}
