//! The host's own Ed25519 key, generated at its first run and pinned by the platform.

use std::path::Path;

use serde::{Deserialize, Serialize};
use xshield_wire::IdentityKey;
use xshield_wire::message::Problem;

use crate::files::{self, Access, Exposed, FileError};
use crate::problem;

/// The host's identity. `Debug` shows only the public key.
#[derive(Debug)]
pub struct Identity(IdentityKey);

/// An identity and possible problems with its file.
#[derive(Debug)]
pub struct Loaded {
    /// The key.
    pub identity: Identity,
    /// Whether it existed before.
    pub origin: Origin,
    /// Set if others could read the file until now.
    pub problem: Option<Problem>,
}

/// The origin of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Read from its file.
    Kept,
    /// Generated in this run.
    Made,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read or written.
    #[error("could not use the identity key")]
    File(#[from] FileError),
    /// The file exists but contains no key. A new one is not generated silently: the platform pins this one.
    #[error(
        "the identity key {path} is damaged ({reason}); restore it from a backup, or remove it and \
         have this host's new identity key approved by its fingerprint"
    )]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// How the damage was detected.
        reason: String,
    },
    /// The operating system's random number generator failed.
    #[error("could not generate an identity key: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    algorithm: String,
    seed: [u8; 32],
}

const ALGORITHM: &str = "ed25519";

impl Identity {
    /// Reads the key from `path`; at the first run generates it from `random` and saves it with mode 0600. If
    /// others could read the file, its permissions are corrected and a problem is returned.
    ///
    /// # Errors
    /// When the file is damaged (it stays where it is, and no new key is generated), or can't be read or
    /// written, or `random` fails.
    pub fn load_or_make(
        path: &Path,
        random: impl FnOnce() -> Result<[u8; 32], String>,
    ) -> Result<Loaded, IdentityError> {
        if let Some(content) = files::read(path)? {
            let identity = Self(IdentityKey::from_seed(parse(path, &content)?));
            return Ok(Loaded { identity, origin: Origin::Kept, problem: close(path) });
        }
        let seed = random().map_err(IdentityError::Random)?;
        let file = KeyFile { algorithm: ALGORITHM.to_owned(), seed };
        let payload = serde_json::to_vec(&file)
            .map_err(|source| FileError::Encode { path: path.to_owned(), source })?;
        files::write(path, &files::seal(&payload), Access::Private)?;
        let identity = Self(IdentityKey::from_seed(seed));
        Ok(Loaded { identity, origin: Origin::Made, problem: None })
    }

    /// Reads the key from `path` without changing anything; `None` before the first run.
    ///
    /// # Errors
    /// When the file is damaged or can't be read.
    pub fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(content) = files::read(path)? else { return Ok(None) };
        Ok(Some(Self(IdentityKey::from_seed(parse(path, &content)?))))
    }

    /// The key, for signing.
    #[must_use]
    pub fn key(&self) -> &IdentityKey {
        &self.0
    }

    /// The private key. Never log it.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        self.0.expose_seed()
    }
}

fn parse(path: &Path, content: &[u8]) -> Result<[u8; 32], IdentityError> {
    let damaged =
        |reason: &str| IdentityError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let payload = files::unseal(content).map_err(damaged)?;
    // The parser's own message could contain the content.
    let file: KeyFile =
        serde_json::from_slice(payload).map_err(|_| damaged("its content is not a key"))?;
    if file.algorithm == ALGORITHM {
        Ok(file.seed)
    } else {
        Err(damaged("its key is of another algorithm"))
    }
}

/// Removes other users' access to the file; returns a problem if they had any.
fn close(path: &Path) -> Option<Problem> {
    let Exposed { to, closed } = files::close(path)?;
    let done = match closed {
        Ok(()) => "its permissions were corrected".to_owned(),
        Err(error) => format!("correcting its permissions failed: {error}"),
    };
    Some(problem(
        "identity-exposed",
        format!(
            "the identity key {} could be read by other users ({to}); {done}. If they are not trusted, \
             remove the file and have this host's new identity key approved by its fingerprint",
            path.display(),
        ),
    ))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn never() -> Result<[u8; 32], String> {
        panic!("no new key wanted")
    }

    #[test]
    fn an_identity_is_created_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        assert!(Identity::load(&path).unwrap().is_none() && !path.exists());
        let made = Identity::load_or_make(&path, || Ok([7; 32])).unwrap();
        assert_eq!(made.origin, Origin::Made);
        let read = Identity::load(&path).unwrap().unwrap();
        assert_eq!(read.key().public(), made.identity.key().public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let kept = Identity::load_or_make(&path, never).unwrap();
        assert_eq!((kept.origin, kept.problem), (Origin::Kept, None));
        assert_eq!(kept.identity.key().public(), made.identity.key().public());
        assert_eq!(kept.identity.seed(), &[7; 32]);
    }

    #[test]
    fn damage_at_any_byte_is_an_error_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        Identity::load_or_make(&path, || Ok([7; 32])).unwrap();
        let whole = fs::read(&path).unwrap();
        for index in 0..whole.len() {
            let mut content = whole.clone();
            content[index] ^= 0x20;
            for content in [&content[..], &whole[..index]] {
                fs::write(&path, content).unwrap();
                let error = Identity::load_or_make(&path, never).unwrap_err();
                assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
                assert!(error.to_string().contains("approve"), "{error}");
                assert_eq!(fs::read(&path).unwrap(), content);
            }
        }
    }

    #[test]
    fn an_exposed_key_is_made_private_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity");
        Identity::load_or_make(&path, || Ok([7; 32])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let problem = Identity::load_or_make(&path, never).unwrap().problem.unwrap();
        assert_eq!(problem.code, "identity-exposed");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Identity::load_or_make(&path, never).unwrap().problem, None);
    }

    #[test]
    fn debug_hides_the_seed() {
        let text = format!("{:?}", Identity(IdentityKey::from_seed([0xAB; 32])));
        assert!(!text.contains("171, 171"), "{text}");
    }
}
