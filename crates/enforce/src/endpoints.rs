//! The addresses of platform and proxies as this host resolves them.

use std::net::SocketAddr;

use crate::client::Client;
use crate::core::ports::add;
use crate::run::Run;

/// The addresses of the platform and the proxies, including those to which the platform's name resolved in
/// the last half hour, and, while the name can't be resolved, the known ones (`stand_in`). So neither a
/// failing resolver nor one with changing answers blocks the connection.
pub(crate) fn endpoints(
    run: &mut Run<'_>,
    client: &Client<'_>,
    stand_in: &[SocketAddr],
) -> Vec<SocketAddr> {
    let found = client.endpoints();
    let mut addresses = found.addresses;
    let now = run.now();
    let known = &mut run.progress.whereabouts;
    known.note(&found.by_name, now);
    if !found.by_name.is_empty() || !found.unresolved.is_empty() {
        add(&mut addresses, &known.addresses().collect::<Vec<_>>());
    }
    if !found.unresolved.is_empty() {
        add(&mut addresses, stand_in);
    }
    addresses
}
