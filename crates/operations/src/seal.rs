//! Secrets that the database keeps sealed.

use crate::error::Result;

/// Seals secrets with a key that the database does not have.
pub trait SealSecrets: Send + Sync {
    /// Seals a secret, bound to what it is for: it can't be opened as another one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    fn seal(&self, purpose: &str, secret: &[u8]) -> Result<String>;
}
