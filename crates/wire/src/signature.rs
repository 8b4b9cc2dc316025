//! Signed requests: HTTP Message Signatures (RFC 9421) in one fixed profile.
//!
//! - algorithm `hmac-sha256` with the session key;
//! - components `"@method" "@path" "@query" "authorization" "content-digest"`, all of them, in this order,
//!   whether or not there is a query or a body;
//! - parameters `created`, `keyid` (the asset id), `nonce` and `tag="xshield-v1"`, nothing else;
//! - `content-digest` (RFC 9530) with `sha-256` alone;
//! - one signature, labelled `xshield`.
//!
//! `authorization` is `Bearer` and the session's token. The receiver refuses a request whose `created`
//! differs from its clock by more than [`MAX_CLOCK_SKEW`]. Within that time a replay is harmless because
//! every message carries a sequence number or a batch id.

mod base;
mod params;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xshield_policy::AssetId;

use crate::bytes::Bytes;
use crate::keys::{SessionKey, hmac_sha256, is_hmac_sha256, sha256};
use crate::message::UnixSeconds;
use crate::session::MAX_CLOCK_SKEW;

pub use base::signature_base;
pub use params::{Params, ParamsError};

/// Header with the token.
pub const AUTHORIZATION: &str = "authorization";
/// Header with the body's digest (RFC 9530).
pub const CONTENT_DIGEST: &str = "content-digest";
/// Header that says what is signed (RFC 9421).
pub const SIGNATURE_INPUT: &str = "signature-input";
/// Header with the signature (RFC 9421).
pub const SIGNATURE: &str = "signature";

/// The components that every request signs, in this order.
pub const COMPONENTS: [&str; 5] = ["@method", "@path", "@query", AUTHORIZATION, CONTENT_DIGEST];
/// The profile's name, in the `tag` parameter.
pub const TAG: &str = "xshield-v1";

const LABEL: &str = "xshield";
/// The longest header; our headers are much shorter.
const MAX_HEADER: usize = 8192;

/// The signed parts of a request besides its headers.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// E.g. `POST`.
    pub method: &'a str,
    /// The path as sent, e.g. `/host/v1/check-in`; an empty one counts as `/`.
    pub path: &'a str,
    /// The query as sent, without `?`; `None` and empty are the same.
    pub query: Option<&'a str>,
    /// The body as sent, content-encoding applied.
    pub body: &'a [u8],
}

impl<'a> RequestParts<'a> {
    /// Splits `/path?query`.
    #[must_use]
    pub fn new(method: &'a str, path_and_query: &'a str, body: &'a [u8]) -> Self {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        Self { method, path, query, body }
    }

    fn head(&self) -> RequestHead<'a> {
        RequestHead { method: self.method, path: self.path, query: self.query }
    }
}

/// The signed parts of a request that are known before its body.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Like [`RequestParts::method`].
    pub method: &'a str,
    /// Like [`RequestParts::path`].
    pub path: &'a str,
    /// Like [`RequestParts::query`].
    pub query: Option<&'a str>,
}

/// The signer of a request.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// The session's key.
    pub key: &'a SessionKey,
    /// The `keyid`.
    pub asset: &'a AssetId,
    /// The session's token.
    pub token: &'a str,
}

/// The four headers to be added to a request, by name.
pub type SignedHeaders = [(&'static str, String); 4];

/// Host: signs a request. `created` is the platform's time as the host estimates it, `nonce` is random.
#[must_use]
pub fn sign(
    signer: Signer<'_>,
    request: &RequestParts<'_>,
    created: UnixSeconds,
    nonce: Bytes<16>,
) -> SignedHeaders {
    let authorization = format!("Bearer {}", signer.token);
    let content_digest = content_digest(request.body);
    let params = Params {
        created,
        keyid: signer.asset.to_string(),
        nonce: Some(nonce.to_base64()),
        tag: Some(TAG.to_owned()),
    };
    let input = params.serialize(&COMPONENTS);
    let base = request_base(request.head(), &authorization, &content_digest, &input);
    let mac = hmac_sha256(signer.key.expose_secret(), base.as_bytes());
    [
        (AUTHORIZATION, authorization),
        (CONTENT_DIGEST, content_digest),
        (SIGNATURE_INPUT, format!("{LABEL}={input}")),
        (SIGNATURE, format!("{LABEL}=:{}:", STANDARD.encode(mac))),
    ]
}

/// The headers of a received request that concern its signature; `None` if absent or repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReceivedHeaders<'a> {
    /// [`AUTHORIZATION`].
    pub authorization: Option<&'a str>,
    /// [`CONTENT_DIGEST`].
    pub content_digest: Option<&'a str>,
    /// [`SIGNATURE_INPUT`].
    pub signature_input: Option<&'a str>,
    /// [`SIGNATURE`].
    pub signature: Option<&'a str>,
}

impl<'a> ReceivedHeaders<'a> {
    /// Finds the headers by name; `find` returns `None` for one that is absent or repeated.
    pub fn find(find: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        Self {
            authorization: find(AUTHORIZATION),
            content_digest: find(CONTENT_DIGEST),
            signature_input: find(SIGNATURE_INPUT),
            signature: find(SIGNATURE),
        }
    }

    /// The session's token, to be opened before the signature can be verified.
    ///
    /// # Errors
    /// [`SignatureError::Missing`] and [`SignatureError::Malformed`].
    pub fn token(&self) -> Result<&'a str, SignatureError> {
        let value = present(AUTHORIZATION, self.authorization)?;
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
                Ok(token)
            }
            _ => Err(SignatureError::malformed(AUTHORIZATION, "expected 'Bearer' and a token")),
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is absent or repeated.
    #[error("the request needs exactly one header {header:?}")]
    Missing {
        /// Its name.
        header: &'static str,
    },
    /// A header does not match the profile.
    #[error("header {header:?} is malformed: {reason}")]
    Malformed {
        /// Its name.
        header: &'static str,
        /// What was expected.
        reason: String,
    },
    /// Other components are signed, or in another order.
    #[error("the signature must cover exactly {COMPONENTS:?}, in this order")]
    Components,
    /// The signature belongs to another application or profile.
    #[error("the signature's tag must be {TAG:?}")]
    Tag,
    /// The signature names another asset than the token.
    #[error("the signature's keyid is {got:?}, but the token is for {expected:?}")]
    KeyId {
        /// The `keyid` received.
        got: String,
        /// The token's asset.
        expected: String,
    },
    /// The body is not the one that was signed.
    #[error("the body's SHA-256 is not the one in \"content-digest\": it was altered or cut short")]
    Digest,
    /// Signed too long ago, or in the future.
    #[error(
        "the request was signed at {created}, the receiver's clock says {now} (Unix seconds): \
         a replay, or a wrong clock (at most {MAX_CLOCK_SKEW} s apart)"
    )]
    Clock {
        /// When it was signed, according to the request.
        created: UnixSeconds,
        /// The receiver's clock.
        now: UnixSeconds,
    },
    /// It was not signed with this key, or something signed was altered.
    #[error(
        "the signature is wrong: the request was altered or signed with the key of another \
         session"
    )]
    Mac,
}

impl SignatureError {
    fn malformed(header: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { header, reason: reason.into() }
    }
}

/// Proof that a request was signed with the session's key, with its time and nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    created: UnixSeconds,
    nonce: String,
}

impl Signed {
    /// When it was signed.
    #[must_use]
    pub fn created(&self) -> UnixSeconds {
        self.created
    }

    /// Distinguishes the request from all others of the session.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// A request whose headers were signed with the session's key, with the digest of the body that must follow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the body is not verified yet"]
pub struct Announced {
    signed: Signed,
    digest: Bytes<32>,
}

impl Announced {
    /// Verifies the body of the request.
    ///
    /// # Errors
    /// [`SignatureError::Digest`] when it is another body.
    pub fn with_body(self, body: &[u8]) -> Result<Signed, SignatureError> {
        if sha256(body) == self.digest.0 { Ok(self.signed) } else { Err(SignatureError::Digest) }
    }
}

/// Platform: verifies a request with the content of its token.
///
/// # Errors
/// Like [`verify_head`] and [`Announced::with_body`].
pub fn verify(
    key: &SessionKey,
    asset: &AssetId,
    request: &RequestParts<'_>,
    headers: &ReceivedHeaders<'_>,
    now: UnixSeconds,
) -> Result<Signed, SignatureError> {
    verify_head(key, asset, request.head(), headers, now)?.with_body(request.body)
}

/// Platform: verifies a request before its body has arrived, with the content of its token.
///
/// # Errors
/// The first error found; form before content, and the MAC (compared in constant time) before the clock, so
/// that only the holder of the key learns details.
pub fn verify_head(
    key: &SessionKey,
    asset: &AssetId,
    request: RequestHead<'_>,
    headers: &ReceivedHeaders<'_>,
    now: UnixSeconds,
) -> Result<Announced, SignatureError> {
    let authorization = present(AUTHORIZATION, headers.authorization)?;
    let content_digest = present(CONTENT_DIGEST, headers.content_digest)?;
    let input = labelled(SIGNATURE_INPUT, present(SIGNATURE_INPUT, headers.signature_input)?)?;
    let mac = signature_bytes(present(SIGNATURE, headers.signature)?)?;
    let digest = digest_bytes(content_digest)?;
    let (components, params) = Params::parse(input)
        .map_err(|error| SignatureError::malformed(SIGNATURE_INPUT, error.to_string()))?;
    if components != COMPONENTS {
        return Err(SignatureError::Components);
    }
    if params.tag.as_deref() != Some(TAG) {
        return Err(SignatureError::Tag);
    }
    let Some(nonce) = params.nonce else {
        return Err(SignatureError::malformed(SIGNATURE_INPUT, "the nonce is missing"));
    };
    if params.keyid != asset.as_str() {
        let expected = asset.to_string();
        return Err(SignatureError::KeyId { got: params.keyid, expected });
    }
    let base = request_base(request, authorization, content_digest, input);
    if !is_hmac_sha256(key.expose_secret(), base.as_bytes(), &mac) {
        return Err(SignatureError::Mac);
    }
    let created = params.created;
    if now.abs_diff(created) > MAX_CLOCK_SKEW {
        return Err(SignatureError::Clock { created, now });
    }
    Ok(Announced { signed: Signed { created, nonce }, digest })
}

fn request_base(
    request: RequestHead<'_>,
    authorization: &str,
    content_digest: &str,
    params: &str,
) -> String {
    // RFC 9421, 2.2.6 and 2.2.7: an empty path is "/", and "@query" has its "?" even without a query.
    let path = if request.path.is_empty() { "/" } else { request.path };
    let query = format!("?{}", request.query.unwrap_or_default());
    let values = [request.method, path, &query, authorization, content_digest];
    let lines: Vec<_> = COMPONENTS.into_iter().zip(values).collect();
    signature_base(&lines, params)
}

/// The value of [`CONTENT_DIGEST`] for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha256(body)))
}

fn digest_bytes(value: &str) -> Result<Bytes<32>, SignatureError> {
    let refuse = || SignatureError::malformed(CONTENT_DIGEST, "expected sha-256=:<base64>: alone");
    let text = value.strip_prefix("sha-256=:").and_then(|rest| rest.strip_suffix(':'));
    Bytes::from_base64(text.ok_or_else(refuse)?).map_err(|_| refuse())
}

fn signature_bytes(value: &str) -> Result<[u8; 32], SignatureError> {
    let refuse = || SignatureError::malformed(SIGNATURE, "expected xshield=:<base64 of 32 bytes>:");
    let text = labelled(SIGNATURE, value)?.strip_prefix(':').and_then(|t| t.strip_suffix(':'));
    let bytes = Bytes::<32>::from_base64(text.ok_or_else(refuse)?).map_err(|_| refuse())?;
    Ok(bytes.0)
}

fn present<'a>(header: &'static str, value: Option<&'a str>) -> Result<&'a str, SignatureError> {
    let value = value.ok_or(SignatureError::Missing { header })?;
    if value.len() > MAX_HEADER {
        return Err(SignatureError::malformed(header, format!("over {MAX_HEADER} bytes")));
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(SignatureError::malformed(header, "expected printable ASCII"));
    }
    Ok(value)
}

fn labelled<'a>(header: &'static str, value: &'a str) -> Result<&'a str, SignatureError> {
    let rest = value.strip_prefix(LABEL).and_then(|rest| rest.strip_prefix('='));
    rest.ok_or_else(|| {
        SignatureError::malformed(header, format!("expected one member labelled {LABEL:?}"))
    })
}
