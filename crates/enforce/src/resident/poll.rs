//! The poll that the platform holds open until something is pending for this host.
//!
//! It uses the connection that the last cycle left and leaves it to the next one, and the session that the
//! cycle set up; it never sets up a session itself, so the two can't disagree about which one is current. If
//! it fails for any reason, heartbeats alone suffice.

use std::net::TcpStream;
use std::time::Duration;

use xshield_host::files::FileError;
use xshield_transport::{
    CancelHandle, ConfigError, Handover, Method, Request, Route, Timeouts, Transport,
    TransportError,
};
use xshield_wire::Bytes;
use xshield_wire::control::{NOTIFY_HOLD, Notification};
use xshield_wire::message::{Message as _, Program};
use xshield_wire::signature::{self, RequestParts, Signer};

use crate::config::Config;
use crate::connect;
use crate::environment::RunEnvironment;
use crate::resolve::HostResolver;
use crate::state::StateDirectory;

/// How much longer than the platform's own limit a poll is waited for.
const GRACE: Duration = Duration::from_secs(10);
/// How long a proxy may take to accept a connection before it counts as dead.
const PROXY_PATIENCE: Duration = Duration::from_secs(1);
/// The longest token that is sent back, in bytes.
const MAX_SEEN: usize = 512;

/// The result of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Something is pending: check in.
    Pending {
        /// The token for the next poll if the check-in's answer contains none.
        seen: String,
    },
    /// Nothing became pending while the platform held the poll.
    Nothing,
}

/// Why a poll failed.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No cycle has set up a session yet, or the last one has expired.
    #[error("there is no session with the platform yet")]
    NoSession,
    /// The session can't be read.
    #[error("reading the session failed")]
    State(#[from] FileError),
    /// The state directory can't be used.
    #[error("opening the state directory failed")]
    Directory(#[from] std::io::Error),
    /// The transport can't be set up.
    #[error("preparing the connection to the platform failed")]
    Setup(#[from] ConfigError),
    /// It was cancelled by closing its connection.
    #[error("another route is taken")]
    Cut,
    /// The platform could not be reached.
    #[error("waiting for the platform's notification failed")]
    Unreachable(#[source] TransportError),
    /// The platform answered with an error, e.g. because it does not support polls.
    #[error("the platform refused the notification with HTTP status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Seconds after which it may be asked again, if the platform named a time.
        retry_after: Option<u64>,
    },
    /// The answer can't be parsed.
    #[error("the platform's notification can't be understood; upgrade the older side")]
    Garbled,
}

/// Waits for notifications.
pub struct Poller {
    transport: Transport,
    state: StateDirectory,
    environment: RunEnvironment,
}

impl Poller {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the CA certificates or a proxy can't be used.
    pub fn new(
        config: &Config,
        program: &Program,
        state: StateDirectory,
        environment: RunEnvironment,
    ) -> Result<Self, ConfigError> {
        let resolver = HostResolver::of_a_resident(&environment.os);
        let hold = Duration::from_secs(NOTIFY_HOLD) + GRACE;
        let timeouts = Timeouts { stall: hold, exchange: hold + GRACE, ..Timeouts::default() };
        let transport = connect::transport(config, program, resolver, None, timeouts)?;
        Ok(Self { transport, state, environment })
    }

    /// Whether the proxy of `route` failed: it no longer accepts connections. On the direct route, or if the
    /// proxy still accepts connections, the failure lies beyond it.
    #[must_use]
    pub fn is_dead_proxy(route: &Route) -> bool {
        let Route::Proxy(endpoint) = route else { return false };
        let Some(address) = endpoint.address() else { return false };
        TcpStream::connect_timeout(&address, PROXY_PATIENCE).is_err()
    }

    /// Waits until something is pending, at most as long as the platform holds a poll. `seen`: the token of
    /// the last check-in's answer; `route`: that check-in's route. Only that route is used, only once, and
    /// until it is cancelled with `cancel`. `connection`: passed on from the last cycle to the next one.
    ///
    /// # Errors
    /// See [`PollError`].
    pub fn poll(
        &mut self,
        seen: Option<&str>,
        route: Option<&Route>,
        cancel: &CancelHandle,
        connection: &Handover,
    ) -> Result<Polled, PollError> {
        if let Some(route) = route {
            self.transport.prefer(route);
        }
        self.transport.take_over(connection);
        let session = self.state.session(&mut Vec::new())?;
        let now = self.environment.now();
        let session =
            session.filter(|session| session.expires > now).ok_or(PollError::NoSession)?;
        let path = match seen.filter(|seen| is_plain(seen)) {
            Some(seen) => format!("/host/v1/notify?seen={seen}"),
            None => "/host/v1/notify".to_owned(),
        };
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        let parts = RequestParts::new(Method::Get.as_str(), &path, &[]);
        let nonce = Bytes(self.environment.random());
        let headers = signature::sign(signer, &parts, now, nonce);
        let request =
            Request { method: Method::Get, path_and_query: &path, headers: &headers, body: &[] };
        let answer = self.transport.send_once(&request, cancel).map_err(|error| match error {
            TransportError::Cancelled => PollError::Cut,
            error => PollError::Unreachable(error),
        })?;
        match answer.status {
            204 => Ok(Polled::Nothing),
            200 => {
                let told = Notification::read(&answer.body).map_err(|_| PollError::Garbled)?;
                self.transport.hand_over(connection);
                Ok(Polled::Pending { seen: told.seen })
            }
            status => {
                let retry_after = answer.header("retry-after").and_then(|text| text.parse().ok());
                Err(PollError::Refused { status, retry_after })
            }
        }
    }
}

/// Unreserved characters (RFC 3986, 2.3): they appear in a query unencoded.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !text.is_empty() && text.len() <= MAX_SEEN && text.bytes().all(plain)
}
