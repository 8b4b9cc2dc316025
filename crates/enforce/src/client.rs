//! The cycle's client for the platform: sessions and signed requests over `transport`.

use std::time::Instant;

use xshield_policy::AssetId;
use xshield_transport::{
    DownloadError, Endpoints, Handover, Method, Request, Response, Route, RouteState, Transport,
    TransportError,
};
use xshield_wire::control::UploadStanding;
use xshield_wire::message::{
    CheckIn, CheckInAnswer, Digest, ProblemDocument, ReportAnswer, SessionResponse,
};
use xshield_wire::session::{self, Randomness, Session, SessionError};
use xshield_wire::signature::{self, RequestParts, Signer};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::threat::{ThreatFile, ThreatPath};
use xshield_wire::{Bytes, EnforcementKey, IdentityKey};

use crate::environment::RunEnvironment;
use crate::trace;

/// A token is renewed when it has less than this left, in seconds: a run must not outlive it.
const RENEW_BEFORE: u64 = 600;

/// Why an exchange with the platform failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContactError {
    /// The platform could not be reached.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The platform answered with an error.
    #[error("the platform refused {what}: {}", explain(.problem))]
    Refused {
        /// The request.
        what: &'static str,
        /// The problem document of the answer.
        problem: Box<ProblemDocument>,
        /// Seconds after which the platform asks for the next request.
        retry_after: Option<u64>,
    },
    /// The handshake failed on the host's side.
    #[error("setting up a session with the platform failed")]
    Session(#[source] SessionError),
    /// The answer can't be parsed.
    #[error("the platform's answer to {what} can't be understood; upgrade the older side")]
    Garbled {
        /// The request.
        what: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// A compressed answer can't be decompressed.
    #[error("the platform's answer to {what} can't be unpacked: {reason}")]
    Packed {
        /// The request.
        what: &'static str,
        /// The reason.
        reason: String,
    },
}

fn explain(problem: &ProblemDocument) -> String {
    match &problem.detail {
        Some(detail) => format!("{} ({detail})", problem.title),
        None => problem.title.clone(),
    }
}

impl ContactError {
    /// Whether the platform answered, with whatever result.
    #[must_use]
    pub(crate) fn was_reached(&self) -> bool {
        !matches!(self, Self::Unreachable(_))
    }

    /// Whether the platform will never accept this request, so that repeating it is useless.
    #[must_use]
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if matches!(problem.status, 400 | 413 | 415 | 422))
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == 429 || problem.status >= 500)
    }

    /// Seconds after which the platform asks for the next request, if it named a time.
    #[must_use]
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused { retry_after, .. } if self.is_temporary() => *retry_after,
            _ => None,
        }
    }

    /// Whether the platform had already received this message.
    #[must_use]
    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == "/problems/replayed")
    }

    /// Whether the platform does not know the object of the request.
    #[must_use]
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if matches!(problem.status, 404 | 405 | 409 | 410))
    }

    fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == 401)
    }
}

/// Which connection a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// An open connection if there is one.
    Any,
    /// A connection opened for this request: only that proves that the host can still reach the platform.
    Fresh,
}

/// The result of fetching a ruleset.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The ruleset that the host has is the one it should have.
    Unchanged,
    /// An envelope, not yet verified.
    Envelope(Vec<u8>),
}

/// A client for the platform.
pub(crate) struct Client<'a> {
    transport: Transport,
    enforcement: &'a EnforcementKey,
    identity: &'a IdentityKey,
    host_name: &'a str,
    environment: &'a RunEnvironment,
    session: Option<Session>,
    session_is_new: bool,
}

impl<'a> Client<'a> {
    /// `session`: the session of the last run, if there is one.
    #[must_use]
    pub(crate) fn new(
        transport: Transport,
        enforcement: &'a EnforcementKey,
        identity: &'a IdentityKey,
        host_name: &'a str,
        environment: &'a RunEnvironment,
        session: Option<Session>,
    ) -> Self {
        let session_is_new = false;
        Self { transport, enforcement, identity, host_name, environment, session, session_is_new }
    }

    /// This host's asset id on the platform, once there is a session.
    #[must_use]
    pub(crate) fn asset(&self) -> Option<AssetId> {
        self.session.as_ref().map(|session| session.asset.clone())
    }

    /// The addresses of the platform and the proxies as this host resolves them now.
    #[must_use]
    pub(crate) fn endpoints(&self) -> Endpoints {
        self.transport.endpoints()
    }

    /// All routes in the configured order, with their state in this run.
    #[must_use]
    pub(crate) fn routes(&self) -> Vec<RouteState> {
        self.transport.routes()
    }

    /// Leaves the open connection for the next client.
    pub(crate) fn hand_over(&mut self, to: &Handover) {
        self.transport.hand_over(to);
    }

    /// The route that worked last.
    pub(crate) fn current_route(&self) -> Option<&Route> {
        self.transport.current_route()
    }

    /// The session if a new one was set up since the last call.
    pub(crate) fn take_new_session(&mut self) -> Option<Session> {
        std::mem::take(&mut self.session_is_new).then(|| self.session.clone()).flatten()
    }

    /// Reports the host's state and returns what is pending.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn check_in(
        &mut self,
        check_in: &CheckIn,
        connection: Connection,
    ) -> Result<CheckInAnswer, ContactError> {
        const WHAT: &str = "the check-in";
        if connection == Connection::Fresh {
            self.transport.new_connection();
        }
        let body = to_json(check_in);
        let response = self.signed(WHAT, Method::Post, "/host/v1/check-in", &body, &[])?;
        from_json(WHAT, &response.body)
    }

    /// Sets up a session, which later requests use.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn session(&mut self) -> Result<(), ContactError> {
        self.handshake().map(drop)
    }

    /// Fetches this host's ruleset unless it is `have`.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn ruleset(&mut self, have: Option<Digest>) -> Result<Fetched, ContactError> {
        const WHAT: &str = "the ruleset";
        let mut headers = vec![("accept-encoding", "zstd".to_owned())];
        if let Some(digest) = have {
            headers.push(("if-none-match", format!("\"{}\"", digest.to_base64())));
        }
        let path = "/host/v1/ruleset";
        let response = self.signed(WHAT, Method::Get, path, &[], &headers)?;
        if response.status == 304 {
            return Ok(Fetched::Unchanged);
        }
        match response.header("content-encoding") {
            Some("zstd") => unpack(WHAT, &response.body).map(Fetched::Envelope),
            _ => Ok(Fetched::Envelope(response.body)),
        }
    }

    /// Fetches this host's threat order as an unverified envelope.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn threat_order(&mut self) -> Result<Vec<u8>, ContactError> {
        let response =
            self.signed("the threat order", Method::Get, "/host/v1/threat/order", &[], &[])?;
        Ok(response.body)
    }

    /// Asks for the files that lead from the host's threat list, or from none, to the ordered list.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn threat_path(
        &mut self,
        from: Option<xshield_threat::Digest>,
    ) -> Result<ThreatPath, ContactError> {
        const WHAT: &str = "the path to the threat list";
        let mut path = "/host/v1/threat/path".to_owned();
        if let Some(from) = from {
            path.push_str(&format!("?from={from}"));
        }
        let response = self.signed(WHAT, Method::Get, &path, &[], &[])?;
        from_json(WHAT, &response.body)
    }

    /// Downloads a file of a threat list's path into the writer that `begin` returns.
    ///
    /// # Errors
    /// See [`DownloadError`].
    pub(crate) fn threat_file<W: std::io::Write>(
        &mut self,
        file: &ThreatFile,
        begin: impl FnMut() -> std::io::Result<W>,
    ) -> Result<W, DownloadError> {
        let name = xshield_threat::Digest(file.sha256.0);
        let path = format!("/host/v1/threat/files/{name}");
        self.transport.download(&path, file.bytes, begin)
    }

    /// Delivers one packed report.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn report(&mut self, packed: &[u8]) -> Result<ReportAnswer, ContactError> {
        const WHAT: &str = "a report";
        let headers = [("content-encoding", "zstd".to_owned())];
        let path = "/host/v1/reports";
        let response = self.signed(WHAT, Method::Post, path, packed, &headers)?;
        from_json(WHAT, &response.body)
    }

    /// How many bytes of an upload the platform has received.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn upload_standing(&mut self, id: &str) -> Result<UploadStanding, ContactError> {
        const WHAT: &str = "the state of an upload";
        let path = format!("/host/v1/uploads/{id}");
        let response = self.signed(WHAT, Method::Get, &path, &[], &[])?;
        from_json(WHAT, &response.body)
    }

    /// Sends a chunk of an upload. `id` must pass `is_plain`.
    ///
    /// # Errors
    /// See [`ContactError`].
    pub(crate) fn upload(
        &mut self,
        id: &str,
        offset: u64,
        total: u64,
        digest: &Digest,
        piece: &[u8],
    ) -> Result<UploadStanding, ContactError> {
        const WHAT: &str = "a chunk of an upload";
        let digest: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/host/v1/uploads/{id}?offset={offset}&total={total}&sha256={digest}");
        let response = self.signed(WHAT, Method::Put, &path, piece, &[])?;
        from_json(WHAT, &response.body)
    }

    /// The secrets that must not appear in any output.
    #[must_use]
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.session.iter().map(|session| session.token.clone()).collect()
    }

    /// Sends a signed request. A session that the platform no longer knows is replaced once.
    fn signed(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        body: &[u8],
        headers: &[(&'static str, String)],
    ) -> Result<Response, ContactError> {
        let had_session = self.usable_session().is_some();
        let first = self.signed_once(what, method, path, body, headers);
        match first {
            Err(error) if had_session && error.is_unauthenticated() => {
                self.session = None;
                self.signed_once(what, method, path, body, headers)
            }
            other => other,
        }
    }

    fn signed_once(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        body: &[u8],
        headers: &[(&'static str, String)],
    ) -> Result<Response, ContactError> {
        let session = match self.usable_session() {
            Some(session) => session.clone(),
            None => self.handshake()?,
        };
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        let parts = RequestParts::new(method.as_str(), path, body);
        let nonce = Bytes(self.environment.random());
        let mut all = signature::sign(signer, &parts, self.environment.now(), nonce).to_vec();
        all.extend_from_slice(headers);
        self.answered(what, method, path, all, body)
    }

    fn usable_session(&self) -> Option<&Session> {
        let now = self.environment.now();
        self.session.as_ref().filter(|session| session.expires > now + RENEW_BEFORE)
    }

    fn handshake(&mut self) -> Result<Session, ContactError> {
        const WHAT: &str = "a session";
        let random =
            Randomness { ephemeral: self.environment.random(), nonce: self.environment.random() };
        let now = self.environment.now();
        let (request, pending) =
            session::start(self.enforcement, self.identity, self.host_name, now, random);
        let body = to_json(&request);
        let response = self.answered(WHAT, Method::Post, "/host/v1/session", Vec::new(), &body)?;
        let response: SessionResponse = from_json(WHAT, &response.body)?;
        let session = pending.finish(response).map_err(ContactError::Session)?;
        self.session = Some(session.clone());
        self.session_is_new = true;
        Ok(session)
    }

    /// Sends a request and turns an answer with an error status into an error.
    fn answered(
        &mut self,
        what: &'static str,
        method: Method,
        path: &str,
        mut headers: Vec<(&'static str, String)>,
        body: &[u8],
    ) -> Result<Response, ContactError> {
        if !body.is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let request = Request { method, path_and_query: path, headers: &headers, body };
        let began = Instant::now();
        let answer = self.transport.send(&request);
        trace::line(DebugArea::Network, || {
            let said = match &answer {
                Ok(response) => format!("{} with {} bytes", response.status, response.body.len()),
                Err(error) => error.to_string(),
            };
            let route = self.transport.current_route();
            let route = route.map_or("no route".to_owned(), ToString::to_string);
            format!("{request:?}: {said}, {} ms, {route}", began.elapsed().as_millis())
        });
        let response = answer.map_err(ContactError::Unreachable)?;
        if (200..300).contains(&response.status) || response.status == 304 {
            return Ok(response);
        }
        let retry_after = response.header("retry-after").and_then(|text| text.parse().ok());
        let problem = serde_json::from_slice(&response.body).unwrap_or_else(|_| ProblemDocument {
            kind: "about:blank".to_owned(),
            title: format!("HTTP status {}", response.status),
            status: response.status,
            detail: None,
            field: None,
        });
        Err(ContactError::Refused { what, problem: Box::new(problem), retry_after })
    }
}

/// Serializes a message. It contains only plain data, which JSON can represent.
pub(crate) fn to_json<T: serde::Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

fn from_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    body: &[u8],
) -> Result<T, ContactError> {
    serde_json::from_slice(body).map_err(|source| ContactError::Garbled { what, source })
}

/// Compresses a report (RFC 8878).
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn unpack(what: &'static str, packed: &[u8]) -> Result<Vec<u8>, ContactError> {
    use std::io::Read as _;
    let refuse = |reason: String| ContactError::Packed { what, reason };
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
    let decoder = decoder.map_err(|error| refuse(error.to_string()))?;
    let limit = xshield_wire::envelope::MAX_ENVELOPE as u64;
    let mut bytes = Vec::new();
    let read = decoder.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(refuse(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_refused_for_overload_are_kept_and_sent_later() {
        for (status, retry_after, is_final, pause) in [
            (429, Some(7), false, Some(7)),
            (429, None, false, None),
            (503, Some(10), false, Some(10)),
            (507, Some(600), false, Some(600)),
            (500, None, false, None),
            (401, Some(5), false, None),
            (400, Some(5), true, None),
            (413, Some(5), true, None),
            (422, None, true, None),
        ] {
            let problem = ProblemDocument {
                kind: String::new(),
                title: String::new(),
                status,
                detail: None,
                field: None,
            };
            let problem = Box::new(problem);
            let error = ContactError::Refused { what: "a report", problem, retry_after };
            assert_eq!((error.is_final(), error.retry_after()), (is_final, pause), "{status}");
        }
    }
}
