//! Real TLS servers and real proxies on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation fails the test")]

mod connections;
mod failover;
mod proxy;
mod server;
mod trust;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use xshield_transport::{
    Method, Proxy, Request, Resolve, Response, Timeouts, Transport, TransportConfig, TransportError,
};

/// The only names that resolve.
#[derive(Debug, Default)]
pub(crate) struct Names(pub(crate) BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolve for Names {
    fn resolve(&self, host: &str, _timeout: Duration) -> io::Result<Vec<IpAddr>> {
        self.0.get(host).cloned().ok_or_else(|| io::Error::other("no such name"))
    }
}

/// Short enough for tests without answers, long enough for a loaded machine.
pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        resolve: Duration::from_millis(1000),
        connect: Duration::from_millis(1500),
        through_proxy: Duration::from_millis(1500),
        stall: Duration::from_millis(5000),
        exchange: Duration::from_millis(5000),
        probe: Duration::from_millis(1500),
    }
}

pub(crate) fn config(platform: SocketAddr, ca_pem: &str, proxies: Vec<Proxy>) -> TransportConfig {
    TransportConfig {
        platform: format!("https://{platform}").parse().unwrap(),
        ca_pem: ca_pem.to_owned(),
        proxies,
        last_route: None,
        timeouts: timeouts(),
        max_response: 1 << 20,
        user_agent: "test/1".into(),
    }
}

pub(crate) fn transport(config: TransportConfig) -> Transport {
    Transport::new(config, Arc::new(Names::default())).unwrap()
}

pub(crate) fn get(transport: &mut Transport, path: &str) -> Result<Response, TransportError> {
    transport.send(&Request { method: Method::Get, path_and_query: path, headers: &[], body: &[] })
}
