//! The client of the admin API over HTTPS. Trusts only the platform's CA.

use std::io::{self, Read as _, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use serde::Serialize;
use serde_json::{Value, json};
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use xshield_api::page::{Page, PageQuery};
use xshield_wire::foreign::tamed;

use crate::error::{CliError, Refusal};
use crate::progress::{AfterInterrupt, Shown, Waiting, received};
use crate::session::{Session, Token};

/// The maximum size of a response, in bytes.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long the platform may be silent: a synchronize compiles a ruleset for each of thousands of assets
/// before it responds. Transfers that make progress may take as long as they need.
const SILENT_FOR: Duration = Duration::from_secs(600);
/// How long the platform may accept nothing of what is sent.
const STUCK_FOR: Duration = Duration::from_secs(60);

/// The body of a request whose path says everything.
#[derive(Debug, Serialize)]
pub(crate) struct NoBody {}

/// A client for one platform with one token.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<Token>,
}

impl Client {
    /// A client of the current session.
    pub(crate) fn of_this_call() -> Result<Self, CliError> {
        let session = Session::of_this_call()?;
        Self::new(&session.url, &session.ca, Some(session.token))
    }

    /// A client of the platform with a certificate of this CA.
    pub(crate) fn new(url: &str, ca_pem: &str, token: Option<Token>) -> Result<Self, CliError> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates(ca_pem)?))
            .unversioned_rustls_crypto_provider(Arc::new(default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("xshield/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_per_read(Some(SILENT_FOR))
            .timeout_per_write(Some(STUCK_FOR))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.to_owned(), token })
    }

    /// The platform's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// GET. `action` completes "could not …".
    pub(crate) fn get(&self, action: &str, path: &Path) -> Result<Value, CliError> {
        self.call(action, Method::GET, path, None, AfterInterrupt::Nothing)
    }

    /// Streams a response of any length to a writer. The current [`Waiting`](crate::progress) reports what an
    /// interruption leaves.
    pub(crate) fn stream(
        &self,
        action: &str,
        path: &Path,
        to: &mut dyn Write,
    ) -> Result<u64, CliError> {
        let mut answer = self.ask(action, Method::GET, path, None, &AfterInterrupt::Nothing)?;
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        let mut piece = vec![0; 64 << 10];
        let mut bytes = 0;
        loop {
            let read = body.read(&mut piece).map_err(|error| {
                self.unreachable(action, &AfterInterrupt::Nothing, ureq::Error::from(error))
            })?;
            match piece.get(..read) {
                None | Some([]) => break,
                Some(piece) => to.write_all(piece).map_err(CliError::Output)?,
            }
            bytes += read as u64;
            received(bytes);
        }
        to.flush().map_err(CliError::Output)?;
        Ok(bytes)
    }

    /// POST that only simulates something.
    pub(crate) fn try_out(
        &self,
        action: &str,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        let body = Some(to_json(action, body)?);
        self.call(action, Method::POST, path, body, AfterInterrupt::Nothing)
    }

    /// POST that may take long; `see` is the command that shows the result.
    pub(crate) fn post_long(
        &self,
        action: &str,
        path: &Path,
        body: &impl Serialize,
        see: &str,
    ) -> Result<Value, CliError> {
        let left = AfterInterrupt::Asked { see: Some(see.to_owned()) };
        self.call(action, Method::POST, path, Some(to_json(action, body)?), left)
    }

    /// POST.
    pub(crate) fn post(
        &self,
        action: &str,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        self.change(action, Method::POST, path, Some(to_json(action, body)?))
    }

    /// PUT.
    pub(crate) fn put(
        &self,
        action: &str,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        self.change(action, Method::PUT, path, Some(to_json(action, body)?))
    }

    /// PATCH.
    pub(crate) fn patch(
        &self,
        action: &str,
        path: &Path,
        body: &impl Serialize,
    ) -> Result<Value, CliError> {
        self.change(action, Method::PATCH, path, Some(to_json(action, body)?))
    }

    /// DELETE.
    pub(crate) fn delete(&self, action: &str, path: &Path) -> Result<Value, CliError> {
        self.change(action, Method::DELETE, path, None)
    }

    /// Reads a list page by page, up to the end or `limit` items. The result has the form of one page.
    pub(crate) fn list(
        &self,
        action: &str,
        path: &Path,
        limit: Option<usize>,
    ) -> Result<Value, CliError> {
        let _waiting = Waiting::begin(action, AfterInterrupt::Nothing, Shown::WhenLong);
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let size = limit.map_or(PAGE, |limit| PAGE.min(limit.saturating_sub(items.len())));
            let query = PageQuery { limit: u32::try_from(size).ok(), cursor: cursor.take() };
            let page = path.clone().of_query(&query)?;
            let page: Page<Value> = parsed(action, &self.get(action, &page)?)?;
            let last = page.items.is_empty() || page.next.is_none();
            items.extend(page.items);
            cursor = page.next;
            if last || limit.is_some_and(|limit| items.len() >= limit) {
                return Ok(json!({ "items": items, "next": cursor }));
            }
        }
    }

    fn change(
        &self,
        action: &str,
        method: Method,
        path: &Path,
        body: Option<Vec<u8>>,
    ) -> Result<Value, CliError> {
        self.call(action, method, path, body, AfterInterrupt::Asked { see: None })
    }

    fn call(
        &self,
        action: &str,
        method: Method,
        path: &Path,
        body: Option<Vec<u8>>,
        left: AfterInterrupt,
    ) -> Result<Value, CliError> {
        let _waiting = Waiting::begin(action, left.clone(), Shown::WhenLong);
        let mut answer = self.ask(action, method, path, body, &left)?;
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|source| self.unreachable(action, &left, source))?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body)
            .map_err(|source| CliError::Answer { action: action.to_owned(), source })
    }

    /// Sends a request and returns the response, or the platform's refusal.
    fn ask(
        &self,
        action: &str,
        method: Method,
        path: &Path,
        body: Option<Vec<u8>>,
        left: &AfterInterrupt,
    ) -> Result<Response<Body>, CliError> {
        let mut request = Request::builder().method(method).uri(format!("{}{}", self.url, path.0));
        request = request.header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.0));
        }
        let answer = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        let unreachable = |source| self.unreachable(action, left, source);
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let refusal = Box::new(Refusal::read(status.as_u16(), &body.map_err(unreachable)?));
        Err(CliError::Refused { action: action.to_owned(), refusal })
    }

    fn unreachable(&self, action: &str, left: &AfterInterrupt, source: ureq::Error) -> CliError {
        let may_be_done =
            matches!(left, AfterInterrupt::Asked { .. }) && may_have_been_sent(&source);
        let left = left.in_words().filter(|_| may_be_done).map(String::into_boxed_str);
        CliError::Unreachable {
            action: action.to_owned(),
            url: self.url.clone(),
            left,
            source: source.into(),
        }
    }
}

/// Whether the platform may have received a request although no response came.
fn may_have_been_sent(error: &ureq::Error) -> bool {
    use ureq::Timeout;
    match error {
        ureq::Error::Timeout(stage) => !matches!(stage, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

/// The page size.
const PAGE: usize = 500;

fn to_json(action: &str, body: &impl Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(body)
        .map_err(|source| CliError::Answer { action: action.to_owned(), source })
}

/// Parses a response for display: every text in it is confined to its line. Fields unknown to this version
/// are ignored.
pub(crate) fn view<T: serde::de::DeserializeOwned>(
    action: &str,
    answer: &Value,
) -> Result<T, CliError> {
    parsed(action, &tamed(answer))
}

/// Parses a response for internal use: nothing of it may be printed except as JSON.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(
    action: &str,
    answer: &Value,
) -> Result<T, CliError> {
    T::deserialize(answer).map_err(|source| CliError::Answer { action: action.to_owned(), source })
}

/// The certificates in a PEM text; at least one.
fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>, CliError> {
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(pem.as_bytes()) {
        let item = item.map_err(|error| {
            CliError::input(format!("the CA certificate can't be read: {error}"))
        })?;
        if let PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(CliError::input("the CA file contains no certificate (PEM)"));
    }
    Ok(certificates)
}

/// A path of the admin API with its query; its parts are escaped.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    /// `/api/v1/` and the segments.
    pub(crate) fn of(segments: &[&str]) -> Self {
        let mut text = String::from("/api/v1");
        for segment in segments {
            text.push('/');
            text.push_str(&escaped(segment));
        }
        Self(text)
    }

    /// The path of an asset by name or id, and what is below it.
    pub(crate) fn of_asset(asset: &str, below: &[&str]) -> Self {
        let mut segments = vec!["assets", asset];
        segments.extend(below);
        Self::of(&segments)
    }

    /// Adds a query.
    pub(crate) fn of_query(mut self, query: &impl Serialize) -> Result<Self, CliError> {
        let text = serde_urlencoded::to_string(query)
            .map_err(|error| CliError::input(format!("the query can't be encoded: {error}")))?;
        if !text.is_empty() {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(&text);
        }
        Ok(self)
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters; `.` and `..` can't traverse.
fn escaped(text: &str) -> String {
    let dots = matches!(text, "." | "..");
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            b'.' if !dots => escaped.push('.'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use xshield_api::assets::AssetQuery;

    use super::*;

    #[test]
    fn path_parts_are_escaped() {
        let query = AssetQuery { tag: Some("role=web & x".to_owned()), ..AssetQuery::default() };
        let page = PageQuery { limit: Some(5), cursor: None };
        let path = Path::of(&["assets", "a/../b?c"]).of_query(&query).unwrap();
        let path = path.of_query(&page).unwrap();
        assert_eq!(path.0, "/api/v1/assets/a%2F..%2Fb%3Fc?tag=role%3Dweb+%26+x&limit=5");
        assert_eq!(Path::of(&["assets", ".."]).0, "/api/v1/assets/%2E%2E");
        assert_eq!(Path::of(&["a"]).of_query(&PageQuery::default()).unwrap().0, "/api/v1/a");
    }

    #[test]
    fn a_call_lasts_while_data_is_transferred() {
        let ca = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        let client = Client::new("https://a", ca, None).unwrap();
        let config = client.agent.config();
        let timeouts = config.timeouts();
        for whole in [timeouts.global, timeouts.per_call, timeouts.send_body, timeouts.recv_body] {
            assert_eq!(whole, None, "a long transfer is not cut");
        }
        assert_eq!(timeouts.connect, Some(CONNECT_WITHIN));
        assert_eq!(config.timeout_per_read(), Some(SILENT_FOR));
        assert_eq!(config.timeout_per_write(), Some(STUCK_FOR));
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
            assert!(Client::new("https://a", text, None).is_err(), "{text:?}");
        }
    }
}
