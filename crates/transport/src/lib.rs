//! HTTPS from a host to the platform, through ordered proxies. Blocking.
//!
//! - Exactly the pinned CA certificates are trusted: no system store, no bundled roots. TLS 1.3 only.
//!   [`UnverifiedServer`] verifies no certificate instead, and can't send anything confidential.
//! - [`Transport::send`] tries the route that worked last, then the proxies in their order, then the direct
//!   route. A route that worked is used until it fails.
//! - An HTTP status is an answer, never an error of the transport. A request may arrive twice, if a route
//!   fails after the request has arrived and another one is tried: callers must allow for that.
//! - Names are resolved by the caller's [`Resolve`], never by the C library. Through a proxy, the proxy
//!   resolves the platform's name.
//! - Operators write proxies as IP addresses with credentials in matching order: [`ProxyList`].
//!
//! Passwords never appear in errors or in `Debug`.

mod address;
mod agent;
mod cancel;
mod config;
mod handover;
mod proxies;
mod resolve;
mod route;
mod send;
mod unverified;

pub use address::{Endpoint, EndpointError, PlatformUrl};
pub use cancel::CancelHandle;
pub use config::{ConfigError, Proxy, Secret, Timeouts, TransportConfig};
pub use handover::Handover;
pub use proxies::{ProxyList, ProxyListError, ProxyListReason, ProxyText};
pub use resolve::Resolve;
pub use route::{Phase, Route, RouteError, RouteState};
pub use send::{
    DownloadError, Endpoints, Failure, Method, Request, Response, Transport, TransportError,
};
pub use unverified::UnverifiedServer;
