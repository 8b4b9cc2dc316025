//! Password requirements.

use crate::error::{OperationError, Result};

/// The minimum length of a password, in characters (NIST SP 800-63B: eight).
pub const SHORTEST_PASSWORD: usize = 8;
/// The maximum length of a password, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// Hashes passwords: deliberately slow, and few at a time.
pub trait HashPasswords: Send + Sync {
    /// A salted hash.
    ///
    /// # Errors
    /// When hashing fails.
    fn hash(&self, password: String) -> impl Future<Output = Result<String>> + Send;
}

/// The hash of a new password. `field`: where it was given.
///
/// # Errors
/// When it is too short or too long, or can't be hashed.
pub async fn hashed(
    passwords: &impl HashPasswords,
    field: &str,
    password: String,
) -> Result<String> {
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        let reason = format!("expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters");
        return Err(OperationError::invalid(field, reason));
    }
    passwords.hash(password).await
}
