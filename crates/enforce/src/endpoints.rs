//! Where platform and proxies are, as this host reaches them.

use std::net::SocketAddr;

use crate::client::Client;
use crate::core::ports::add;
use crate::run::Run;

/// The platform and the proxies: also where the platform's name led in the last half hour, and, while the
/// name can't be resolved, those that are known (`stand_in`). So neither a failing resolver nor one that
/// answers otherwise each time closes the way.
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
