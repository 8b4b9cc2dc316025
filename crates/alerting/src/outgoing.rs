//! One delivery on its way, and what keeps it from arriving.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use xshield_model::Timestamp;
use xshield_model::channel::Payload;
use xshield_wire::foreign::without_userinfo;

use xshield_http_client::guard::Reach;

/// An attempt takes no longer.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Why something was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The other end could not be reached, or said no.
    #[error("could not {action}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What was said, or went wrong.
        reason: String,
    },
    /// The other end is asked too often, or down for a while, and says when to come again.
    #[error("{reason}, and to wait for {seconds} s")]
    Later {
        /// What was said.
        reason: String,
        /// In how many seconds.
        seconds: u64,
    },
    /// It took too long.
    #[error("it took longer than {} s", WITHIN.as_secs())]
    TooSlow,
    /// The payload was made for a channel of another kind.
    #[error("the channel was changed to another kind; what was made for the old one can't be sent")]
    OtherKind,
    /// The payload can't be read any more.
    #[error("what was to be sent is damaged in the database")]
    Damaged,
    /// The channel's secret can't be used.
    #[error("the channel's secret can't be read; set it again")]
    Secret,
}

impl SendError {
    /// With the causes of `error`.
    pub(crate) fn of(action: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !reason.ends_with(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            cause = source.source();
        }
        Self::Failed { action, reason: without_userinfo(&reason).into_owned() }
    }

    /// In how many seconds the other end wants to be asked again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Later { seconds, .. } => Some(*seconds),
            _ => None,
        }
    }

    /// Whether no attempt can succeed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::OtherKind | Self::Damaged)
    }
}

/// A secret in the clear, for as long as it is used.
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// One delivery on its way.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its id, the same at every attempt.
    pub id: &'a str,
    /// When it was made.
    pub created_at: Timestamp,
    /// What is sent.
    pub payload: &'a Payload,
    /// The channel's secret.
    pub secret: Option<&'a Secret>,
    /// The platform's URL.
    pub platform: &'a str,
}

/// Which addresses may be reached.
pub(crate) fn reach(allow_private: bool) -> Reach {
    if allow_private { Reach::Private } else { Reach::Internet }
}

/// TLS that trusts these authorities, or the system's: companies add their own there.
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
        let reason = "there are none: install ca-certificates, or give the channel a CA".to_owned();
        return Err(SendError::Failed { action, reason });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SendError::of("set TLS up", &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
