//! The thread that informs the platform at once when this host's addresses change, since other hosts' rules
//! name them.

use std::time::Duration;

use xshield_enforce::problems::chain;
use xshield_enforce::resident::host::addresses::AddressWatch;

use crate::agent::Agent;
use crate::cycles::Wake;

/// The longest wait for a change at a time.
const SPAN: Duration = Duration::from_secs(30);
/// The least time between two cycles for this reason, for hosts whose addresses change all the time. Later
/// changes are reported together.
const SPACING: Duration = Duration::from_secs(30);

/// Watches the addresses until the agent stops.
pub(super) fn run(agent: &Agent) {
    let mut watch = match AddressWatch::open() {
        Ok(watch) => watch,
        Err(error) => {
            agent
                .log
                .error(&format!("{}; addresses are reported only with heartbeats", chain(&error)));
            return;
        }
    };
    while !agent.is_stopping() {
        match watch.wait(SPAN) {
            Ok(None) => {}
            Ok(Some(addresses)) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                agent.log.info(&format!("the host's addresses are now {}", addresses.join(", ")));
                agent.wake(Wake::Readdressed);
                agent.rest(SPACING);
            }
            Err(error) => {
                agent.log.debug(&chain(&error));
                agent.rest(SPAN);
            }
        }
    }
}
