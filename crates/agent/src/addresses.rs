//! The thread that has the platform told at once when this host's addresses change: other hosts' rules
//! name them.

use std::time::Duration;

use xshield_enforce::problems::chain;
use xshield_enforce::resident::host::addresses::AddressWatch;

use crate::agent::Agent;
use crate::cycles::Wake;

/// For how long is waited at a time.
const SPAN: Duration = Duration::from_secs(30);
/// Between two cycles for this reason: whoever's addresses change all the time is not told of each.
/// What changed meanwhile is told then.
const SPACING: Duration = Duration::from_secs(30);

/// Follows the addresses until the agent comes to an end.
pub fn run(agent: &Agent) {
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
