//! One request to a web server, and its answer.
//!
//! Redirects are followed by hand, five at most. What proves who asks goes to the first server only. The
//! server is vouched for by the system's certificate authorities (what the operating system updates, and
//! where companies add their own), or by the one that was given, and no other.

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
/// A server that says nothing for so long has gone.
const IDLE: Duration = Duration::from_secs(30);
/// Headers are text; the pool of what servers send in them is not ours to keep.
const MAX_HEADER: usize = 1024;

/// One question to a web server.
#[derive(Clone)]
pub struct Request {
    /// Where.
    pub url: Url,
    /// What is asked for, e.g. `*/*`.
    pub accept: &'static str,
    /// What every hop may see.
    pub headers: Vec<(&'static str, String)>,
    /// A header that only the server of `url` may see.
    pub secret: Option<(String, Secret)>,
    /// Sent with the request, and only to the server of `url`.
    pub body: Option<Vec<u8>>,
    /// The only authorities (PEM) that may vouch for the server.
    pub ca: Option<String>,
    /// An HTTP proxy.
    pub proxy: Option<Url>,
    /// Which addresses may be reached.
    pub reach: Reach,
    /// Whether plain HTTP is good enough.
    pub plain: Plain,
    /// How long everything may take.
    pub within: Duration,
}

/// Whether plain HTTP is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// It is not.
    Refused,
    /// It is.
    Allowed,
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why there was no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server could not be asked.
    #[error("could not reach {host}")]
    Unreachable {
        /// Whom.
        host: String,
        /// Why not.
        #[source]
        source: ureq::Error,
    },
    /// The server says no.
    #[error("{host} answered {status}{hint}{}", asked_to_wait(*.retry_after))]
    Status {
        /// Who.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
        /// In how many seconds it wants to be asked again, if it says so.
        retry_after: Option<u64>,
    },
    /// More than five redirects.
    #[error("{host} redirects more than {REDIRECTS} times")]
    Redirects {
        /// Where it began.
        host: String,
    },
    /// A redirect to something that is no URL.
    #[error("{host} redirects to what is no URL")]
    Location {
        /// Who.
        host: String,
    },
    /// A redirect to, or a request of, something else than HTTPS.
    #[error("{host} is to be asked over {scheme}, not https; allow http if that is meant")]
    Scheme {
        /// Whom.
        host: String,
        /// How.
        scheme: String,
    },
    /// The system knows no certificate authorities.
    #[error("the system has no certificate authorities: install ca-certificates, or give a CA")]
    NoRoots,
    /// The CA or the proxy can't be used.
    #[error("the {0} can't be used")]
    Setting(&'static str),
    /// The header can't be sent.
    #[error("the header can't be sent: its name or value is not allowed in HTTP")]
    Header,
    /// It took too long.
    #[error("it took longer than the {0:?} it may take")]
    TooSlow(Duration),
}

impl FetchError {
    /// The HTTP status, when there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// In how many seconds the server wants to be asked again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn asked_to_wait(retry_after: Option<u64>) -> String {
    retry_after.map_or_else(String::new, |seconds| format!(", and to wait for {seconds} s"))
}

/// A server's answer: 200, 204 or 304.
pub struct Answer {
    /// Which of them.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, still to be read.
    pub body: Body,
}

impl Answer {
    /// A header's text, unless it is longer than any sensible one.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let text = self.headers.get(name)?.to_str().ok()?;
        (text.len() <= MAX_HEADER).then(|| text.to_owned())
    }
}

/// Asks, follows redirects, and gives the answer when it is 200, 204 or 304: what another success
/// brings is not what was asked for, such as a part of it (206). Blocks.
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

/// What a server that is asked too often, or is down for a while, says of when it wants to be asked
/// again (RFC 9110, 10.2.3): in how many seconds, or a date, which becomes seconds from `now` on.
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
    // A part of a second is waited for, too.
    Some(at.duration_since(now).map_or(0, |wait| wait.as_millis().div_ceil(1000) as u64))
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        206 => ": the server sent only part of the file, and an incomplete list is not used",
        401 | 403 => ": check the feed's header and key",
        404 | 410 => ": check the feed's address",
        429 => ": it is asked too often",
        500.. => ": it is tried again later",
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
    fn a_server_says_in_seconds_or_by_a_date_when_to_ask_again() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let before = date - Duration::from_millis(89_500);
        for (status, said, now, expected) in [
            (429, "120", date, Some(120)),
            (503, " 0 ", date, Some(0)),
            (503, "99999999999999999999999", date, Some(u64::MAX)),
            // The three forms of dates that RFC 9110 has.
            (503, "Sun, 06 Nov 1994 08:49:37 GMT", before, Some(90)),
            (503, "Sunday, 06-Nov-94 08:49:37 GMT", before, Some(90)),
            (503, "Sun Nov  6 08:49:37 1994", before, Some(90)),
            (429, "Sun, 06 Nov 1994 08:49:37 GMT", date + Duration::from_secs(5), Some(0)),
            (429, "soon", date, None),
            (429, "-5", date, None),
            (429, "1.5", date, None),
            (429, "", date, None),
            // Others may say so, and are not asked.
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
