//! Determines the addresses at which hosts reach the platform. No policy closes them, and no threat list
//! contains them.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::settings::{PublicUrl, Settings};

/// The addresses at which hosts reach the platform: what its public URLs resolve to, and the listener if it
/// is bound to one address. Loopback is omitted: it is open on every host anyway.
pub async fn resolved(settings: &Settings, listening: SocketAddr) -> Vec<SocketAddr> {
    let mut endpoints = Vec::new();
    if !listening.ip().is_unspecified() {
        endpoints.push(listening);
    }
    for PublicUrl { host, port } in &settings.public_urls {
        let port = port.unwrap_or(listening.port());
        match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => endpoints.extend(found),
            Err(error) => tracing::warn!(host, %error, "a public name does not resolve here"),
        }
    }
    endpoints.retain(|endpoint| !endpoint.ip().is_loopback());
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints
}

/// The endpoints that are no addresses of this machine, if it listens on all its addresses: no host program
/// on the platform's machine recognizes these.
pub fn translated(endpoints: &[SocketAddr], listening: SocketAddr) -> Vec<SocketAddr> {
    let told = if listening.ip().is_unspecified() { endpoints } else { &[] };
    told.iter().copied().filter(|endpoint| !is_own(endpoint.ip())).collect()
}

/// Whether an address belongs to this machine: only those can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn foreign_endpoints_are_reported_when_listening_on_all_addresses() {
        let [own, other] = ["127.0.0.1:443", "192.0.2.1:443"].map(|text| text.parse().unwrap());
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8443));
        let named = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443));
        for (endpoints, listening, told) in [
            (vec![own, other], all, vec![other]),
            (vec![own], all, vec![]),
            (vec![own, other], named, vec![]),
        ] {
            assert_eq!(translated(&endpoints, listening), told, "{endpoints:?} {listening}");
        }
    }
}
