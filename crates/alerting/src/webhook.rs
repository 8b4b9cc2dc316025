//! HTTPS POST, signed according to Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256 over
//! `id.timestamp.body`, in `webhook-signature`. The id is the same at every attempt.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use rustls::crypto::ring::default_provider;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, http};
use xshield_http_client::fetch::retry_after;
use xshield_http_client::guard::Guarded;
use xshield_model::Timestamp;
use xshield_model::channel::WebhookSettings;

use crate::outgoing::{Outgoing, Secret, SendError, reach};

/// The timeout for the answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// The number of bytes read of an answer.
const MAX_ANSWER: u64 = 2048;
const ACTION: &str = "call the webhook";

/// Posts a body; returns the receiver's answer.
pub(crate) async fn send(
    settings: &WebhookSettings,
    out: &Outgoing<'_>,
    body: &str,
) -> Result<String, SendError> {
    let Some(Secret(secret)) = out.secret else { return Err(SendError::Secret) };
    let now = Timestamp::now().unix();
    let request = http::Request::post(settings.url.as_str())
        .header("content-type", "application/json")
        .header("webhook-id", out.id)
        .header("webhook-timestamp", now.to_string())
        .header("webhook-signature", signature(secret, out.id, now, body))
        .body(body.to_owned())
        .map_err(|error| SendError::of(ACTION, &error))?;
    let agent = agent(settings)?;
    let asked = tokio::task::spawn_blocking(move || ask(&agent, request));
    asked.await.map_err(|error| SendError::of(ACTION, &error))?
}

/// The value of `webhook-signature`.
#[must_use]
pub fn signature(secret: &[u8], id: &str, timestamp: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

fn ask(agent: &Agent, request: http::Request<String>) -> Result<String, SendError> {
    let mut answer = agent.run(request).map_err(|error| SendError::of(ACTION, &error))?;
    let status = answer.status();
    let said = answer.body_mut().with_config().limit(MAX_ANSWER).lossy_utf8(true).read_to_string();
    let said = format!("{} {}", status.as_u16(), said.unwrap_or_default().trim());
    if status.is_success() {
        return Ok(said);
    }
    if let Some(seconds) = retry_after(status, answer.headers(), SystemTime::now()) {
        let reason = format!("could not {ACTION}: the answer is {said}");
        return Err(SendError::Later { reason, seconds });
    }
    let hint = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    Err(SendError::Failed { action: ACTION, reason: format!("the answer is {said}{hint}") })
}

/// Connects only to the checked addresses, and only to the named server.
fn agent(settings: &WebhookSettings) -> Result<Agent, SendError> {
    let tls = TlsConfig::builder()
        .root_certs(roots(settings.ca.as_deref())?)
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("xshield/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(ANSWERS_WITHIN))
        .build();
    let reach = reach(settings.allow_private);
    Ok(Agent::with_parts(config, DefaultConnector::default(), Guarded::new(reach, None)))
}

fn roots(ca: Option<&str>) -> Result<RootCerts, SendError> {
    let certificates: Vec<Certificate<'static>> = match ca {
        Some(pem) => ureq::tls::parse_pem(pem.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect(),
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
    };
    if certificates.is_empty() {
        let reason =
            "there are none: install ca-certificates, or configure a CA for the channel".to_owned();
        return Err(SendError::Failed { action: "read the certificate authorities", reason });
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_the_standard() {
        // The example of the Standard Webhooks specification's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
