//! Ids of new rows, and random bytes for them.

use ring::rand::{SecureRandom as _, SystemRandom};

/// The system provided no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system provides no random bytes")]
pub struct NoRandomness;

/// Random bytes from the system.
///
/// # Errors
/// When the system provides none.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A new id: the prefix and 12 random characters (60 bits) without similar-looking ones.
///
/// # Errors
/// When the system provides no random bytes.
pub fn new_id(prefix: &str) -> Result<String, NoRandomness> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let tail: String =
        random::<12>()?.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    Ok(format!("{prefix}{tail}"))
}
