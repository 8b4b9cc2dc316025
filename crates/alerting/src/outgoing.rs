//! One delivery attempt, and its errors.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use xshield_model::Timestamp;
use xshield_model::causes::in_words;
use xshield_model::channel::Payload;
use xshield_wire::foreign::without_userinfo;

use xshield_http_client::guard::Reach;

/// The timeout of an attempt.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Why something was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver could not be reached, or refused.
    #[error("could not {action}: {reason}")]
    Failed {
        /// The failed action.
        action: &'static str,
        /// The answer or the error.
        reason: String,
    },
    /// The receiver is rate limiting or unavailable, and says when to retry.
    #[error("{reason}; the service asks to wait for {seconds} s")]
    Later {
        /// The answer.
        reason: String,
        /// The delay in seconds.
        seconds: u64,
    },
    /// It timed out.
    #[error("it took longer than {} s", WITHIN.as_secs())]
    TooSlow,
    /// The payload was created for a channel of another kind.
    #[error(
        "the channel was changed to another kind; this payload was created for the old kind \
         and can't be sent"
    )]
    OtherKind,
    /// The stored payload is unreadable.
    #[error("the stored payload is damaged")]
    Damaged,
    /// The channel's secret is unusable.
    #[error("the channel's secret can't be read; set it again")]
    Secret,
}

impl SendError {
    /// With the causes of `error`.
    pub(crate) fn of(action: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let reason = in_words(error);
        Self::Failed { action, reason: without_userinfo(&reason).into_owned() }
    }

    /// The delay in seconds that the receiver asks for, if any.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Later { seconds, .. } => Some(*seconds),
            _ => None,
        }
    }

    /// Whether retrying is pointless.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::OtherKind | Self::Damaged)
    }
}

/// A decrypted secret, while it is used.
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A delivery attempt.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The delivery's id, the same for every attempt.
    pub id: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// The payload.
    pub payload: &'a Payload,
    /// The channel's secret.
    pub secret: Option<&'a Secret>,
    /// The platform's URL.
    pub platform: &'a str,
}

/// The addresses that may be connected to.
pub(crate) fn reach(allow_private: bool) -> Reach {
    if allow_private { Reach::Private } else { Reach::Internet }
}

/// A TLS configuration that trusts these authorities, or the system's, which companies extend with their own.
pub(crate) fn tls(ca: Option<&str>) -> Result<Arc<ClientConfig>, SendError> {
    let action = "read the certificate authorities";
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| SendError::of(action, &error))?;
                roots.add(certificate).map_err(|error| SendError::of(action, &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let reason =
            "there are none: install ca-certificates, or configure a CA for the channel".to_owned();
        return Err(SendError::Failed { action, reason });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SendError::of("set up TLS", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
