//! What a host needs besides a key.

use xshield_wire::trust::TrustDigest;

/// How hosts find and recognize this platform.
#[derive(Debug, Clone)]
pub struct PlatformAccess {
    /// Its URL, for host configurations.
    pub url: String,
    /// The same as `ctagent register --domain` takes it.
    pub domain: String,
    /// The key that hosts pin (base64).
    pub policy_key: String,
    /// The certificate that hosts pin.
    pub ca_pem: String,
    /// Identifies both in deployment keys.
    pub trust: TrustDigest,
}

/// Issues enforcement keys.
#[derive(Debug)]
pub struct Issuer<'a, S> {
    /// Seals their secrets.
    pub seal: &'a S,
    /// The platform they are for.
    pub platform: PlatformAccess,
    /// How long before its expiry a key counts as expiring, in seconds.
    pub expiry_warning: i64,
}
