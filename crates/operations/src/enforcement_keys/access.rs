//! What a host needs besides a key.

use xshield_wire::trust::TrustDigest;

/// How hosts find this platform, and by what they know it.
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
    /// Names both in deployment keys.
    pub trust: TrustDigest,
}

/// What makes enforcement keys.
#[derive(Debug)]
pub struct Issuer<'a, S> {
    /// Seals their secrets.
    pub seal: &'a S,
    /// For which platform they are.
    pub platform: PlatformAccess,
    /// How long before its end a key counts as expiring, in seconds.
    pub expiry_warning: i64,
}
