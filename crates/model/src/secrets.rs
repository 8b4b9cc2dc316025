//! Secrets that operators give, sealed before they are stored in the database.

use std::fmt::Debug;

/// Sealing or opening a secret failed.
#[derive(Debug)]
pub struct SecretError(pub Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for SecretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for SecretError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Protects secrets from anyone who only has the database.
pub trait Secrets: Debug + Send + Sync {
    /// Seals a secret under a name.
    ///
    /// # Errors
    /// When the system provides no random bytes.
    fn seal(&self, name: &str, secret: &[u8]) -> Result<String, SecretError>;

    /// Opens a secret that was sealed under the same name.
    ///
    /// # Errors
    /// When it was sealed by another platform, or under another name.
    fn open(&self, name: &str, sealed: &str) -> Result<Vec<u8>, SecretError>;
}
