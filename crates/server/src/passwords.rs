//! Passwords of operators: hashed and checked.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
pub use xshield_operations::passwords::SHORTEST_PASSWORD;

use crate::settings::PasswordCost;

/// Hashes and checks passwords. Deliberately slow: call it where blocking is allowed.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    nobody: String,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
#[error("could not hash a password: {0}")]
pub struct PasswordError(String);

impl Passwords {
    /// Uses this cost.
    ///
    /// # Errors
    /// When the algorithm fails, or the system provides no random bytes.
    pub fn new(cost: PasswordCost) -> Result<Self, PasswordError> {
        let refused = |error: argon2::Error| PasswordError(error.to_string());
        let params = match cost {
            PasswordCost::Full => Params::new(19 * 1024, 2, 1, None),
            PasswordCost::Cheap => Params::new(Params::MIN_M_COST, 1, 1, None),
        };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(refused)?);
        let mut passwords = Self { argon2, nobody: String::new() };
        passwords.nobody = passwords.hash("nobody has this password")?;
        Ok(passwords)
    }

    /// A salted hash.
    ///
    /// # Errors
    /// When the algorithm fails, or the system provides no random bytes.
    pub fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let hash = self.argon2.hash_password(password.as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|error| PasswordError(error.to_string()))
    }

    /// Whether the password matches the hash. Without a hash it takes as long and returns false, so that
    /// timing does not reveal which accounts exist.
    #[must_use]
    pub fn check(&self, password: &str, hash: Option<&str>) -> bool {
        let Ok(parsed) = PasswordHash::new(hash.unwrap_or(&self.nobody)) else { return false };
        let same = self.argon2.verify_password(password.as_bytes(), &parsed).is_ok();
        same && hash.is_some()
    }
}
