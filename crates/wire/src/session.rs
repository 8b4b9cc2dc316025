//! The handshake for a session key.
//!
//! One round trip. The host sends its enforcement key's id, its identity key, an ephemeral X25519 key (RFC
//! 7748) and its clock, with
//!
//! - `mac` = HMAC-SHA256(enforcement secret, request): the host knows the enforcement key;
//! - `signature` = Ed25519(identity key, request and mac): it is that host.
//!
//! The platform answers with its own ephemeral key. Both derive, by HKDF-SHA256 (RFC 5869) with salt =
//! SHA-256(request, mac, signature, the platform's fields) and input = X25519 secret ‖ enforcement secret,
//! the session key and a confirmation key; the answer's `mac` under the latter proves that the platform knew
//! the enforcement key, too. Someone who learns the enforcement key later can't derive keys of old sessions,
//! since an ephemeral secret is needed, too.
//!
//! The token is not part of the salt, because the platform seals the session key into it; the answer's `mac`
//! covers it.

use ring::hkdf;
use x25519_dalek::{PublicKey, StaticSecret};
use xshield_policy::AssetId;
use zeroize::Zeroizing;

use crate::bytes::Bytes;
use crate::keys::{
    EnforcementKey, IdentityKey, SessionKey, hmac_sha256, is_hmac_sha256, is_signed_by, sha256,
};
use crate::message::{SessionRequest, SessionResponse, UnixSeconds, VERSION};
use crate::transcript::Transcript;

/// The largest difference of the clocks of host and platform, in seconds, in either direction.
pub const MAX_CLOCK_SKEW: u64 = 300;

/// The longest token that a host accepts, in bytes: it is part of a header of every request.
pub const MAX_TOKEN: usize = 4096;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The other side has another version.
    #[error(
        "the handshake has version {got}, this side supports {VERSION}; upgrade the older side"
    )]
    Version {
        /// The other side's version.
        got: u16,
    },
    /// The request names another key than the one with which it was checked.
    #[error("the request was made with enforcement key {named:?}, not with {used:?}")]
    OtherKey {
        /// The id in the request.
        named: String,
        /// The id of the key used.
        used: String,
    },
    /// The host does not know the enforcement key that it names, or the request was altered.
    #[error(
        "the request is not authenticated by the enforcement key it names; \
         put the current key into the host's configuration"
    )]
    RequestMac,
    /// The host does not have the identity key that it names, or the request was altered.
    #[error("the request is not signed by the identity key it names")]
    RequestSignature,
    /// The clocks are too far apart.
    #[error(
        "the host's clock says {host}, the platform's {platform} (Unix seconds); \
         correct the clock (at most {MAX_CLOCK_SKEW} s apart)"
    )]
    ClockSkew {
        /// The host's clock.
        host: UnixSeconds,
        /// The platform's clock.
        platform: UnixSeconds,
    },
    /// The other side's ephemeral key makes the shared secret predictable.
    #[error(
        "the other side sent an ephemeral key of low order, which indicates an attack; the \
         session was refused"
    )]
    WeakEphemeral,
    /// The answering side does not know the enforcement key, or the answer was altered.
    #[error(
        "the answer does not come from a platform that knows this enforcement key; \
         check the platform's address and the enforcement key"
    )]
    ResponseMac,
    /// The token can't be used in a header.
    #[error("the platform's token is empty, over {MAX_TOKEN} bytes or not printable ASCII")]
    Token,
}

/// The random values of a host for one handshake.
pub struct Randomness {
    /// X25519 secret.
    pub ephemeral: [u8; 32],
    /// For [`SessionRequest::nonce`].
    pub nonce: [u8; 16],
}

/// A handshake of a host that waits for the answer.
pub struct PendingSession {
    ephemeral: StaticSecret,
    secret: Zeroizing<[u8; 32]>,
    request: SessionRequest,
}

/// A session on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The key that signs requests.
    pub key: SessionKey,
    /// The host's asset id; the `keyid` of its signatures.
    pub asset: AssetId,
    /// Sent in the `authorization` header; opaque.
    pub token: String,
    /// When the token expires, by the platform's clock.
    pub expires: UnixSeconds,
    /// The platform's clock when it answered.
    pub platform_time: UnixSeconds,
}

/// Host: creates the request.
#[must_use]
pub fn start(
    enforcement: &EnforcementKey,
    identity: &IdentityKey,
    host_name: &str,
    now: UnixSeconds,
    random: Randomness,
) -> (SessionRequest, PendingSession) {
    let ephemeral = StaticSecret::from(random.ephemeral);
    let mut request = SessionRequest {
        version: VERSION,
        key_id: enforcement.id().to_string(),
        host_name: host_name.to_owned(),
        identity: identity.public(),
        ephemeral: Bytes(PublicKey::from(&ephemeral).to_bytes()),
        nonce: Bytes(random.nonce),
        created: now,
        mac: Bytes([0; 32]),
        signature: Bytes([0; 64]),
    };
    request.mac = Bytes(hmac_sha256(enforcement.expose_secret(), maced(&request).as_bytes()));
    request.signature = identity.sign(signed(&request).as_bytes());
    let secret = Zeroizing::new(*enforcement.expose_secret());
    let pending = PendingSession { ephemeral, secret, request: request.clone() };
    (request, pending)
}

/// Platform: a request whose sender has proven possession of the enforcement key and the identity key that it
/// names.
#[derive(Debug, Clone)]
pub struct ProvenRequest<'a> {
    request: &'a SessionRequest,
    enforcement: &'a EnforcementKey,
    now: UnixSeconds,
}

/// Platform: verifies the request. The caller has to determine the asset, and whether its identity is the
/// pinned one, from the proven request before it [accepts](ProvenRequest::accept) it.
///
/// # Errors
/// [`SessionError::Version`], [`OtherKey`](SessionError::OtherKey), [`RequestMac`](SessionError::RequestMac),
/// [`RequestSignature`](SessionError::RequestSignature) or [`ClockSkew`](SessionError::ClockSkew), checked in
/// this order.
pub fn prove<'a>(
    request: &'a SessionRequest,
    enforcement: &'a EnforcementKey,
    now: UnixSeconds,
) -> Result<ProvenRequest<'a>, SessionError> {
    if request.version != VERSION {
        return Err(SessionError::Version { got: request.version });
    }
    if request.key_id != enforcement.id().as_str() {
        let (named, used) = (request.key_id.clone(), enforcement.id().to_string());
        return Err(SessionError::OtherKey { named, used });
    }
    let maced = maced(request);
    if !is_hmac_sha256(enforcement.expose_secret(), maced.as_bytes(), &request.mac.0) {
        return Err(SessionError::RequestMac);
    }
    if !is_signed_by(&request.identity, signed(request).as_bytes(), &request.signature.0) {
        return Err(SessionError::RequestSignature);
    }
    if now.abs_diff(request.created) > MAX_CLOCK_SKEW {
        return Err(SessionError::ClockSkew { host: request.created, platform: now });
    }
    Ok(ProvenRequest { request, enforcement, now })
}

/// The platform's values for a session.
pub struct Terms {
    /// The host's asset id.
    pub asset: AssetId,
    /// X25519 secret, 32 random bytes for this session only.
    pub ephemeral: [u8; 32],
    /// When the token expires.
    pub expires: UnixSeconds,
}

impl ProvenRequest<'_> {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &SessionRequest {
        self.request
    }

    /// Creates the answer. `token` returns the session key sealed so that only the platform can open it.
    ///
    /// # Errors
    /// [`SessionError::WeakEphemeral`], and [`SessionError::Token`] for a token that no host accepts.
    pub fn accept(
        &self,
        terms: Terms,
        token: impl FnOnce(&SessionKey) -> String,
    ) -> Result<(SessionResponse, SessionKey), SessionError> {
        let ephemeral = StaticSecret::from(terms.ephemeral);
        let mut response = SessionResponse {
            version: VERSION,
            asset: terms.asset,
            ephemeral: Bytes(PublicKey::from(&ephemeral).to_bytes()),
            token: String::new(),
            expires: terms.expires,
            time: self.now,
            mac: Bytes([0; 32]),
        };
        let secret = self.enforcement.expose_secret();
        let derived = derive(&ephemeral, &self.request.ephemeral, secret, self.request, &response)?;
        response.token = token(&derived.session);
        check_token(&response.token)?;
        let confirmed = confirmed(self.request, &response);
        response.mac = Bytes(hmac_sha256(&derived.confirmation[..], confirmed.as_bytes()));
        Ok((response, derived.session))
    }
}

impl PendingSession {
    /// Host: verifies the answer.
    ///
    /// # Errors
    /// [`SessionError::Version`], [`WeakEphemeral`](SessionError::WeakEphemeral),
    /// [`ResponseMac`](SessionError::ResponseMac) or [`Token`](SessionError::Token).
    pub fn finish(self, response: SessionResponse) -> Result<Session, SessionError> {
        if response.version != VERSION {
            return Err(SessionError::Version { got: response.version });
        }
        let derived =
            derive(&self.ephemeral, &response.ephemeral, &self.secret, &self.request, &response)?;
        let confirmed = confirmed(&self.request, &response);
        if !is_hmac_sha256(&derived.confirmation[..], confirmed.as_bytes(), &response.mac.0) {
            return Err(SessionError::ResponseMac);
        }
        check_token(&response.token)?;
        Ok(Session {
            key: derived.session,
            asset: response.asset,
            token: response.token,
            expires: response.expires,
            platform_time: response.time,
        })
    }
}

fn check_token(token: &str) -> Result<(), SessionError> {
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && (1..=MAX_TOKEN).contains(&token.len()) { Ok(()) } else { Err(SessionError::Token) }
}

/// The request without MAC and signature.
fn request_fields(transcript: Transcript, request: &SessionRequest) -> Transcript {
    transcript
        .number(request.version.into())
        .field(request.key_id.as_bytes())
        .field(request.host_name.as_bytes())
        .field(&request.identity.0)
        .field(&request.ephemeral.0)
        .field(&request.nonce.0)
        .number(request.created)
}

/// The answer without token and MAC.
fn response_fields(transcript: Transcript, response: &SessionResponse) -> Transcript {
    transcript
        .number(response.version.into())
        .field(response.asset.as_str().as_bytes())
        .field(&response.ephemeral.0)
        .number(response.expires)
        .number(response.time)
}

fn maced(request: &SessionRequest) -> Transcript {
    request_fields(Transcript::new("xshield session v1 request mac"), request)
}

fn signed(request: &SessionRequest) -> Transcript {
    request_fields(Transcript::new("xshield session v1 request signature"), request)
        .field(&request.mac.0)
}

fn salted(request: &SessionRequest, response: &SessionResponse) -> Transcript {
    let transcript = request_fields(Transcript::new("xshield session v1 salt"), request)
        .field(&request.mac.0)
        .field(&request.signature.0);
    response_fields(transcript, response)
}

fn confirmed(request: &SessionRequest, response: &SessionResponse) -> Transcript {
    let transcript = Transcript::new("xshield session v1 response mac")
        .field(&sha256(salted(request, response).as_bytes()));
    transcript.field(response.token.as_bytes())
}

/// The values that both sides derive.
struct Derived {
    session: SessionKey,
    confirmation: Zeroizing<[u8; 32]>,
}

fn derive(
    ours: &StaticSecret,
    theirs: &Bytes<32>,
    enforcement_secret: &[u8; 32],
    request: &SessionRequest,
    response: &SessionResponse,
) -> Result<Derived, SessionError> {
    let shared = ours.diffie_hellman(&PublicKey::from(theirs.0));
    if !shared.was_contributory() {
        return Err(SessionError::WeakEphemeral);
    }
    let mut input = Zeroizing::new([0; 64]);
    input[..32].copy_from_slice(shared.as_bytes());
    input[32..].copy_from_slice(enforcement_secret);
    let salt = sha256(salted(request, response).as_bytes());
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&input[..]);
    let session = SessionKey::from_bytes(*expand(&prk, b"xshield session v1 session key"));
    let confirmation = expand(&prk, b"xshield session v1 confirmation key");
    Ok(Derived { session, confirmation })
}

fn expand(prk: &hkdf::Prk, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    let filled = prk.expand(&[info], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out[..]));
    // ring only refuses outputs over 255 hashes and a length other than announced; this is one hash.
    if filled.is_err() {
        unreachable!("HKDF-SHA256 gives 32 bytes")
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_order_key_is_refused_despite_a_valid_proof() {
        let enforcement = EnforcementKey::new("k".parse().unwrap(), [7; 32]);
        let identity = IdentityKey::from_seed([11; 32]);
        for first_byte in [0, 1] {
            let random = Randomness { ephemeral: [17; 32], nonce: [19; 16] };
            let (mut request, _) = start(&enforcement, &identity, "web", 1000, random);
            request.ephemeral = Bytes([0; 32]);
            request.ephemeral.0[0] = first_byte;
            request.mac =
                Bytes(hmac_sha256(enforcement.expose_secret(), maced(&request).as_bytes()));
            request.signature = identity.sign(signed(&request).as_bytes());
            let proven = prove(&request, &enforcement, 1000).unwrap();
            let asset = "a-web".parse().unwrap();
            let terms = Terms { asset, ephemeral: [23; 32], expires: 2000 };
            let refused = proven.accept(terms, |_| unreachable!("no key is sealed"));
            assert_eq!(refused.unwrap_err(), SessionError::WeakEphemeral);
        }
    }
}
