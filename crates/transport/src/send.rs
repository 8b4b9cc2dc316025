//! Sending requests, and choosing the route.

mod download;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ureq::Agent;
use ureq::http;
use ureq::tls::TlsConfig;

use crate::address::{Endpoint, PlatformUrl};
use crate::agent::{self, Builder, Connections};
use crate::cancel::CancelHandle;
use crate::config::{ConfigError, Timeouts, TransportConfig};
use crate::handover::{Handover, OpenConnection};
use crate::resolve::{Adapter, Resolve};
use crate::route::{Route, RouteError, RouteState, classify};

pub use download::DownloadError;

/// The methods that hosts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With a body.
    Post,
    /// With a body.
    Put,
}

impl Method {
    /// The method's name as in the request, and as signed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// A request to the platform. `Debug` omits headers and body, which contain the session's token.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// E.g. `/host/v1/check-in`; begins with `/`.
    pub path_and_query: &'a str,
    /// Header names and values.
    pub headers: &'a [(&'static str, String)],
    /// Sent unchanged; ignored for [`Method::Get`].
    pub body: &'a [u8],
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.path_and_query)
    }
}

/// The platform's answer, whatever its status. `Debug` omits headers and body, which may contain the
/// session's token.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// As received, without decoding its content-encoding.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header with that name, in lower case; `None` also if it is not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {} bytes", self.status, self.body.len())
    }
}

/// A route that was tried, and how it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The route.
    pub route: Route,
    /// How it failed.
    pub error: RouteError,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Every route failed.
    #[error("the platform could not be reached: {}", Listed(.failures))]
    NoRoute {
        /// In the order tried; never empty.
        failures: Vec<Failure>,
    },
    /// The platform's answer was too long; another route would not help.
    #[error("the platform's answer is over the limit of {limit} bytes")]
    ResponseTooLarge {
        /// The limit.
        limit: u64,
    },
    /// The request was cancelled: see [`crate::CancelHandle::cancel`].
    #[error("the request was abandoned")]
    Cancelled,
    /// A header or the path contains characters that HTTP does not allow.
    #[error("the request to {path:?} can't be written as HTTP")]
    Request {
        /// Its path.
        path: String,
        /// The reason.
        source: http::Error,
    },
}

impl TransportError {
    /// Whether a server that is not the platform answered, on any of the routes.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        let Self::NoRoute { failures } = self else { return false };
        failures.iter().any(|f| matches!(f.error, RouteError::UntrustedCertificate { .. }))
    }
}

struct Listed<'a>(&'a [Failure]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", failure.route, failure.error)?;
        }
        Ok(())
    }
}

/// The addresses to which this host must be able to connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The platform and the proxies.
    pub addresses: Vec<SocketAddr>,
    /// Those that were resolved from names.
    pub by_name: Vec<SocketAddr>,
    /// Those whose names could not be resolved.
    pub unresolved: Vec<Endpoint>,
}

/// HTTPS to the platform.
pub struct Transport {
    platform: PlatformUrl,
    builder: Builder,
    timeouts: Timeouts,
    max_response: u64,
    /// The proxies in their order, then the direct route.
    routes: Vec<RouteAgent>,
    current: Option<usize>,
}

/// A route and its agent.
struct RouteAgent {
    route: Route,
    proxy: Option<ureq::Proxy>,
    /// Present as long as its connection may be reused.
    agent: Option<Agent>,
    last_failure: Option<RouteError>,
}

impl Transport {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the CA certificates or a proxy can't be used.
    pub fn new(config: TransportConfig, resolver: Arc<dyn Resolve>) -> Result<Self, ConfigError> {
        Self::over(agent::tls_config(&config.ca_pem)?, config, resolver)
    }

    pub(crate) fn over(
        tls: TlsConfig,
        config: TransportConfig,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ConfigError> {
        let way = |route, proxy| RouteAgent { route, proxy, agent: None, last_failure: None };
        let mut routes = Vec::with_capacity(config.proxies.len() + 1);
        for proxy in &config.proxies {
            routes.push(way(Route::Proxy(proxy.address.clone()), Some(agent::proxy(proxy)?)));
        }
        routes.push(way(Route::Direct, None));
        // A remembered route that is no longer configured is ignored.
        let current = routes.iter().position(|way| Some(&way.route) == config.last_route.as_ref());
        let builder = Builder {
            tls,
            resolver: Adapter { inner: resolver, longest: config.timeouts.resolve },
            user_agent: config.user_agent,
        };
        let (timeouts, max_response) = (config.timeouts, config.max_response);
        Ok(Self { platform: config.platform, builder, timeouts, max_response, routes, current })
    }

    /// Sends a request by the route that worked last, then by the others in their order.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub fn send(&mut self, request: &Request<'_>) -> Result<Response, TransportError> {
        let mut failures = Vec::new();
        for index in self.order() {
            match self.send_by(index, request) {
                Ok(response) => {
                    self.current = Some(index);
                    self.routes[index].last_failure = None;
                    return Ok(response);
                }
                Err(SendError::Route(error)) => {
                    let way = &mut self.routes[index];
                    way.agent = None;
                    way.last_failure = Some(error.clone());
                    failures.push(Failure { route: way.route.clone(), error });
                }
                Err(SendError::Final(error)) => return Err(error),
            }
        }
        self.current = None;
        Err(TransportError::NoRoute { failures })
    }

    /// Sends a request once, by the current route only; the caller decides about retries. For long polls,
    /// which thousands of hosts may lose at the same time. Until the answer arrives, the request can be cancelled with `cancel`.
    ///
    /// # Errors
    /// See [`TransportError`]; [`TransportError::NoRoute`] with that one route.
    pub fn send_once(
        &mut self,
        request: &Request<'_>,
        cancel: &CancelHandle,
    ) -> Result<Response, TransportError> {
        let index = self.order().first().copied().unwrap_or_default();
        let kept = self.routes[index].agent.take();
        let proxy = self.routes[index].proxy.as_ref();
        let agent = kept.unwrap_or_else(|| agent::agent(&self.builder, proxy, Connections::Kept));
        if !cancel.take(&agent) {
            return Err(TransportError::Cancelled);
        }
        let result = self.exchange(&agent, &self.routes[index], request);
        let way = &mut self.routes[index];
        let is_whole = cancel.leave();
        match result {
            // A cancelled agent can't be reused, and the cancellation is not a failure of the route.
            Ok(response) if !is_whole => Ok(response),
            Err(_) if !is_whole => Err(TransportError::Cancelled),
            Ok(response) => {
                way.agent = Some(agent);
                way.last_failure = None;
                Ok(response)
            }
            Err(SendError::Final(error)) => Err(error),
            Err(SendError::Route(error)) => {
                way.last_failure = Some(error.clone());
                let failures = vec![Failure { route: way.route.clone(), error }];
                Err(TransportError::NoRoute { failures })
            }
        }
    }

    /// Tries `route` first from now on; no effect if it is not configured.
    pub fn prefer(&mut self, route: &Route) {
        if let Some(index) = self.routes.iter().position(|way| way.route == *route) {
            self.current = Some(index);
        }
    }

    /// Reaches the platform over a new connection by the current route only, within [`Timeouts::probe`]. Any
    /// HTTP status counts as reached. Changes neither the choice of route nor kept connections.
    ///
    /// # Errors
    /// [`TransportError::NoRoute`] with that one route.
    pub fn probe(&self) -> Result<(), TransportError> {
        let Some(way) = self.order().first().map(|&index| &self.routes[index]) else {
            return Ok(());
        };
        let probe = self.timeouts.probe;
        let timeouts = Timeouts {
            resolve: probe,
            connect: probe,
            through_proxy: probe,
            stall: probe,
            exchange: probe,
            probe,
        };
        let agent = agent::agent(&self.builder, way.proxy.as_ref(), Connections::UsedOnce);
        let request =
            Request { method: Method::Get, path_and_query: "/healthz", headers: &[], body: &[] };
        match self.exchange_within(timeouts, &agent, way, &request) {
            Ok(_) | Err(SendError::Final(TransportError::ResponseTooLarge { .. })) => Ok(()),
            Err(SendError::Final(error)) => Err(error),
            Err(SendError::Route(error)) => {
                let failures = vec![Failure { route: way.route.clone(), error }];
                Err(TransportError::NoRoute { failures })
            }
        }
    }

    /// Takes over the connection that another transport with the same configuration left, if it uses the
    /// route that is tried first.
    pub fn take_over(&mut self, from: &Handover) {
        let Some(OpenConnection { route, agent }) = from.take() else { return };
        let first = self.order().first().copied().unwrap_or_default();
        if self.routes[first].route == route {
            self.routes[first].agent = Some(agent);
        }
    }

    /// Leaves the current route's connection to another transport with the same configuration.
    pub fn hand_over(&mut self, to: &Handover) {
        let way = self.current.map(|index| &mut self.routes[index]);
        to.put(way.and_then(|way| {
            let agent = way.agent.take()?;
            Some(OpenConnection { route: way.route.clone(), agent })
        }));
    }

    /// Closes kept connections: the next request opens a new one.
    pub fn new_connection(&mut self) {
        for way in &mut self.routes {
            way.agent = None;
        }
    }

    /// The route that worked last, to be remembered for the next run.
    #[must_use]
    pub fn current_route(&self) -> Option<&Route> {
        self.current.map(|index| &self.routes[index].route)
    }

    /// Every route, in the configured order.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteState> {
        let state = |(index, way): (usize, &RouteAgent)| RouteState {
            route: way.route.clone(),
            current: self.current == Some(index),
            last_failure: way.last_failure.clone(),
        };
        self.routes.iter().enumerate().map(state).collect()
    }

    /// The addresses of platform and proxies, sorted: no rule of this host may block them.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for way in &self.routes {
            let endpoint = match &way.route {
                Route::Direct => self.platform.endpoint(),
                Route::Proxy(address) => address,
            };
            let resolver = &self.builder.resolver;
            match (endpoint.address(), endpoint.name()) {
                (Some(address), _) => endpoints.addresses.push(address),
                (None, Some(name)) => match resolver.inner.resolve(name, resolver.longest) {
                    Ok(found) if !found.is_empty() => {
                        let port = endpoint.port();
                        let found = found.iter().map(|&ip| SocketAddr::new(ip, port));
                        endpoints.by_name.extend(found);
                    }
                    _ => endpoints.unresolved.push(endpoint.clone()),
                },
                (None, None) => {}
            }
        }
        endpoints.addresses.extend(&endpoints.by_name);
        endpoints.addresses.sort_unstable();
        endpoints.addresses.dedup();
        endpoints
    }

    /// The current route first, the others in their order.
    fn order(&self) -> Vec<usize> {
        let others = (0..self.routes.len()).filter(|&index| Some(index) != self.current);
        self.current.into_iter().chain(others).collect()
    }

    fn send_by(&mut self, index: usize, request: &Request<'_>) -> Result<Response, SendError> {
        let kept = self.routes[index].agent.take();
        if let Some(agent) = kept {
            match self.exchange(&agent, &self.routes[index], request) {
                // The other side may have closed the kept connection: that is not a failure of the route.
                Err(SendError::Route(RouteError::Broken { .. } | RouteError::Http { .. })) => {}
                result => {
                    self.routes[index].agent = Some(agent);
                    return result;
                }
            }
        }
        let proxy = self.routes[index].proxy.as_ref();
        let agent = agent::agent(&self.builder, proxy, Connections::Kept);
        let result = self.exchange(&agent, &self.routes[index], request);
        self.routes[index].agent = Some(agent);
        result
    }

    fn exchange(
        &self,
        agent: &Agent,
        way: &RouteAgent,
        request: &Request<'_>,
    ) -> Result<Response, SendError> {
        self.exchange_within(self.timeouts, agent, way, request)
    }

    fn exchange_within(
        &self,
        timeouts: Timeouts,
        agent: &Agent,
        way: &RouteAgent,
        request: &Request<'_>,
    ) -> Result<Response, SendError> {
        let mut answer = self.answer(timeouts, agent, way, request)?;
        // ureq's limit is the first length that is refused.
        let limit = self.max_response.saturating_add(1);
        let body = answer.body_mut().with_config().limit(limit).read_to_vec();
        let headers = answer.headers().iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        let (status, headers) = (answer.status().as_u16(), headers.collect());
        let body = body.map_err(|error| self.failed(way, error, self.max_response))?;
        Ok(Response { status, headers, body })
    }

    /// Sends a request; the answer's body is not read yet.
    fn answer(
        &self,
        timeouts: Timeouts,
        agent: &Agent,
        way: &RouteAgent,
        request: &Request<'_>,
    ) -> Result<http::Response<ureq::Body>, SendError> {
        let mut builder = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{}{}", self.platform, request.path_and_query));
        for (name, value) in request.headers {
            builder = builder.header(*name, value);
        }
        let answer = match request.method {
            Method::Get => {
                let ready = builder.body(()).map_err(|e| unwritable(request, e))?;
                agent::run(agent, ready, timeouts)
            }
            Method::Post | Method::Put => {
                let ready = builder.body(request.body).map_err(|e| unwritable(request, e))?;
                agent::run(agent, ready, timeouts)
            }
        };
        answer.map_err(|error| self.failed(way, error, self.max_response))
    }

    /// Converts an error of the library on a route, for an answer of at most `limit` bytes.
    fn failed(&self, way: &RouteAgent, error: ureq::Error, limit: u64) -> SendError {
        match error {
            ureq::Error::BodyExceedsLimit(_) => {
                SendError::Final(TransportError::ResponseTooLarge { limit })
            }
            error => SendError::Route(classify(&error, &way.route, self.platform.endpoint())),
        }
    }
}

/// Whether another route might help.
enum SendError {
    Route(RouteError),
    Final(TransportError),
}

fn unwritable(request: &Request<'_>, source: http::Error) -> SendError {
    let path = request.path_and_query.to_owned();
    SendError::Final(TransportError::Request { path, source })
}
