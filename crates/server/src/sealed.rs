//! Data that only this platform can read: host session tokens and stored secrets, sealed as PASETO v4.local
//! (XChaCha20 and keyed BLAKE2b). Any replica with the same key can open them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pasetors::Local;
use pasetors::keys::SymmetricKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::{LocalToken, V4};
use serde::{Deserialize, Serialize};
use xshield_model::Timestamp;
use xshield_model::secrets::{SecretError, Secrets};
use xshield_policy::AssetId;
use xshield_wire::Bytes;

/// Bound into session tokens, so that no other sealed text is accepted as one.
const SESSION: &[u8] = b"xshield host session v1";

/// Seals and opens.
pub struct Seal {
    key: SymmetricKey<V4>,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// Why a sealed text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The platform could not seal.
    #[error("could not seal a secret: the system provides no random bytes")]
    Sealing,
    /// Not sealed by this platform for this purpose.
    #[error("the token was not sealed by this platform")]
    Foreign,
    /// Sealed by this platform, but expired.
    #[error("the token has expired")]
    Expired,
}

/// The content of a host's session token. The host can't read it.
#[derive(Clone, Serialize, Deserialize)]
pub struct HostSession {
    /// The asset.
    pub asset: AssetId,
    /// The identity key that set it up.
    pub identity: Bytes<32>,
    /// The enforcement key that set it up.
    pub key_id: String,
    /// The session key.
    pub session_key: Bytes<32>,
    /// Its expiry in seconds since 1970.
    pub expires: i64,
}

impl fmt::Debug for HostSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostSession")
            .field("asset", &self.asset)
            .field("key_id", &self.key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Secrets for Seal {
    fn seal(&self, name: &str, secret: &[u8]) -> Result<String, SecretError> {
        self.secret(name, secret).map_err(|error| SecretError(Box::new(error)))
    }

    fn open(&self, name: &str, sealed: &str) -> Result<Vec<u8>, SecretError> {
        self.open_secret(name, sealed).map_err(|error| SecretError(Box::new(error)))
    }
}

impl Seal {
    /// Uses the platform's storage key.
    ///
    /// # Errors
    /// When the key has the wrong length.
    pub fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        let key = SymmetricKey::from(key).map_err(|_| SealError::Sealing)?;
        Ok(Self { key })
    }

    /// Creates a session token.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    pub fn session(&self, session: &HostSession) -> Result<String, SealError> {
        let text = serde_json::to_vec(session).map_err(|_| SealError::Sealing)?;
        LocalToken::encrypt(&self.key, &text, None, Some(SESSION)).map_err(|_| SealError::Sealing)
    }

    /// Opens a session token.
    ///
    /// # Errors
    /// When it is foreign or has expired.
    pub fn open_session(&self, token: &str, now: Timestamp) -> Result<HostSession, SealError> {
        let text = self.open(token, SESSION)?;
        let session: HostSession = serde_json::from_str(&text).map_err(|_| SealError::Foreign)?;
        if session.expires <= now.0 {
            return Err(SealError::Expired);
        }
        Ok(session)
    }

    /// Seals an enforcement key's secret for the database, bound to the key's id.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    pub fn secret(&self, id: &str, secret: &[u8]) -> Result<String, SealError> {
        let text = STANDARD.encode(secret);
        LocalToken::encrypt(&self.key, text.as_bytes(), None, Some(&purpose(id)))
            .map_err(|_| SealError::Sealing)
    }

    /// Opens an enforcement key's secret.
    ///
    /// # Errors
    /// When it was sealed by another platform or for another key.
    pub fn open_secret(&self, id: &str, sealed: &str) -> Result<Vec<u8>, SealError> {
        let text = self.open(sealed, &purpose(id))?;
        STANDARD.decode(text).map_err(|_| SealError::Foreign)
    }

    fn open(&self, token: &str, purpose: &[u8]) -> Result<String, SealError> {
        let token = UntrustedToken::<Local, V4>::try_from(token).map_err(|_| SealError::Foreign)?;
        let trusted = LocalToken::decrypt(&self.key, &token, None, Some(purpose))
            .map_err(|_| SealError::Foreign)?;
        Ok(trusted.payload().to_owned())
    }
}

fn purpose(id: &str) -> Vec<u8> {
    format!("xshield enforcement key v1:{id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(expires: i64) -> HostSession {
        HostSession {
            asset: "as-1".parse().unwrap(),
            identity: Bytes([1; 32]),
            key_id: "k1".to_owned(),
            session_key: Bytes([2; 32]),
            expires,
        }
    }

    #[test]
    fn a_session_opens_until_it_expires() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let token = seal.session(&session(100)).unwrap();
        assert_eq!(seal.open_session(&token, Timestamp(99)).unwrap().asset.as_str(), "as-1");
        assert_eq!(seal.open_session(&token, Timestamp(100)).unwrap_err(), SealError::Expired);
    }

    #[test]
    fn foreign_and_altered_tokens_are_refused() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let token = seal.session(&session(100)).unwrap();
        let other = Seal::new(&[8; 32]).unwrap();
        assert_eq!(other.open_session(&token, Timestamp(1)).unwrap_err(), SealError::Foreign);
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(seal.open_session(&altered, Timestamp(1)).is_err(), "byte {at}");
        }
        for text in ["", "v4.local.", "v4.local.AAAA", "v4.public.AAAA", "nonsense"] {
            assert_eq!(seal.open_session(text, Timestamp(1)).unwrap_err(), SealError::Foreign);
        }
    }

    #[test]
    fn a_secret_opens_only_with_its_own_key() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let sealed = seal.secret("k1", &[9; 32]).unwrap();
        assert_eq!(seal.open_secret("k1", &sealed).unwrap(), [9; 32]);
        assert_eq!(seal.open_secret("k2", &sealed).unwrap_err(), SealError::Foreign);
        assert_eq!(seal.open_session(&sealed, Timestamp(1)).unwrap_err(), SealError::Foreign);
    }
}
