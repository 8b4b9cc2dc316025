//! One request to a web server, and its response.
//!
//! Redirects are followed manually, at most five. Credentials are only sent to the first server. Only the
//! system's certificate authorities are trusted (which the operating system updates, and companies extend
//! with their own), or the given one.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::ring::default_provider;
use ureq::http::{self, HeaderMap, Method, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy};
use url::Url;

use crate::guard::{Guarded, Reach};

const REDIRECTS: usize = 5;
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// The timeout for a silent server.
const IDLE: Duration = Duration::from_secs(30);
/// The limit for headers, so that servers can't fill the memory with them.
const MAX_HEADER: usize = 1024;

/// A request to a web server.
#[derive(Clone)]
pub struct Request {
    /// The URL.
    pub url: Url,
    /// The accepted types, e.g. `*/*`.
    pub accept: &'static str,
    /// Headers for every hop.
    pub headers: Vec<(&'static str, String)>,
    /// A header for the server of `url` only.
    pub secret: Option<(String, Secret)>,
    /// The body, sent only to the server of `url`.
    pub body: Option<Vec<u8>>,
    /// The only trusted authorities (PEM) for the server.
    pub ca: Option<String>,
    /// An HTTP proxy.
    pub proxy: Option<Url>,
    /// The addresses that may be connected to.
    pub reach: Reach,
    /// Whether plain HTTP is allowed.
    pub plain: Plain,
    /// The timeout for everything.
    pub within: Duration,
}

/// Whether plain HTTP is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// It is not.
    Refused,
    /// It is.
    Allowed,
}

/// A text that is never displayed.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there was no usable response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server could not be reached.
    #[error("could not reach {host}")]
    Unreachable {
        /// The server.
        host: String,
        /// The cause.
        #[source]
        source: ureq::Error,
    },
    /// The server refused.
    #[error("{host} answered {status}{hint}{}", asked_to_wait(*.retry_after))]
    Status {
        /// The server.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
        /// The delay in seconds that it asks for, if any.
        retry_after: Option<u64>,
    },
    /// More than five redirects.
    #[error("{host} redirects more than {REDIRECTS} times")]
    Redirects {
        /// The first server.
        host: String,
    },
    /// A redirect to an invalid URL.
    #[error("{host} redirects to an invalid URL")]
    Location {
        /// The server.
        host: String,
    },
    /// A redirect or a request to a scheme other than HTTPS.
    #[error("the URL of {host} uses {scheme}, not https; allow http if that is intended")]
    Scheme {
        /// The server.
        host: String,
        /// The scheme.
        scheme: String,
    },
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities: install ca-certificates, or give a CA")]
    NoRoots,
    /// The CA or the proxy is invalid.
    #[error("the {0} is invalid")]
    Setting(&'static str),
    /// The header is invalid.
    #[error("the header can't be sent: its name or value is not allowed in HTTP")]
    Header,
    /// The timeout expired.
    #[error("it took longer than the limit of {0:?}")]
    TooSlow(Duration),
}

impl FetchError {
    /// The HTTP status, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The delay in seconds that the server asks for, if any.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn asked_to_wait(retry_after: Option<u64>) -> String {
    retry_after.map_or_else(String::new, |seconds| format!("; it asks to wait for {seconds} s"))
}

/// A server's response: 200, 204 or 304.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, not read yet.
    pub body: Body,
}

impl Answer {
    /// The value of a header, unless it is unreasonably long.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.headers.get(name)?.to_str().ok()?;
        (text.len() <= MAX_HEADER).then(|| text.to_owned())
    }
}

/// Sends a request, follows redirects, and returns the response if it is 200, 204 or 304: other successes are
/// not what was requested, such as a part of it (206). Blocks.
///
/// # Errors
/// See [`FetchError`].
pub fn fetch(request: &Request) -> Result<Answer, FetchError> {
    let began = Instant::now();
    let roots = roots(request.ca.as_deref())?;
    let mut url = request.url.clone();
    for _ in 0..=REDIRECTS {
        let left = request.within.checked_sub(began.elapsed());
        let left =
            left.filter(|left| !left.is_zero()).ok_or(FetchError::TooSlow(request.within))?;
        let answer = hop(request, &url, &roots, left)?;
        match answer.status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let location = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
                let to = location.and_then(|location| url.join(location).ok());
                url = to.ok_or_else(|| FetchError::Location { host: host(&url) })?;
            }
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => {
                return Ok(answer);
            }
            status => {
                return Err(FetchError::Status {
                    host: host(&url),
                    status: status.as_u16(),
                    hint: hint(status),
                    retry_after: retry_after(status, &answer.headers, SystemTime::now()),
                });
            }
        }
    }
    Err(FetchError::Redirects { host: host(&request.url) })
}

/// The delay that a rate-limiting or unavailable server asks for (RFC 9110, 10.2.3): in seconds, or a date,
/// which is converted to seconds from `now`.
#[must_use]
pub fn retry_after(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    // Fractions of a second are rounded up.
    Some(at.duration_since(now).map_or(0, |wait| wait.as_millis().div_ceil(1000) as u64))
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        206 => ": the server sent only part of the file, and an incomplete list is not used",
        401 | 403 => ": check the feed's header and key",
        404 | 410 => ": check the feed's address",
        429 => ": too many requests",
        500.. => ": it is retried later",
        _ => "",
    }
}

fn hop(
    request: &Request,
    url: &Url,
    roots: &RootCerts,
    left: Duration,
) -> Result<Answer, FetchError> {
    match (url.scheme(), request.plain) {
        ("https", _) | ("http", Plain::Allowed) => {}
        _ => {
            let scheme = url.scheme().to_owned();
            return Err(FetchError::Scheme { host: host(url), scheme });
        }
    }
    let proxy = request.proxy.as_ref().map(|proxy| Proxy::new(proxy.as_str())).transpose();
    let proxy = proxy.map_err(|_| FetchError::Setting("proxy"))?;
    let guarded = Guarded::new(request.reach, request.proxy.as_ref());
    let unreachable = |source| FetchError::Unreachable { host: host(url), source };
    if proxy.is_some() {
        guarded.check_behind_proxy(url).map_err(unreachable)?;
    }
    let tls = TlsConfig::builder()
        .root_certs(roots.clone())
        .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("xshield/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT_WITHIN))
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_per_read(Some(IDLE))
        .timeout_per_write(Some(IDLE))
        .timeout_global(Some(left))
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), guarded);
    let same_server = url.origin() == request.url.origin();
    let mut asked =
        http::Request::builder().uri(url.as_str()).header(header::ACCEPT, request.accept);
    for (name, value) in &request.headers {
        asked = asked.header(*name, value);
    }
    if let Some((name, Secret(value))) = request.secret.as_ref().filter(|_| same_server) {
        asked = asked.header(name.as_str(), value.as_str());
    }
    let answer = match request.body.as_ref().filter(|_| same_server) {
        None => {
            let asked = asked.method(Method::GET).body(()).map_err(|_| FetchError::Header)?;
            agent.run(asked)
        }
        Some(body) => {
            let asked = asked.method(Method::POST).body(body.as_slice());
            agent.run(asked.map_err(|_| FetchError::Header)?)
        }
    };
    let (parts, body) = answer.map_err(unreachable)?.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn roots(ca: Option<&str>) -> Result<RootCerts, FetchError> {
    if let Some(ca) = ca {
        return Ok(RootCerts::new_with_certs(&certificates(ca)?));
    }
    let found = rustls_native_certs::load_native_certs();
    let certs: Vec<_> =
        found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
    if certs.is_empty() { Err(FetchError::NoRoots) } else { Ok(RootCerts::new_with_certs(&certs)) }
}

/// The certificates in a PEM text; at least one.
///
/// # Errors
/// When there is none.
pub fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, FetchError> {
    let items = ureq::tls::parse_pem(pem.as_bytes());
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = items.filter_map(certificate).collect();
    if found.is_empty() { Err(FetchError::Setting("CA")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_parsed_as_seconds_or_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let before = date - Duration::from_millis(89_500);
        for (status, said, now, expected) in [
            (429, "120", date, Some(120)),
            (503, " 0 ", date, Some(0)),
            (503, "99999999999999999999999", date, Some(u64::MAX)),
            // The three date formats of RFC 9110.
            (503, "Sun, 06 Nov 1994 08:49:37 GMT", before, Some(90)),
            (503, "Sunday, 06-Nov-94 08:49:37 GMT", before, Some(90)),
            (503, "Sun Nov  6 08:49:37 1994", before, Some(90)),
            (429, "Sun, 06 Nov 1994 08:49:37 GMT", date + Duration::from_secs(5), Some(0)),
            (429, "soon", date, None),
            (429, "-5", date, None),
            (429, "1.5", date, None),
            (429, "", date, None),
            // Other statuses may have it, and are ignored.
            (500, "120", date, None),
            (404, "120", date, None),
        ] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, said.parse().unwrap())]);
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(retry_after(status, &headers, now), expected, "{status} {said:?}");
        }
        let nothing = HeaderMap::new();
        assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &nothing, date), None);
    }
}
