//! HTTPS from a host to the platform, through ordered proxies. Blocking.
//!
//! - Trust is exactly the pinned CA certificates: no system store, no bundled roots. TLS 1.3 only.
//!   [`Stranger`] trusts nobody instead, and can send nothing that matters.
//! - [`Transport::send`] tries the route that worked last, then the proxies in their order, then the
//!   direct route. The route that worked stays until it fails.
//! - An HTTP status is an answer, never an error of the transport. A request can have arrived though
//!   the route failed afterwards and another one was tried: whoever sends must bear being heard twice.
//! - Names are resolved by the caller's [`Resolve`], never by the C library. Behind a proxy the
//!   platform's name is left for the proxy to resolve.
//! - Operators write proxies as IP addresses with credentials in matching order: [`ProxyList`].
//!
//! Passwords never appear in errors or in `Debug`.

mod address;
mod agent;
mod config;
mod handover;
mod line;
mod proxies;
mod resolve;
mod route;
mod send;
mod stranger;

pub use address::{Endpoint, EndpointError, PlatformUrl};
pub use config::{ConfigError, Proxy, Secret, Timeouts, TransportConfig};
pub use handover::Handover;
pub use line::Line;
pub use proxies::{ProxyList, ProxyListError, ProxyListReason, ProxyText};
pub use resolve::Resolve;
pub use route::{Phase, Route, RouteError, RouteState};
pub use send::{
    DownloadError, Endpoints, Failure, Method, Request, Response, Transport, TransportError,
};
pub use stranger::Stranger;
