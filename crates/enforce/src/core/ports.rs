//! The interfaces of the core to everything outside. The shell implements them for a real host, tests for a
//! simulated one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use xshield_policy::{AssetId, Facts, Ruleset, TimeServers};
use xshield_wire::message::{CheckInAnswer, Digest, InForce, Problem, Status};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{RulesetVersion, Verified};

use super::known_good::LastKnownGood;
use crate::step::Step;

/// A ruleset could not be saved; the one saved before is intact.
#[derive(Debug, thiserror::Error)]
#[error("saving the ruleset that is in force failed: {reason}")]
pub struct SaveError {
    /// The error returned by the OS.
    pub reason: String,
}

/// State on disk, which outlives a run.
pub trait Records {
    /// Makes a ruleset the one that a restart restores; it is on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written.
    fn save(&mut self, known: &LastKnownGood) -> Result<(), SaveError>;

    /// From now on, no ruleset older than this one is accepted.
    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>);

    /// The oldest acceptable ruleset.
    fn floor(&self) -> RulesetVersion;
}

/// Addresses that no rule may block: those to which the host's own configuration refers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailsafeAddresses {
    /// The platform and the proxies.
    pub endpoints: Vec<SocketAddr>,
    /// DNS servers; empty: any may be asked. `None`: not determined.
    pub resolvers: Option<Vec<IpAddr>>,
    /// Time servers.
    pub time_servers: TimeServers,
}

/// The host's facts.
pub trait Host<C> {
    /// The facts that a ruleset needs. `known`: the platform's last known addresses, used while its name
    /// can't be resolved.
    fn facts(&mut self, ruleset: &Ruleset, capabilities: &C, known: &[SocketAddr]) -> Facts;

    /// The addresses that are known without asking another host.
    fn configured_failsafe(&mut self) -> FailsafeAddresses;

    /// The addresses that have to be resolved by means of the others.
    fn resolved_failsafe(&mut self) -> FailsafeAddresses;

    /// Before the first rules: tells connection tracking which side opened the open connections.
    fn introduce_open_connections(&mut self);

    /// Reports what the ruleset can't enforce for traffic that this host forwards.
    fn inspect_forwarding(&mut self, ruleset: &Ruleset, capabilities: &C);
}

/// The policy's state as a check-in reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// The status.
    pub status: Status,
    /// The ruleset in force, as far as it is known.
    pub in_force: Option<InForce>,
}

/// The result of fetching a ruleset.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// An unverified envelope, and this host's asset id.
    Envelope(Vec<u8>, AssetId),
    /// The ruleset that the host has is the one it should have.
    Unchanged,
    /// Nothing; the reason has been reported.
    Nothing,
}

/// The platform.
pub trait Platform {
    /// Checks in over a new connection: only that proves that the host can still reach the platform. Problems
    /// are returned instead of reported.
    ///
    /// # Errors
    /// The reason, as text.
    fn confirm(&mut self, standing: PolicyStatus) -> Result<(), String>;

    /// Checks in again to correct what was reported; a failure is ignored.
    fn correct(&mut self, standing: PolicyStatus);

    /// Fetches this host's ruleset unless it is `have`.
    fn ruleset(&mut self, have: Option<Digest>) -> Fetched;

    /// Sends a platform that wants something older than this host has had the newest envelope that it signed,
    /// once per run; returns what it wants then.
    fn show_what_is_held(
        &mut self,
        standing: PolicyStatus,
        held: Option<&LastKnownGood>,
    ) -> Option<CheckInAnswer>;

    /// Reports that the platform still wants something older.
    fn stays_behind(&mut self, wanted: String, floor: String);
}

/// The messages of a run.
pub trait Log {
    /// Reports a problem.
    fn note(&mut self, problem: Problem);

    /// Marks a step as done.
    fn step(&mut self, step: Step);

    /// Adds a line to the detailed log; the text is only built while one is kept.
    fn trace(&mut self, area: DebugArea, text: &dyn Fn() -> String);
}

/// Everything outside the core except the kernel.
pub trait World<C>: Records + Host<C> + Platform + Log {}

impl<C, T: Records + Host<C> + Platform + Log> World<C> for T {}

/// Adds what is missing; the list is sorted afterwards.
pub(crate) fn add<T: Ord + Copy>(addresses: &mut Vec<T>, new: &[T]) {
    let all: BTreeSet<T> = addresses.iter().chain(new).copied().collect();
    *addresses = all.into_iter().collect();
}

/// Adds these addresses to those that `facts` admit.
pub(crate) fn admit(facts: &mut Facts, ways: &FailsafeAddresses) {
    add(&mut facts.endpoints, &ways.endpoints);
    add(&mut facts.time_servers.ntp, &ways.time_servers.ntp);
    add(&mut facts.time_servers.nts, &ways.time_servers.nts);
    if let Some(resolvers) = &ways.resolvers {
        admit_resolvers(&mut facts.resolvers, resolvers);
    }
}

/// Adds these DNS servers to those that the rules admit. An empty list admits any server: adding to it would
/// restrict it, and adding it to another one admits any.
fn admit_resolvers(admitted: &mut Vec<IpAddr>, resolvers: &[IpAddr]) {
    if admitted.is_empty() {
        return;
    }
    if resolvers.is_empty() {
        admitted.clear();
        return;
    }
    for resolver in resolvers {
        if !admitted.contains(resolver) {
            admitted.push(*resolver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_only_added() {
        let list = |texts: &str| -> Vec<IpAddr> {
            texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
        };
        for (admitted, configured, expected) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1 10.0.0.2"),
            ("10.0.0.1 fd00::1", "fd00::1 fd00::2", "10.0.0.1 fd00::1 fd00::2"),
            // An empty list is every server.
            ("", "10.0.0.2", ""),
            ("10.0.0.1", "", ""),
        ] {
            let mut facts = Facts { resolvers: list(admitted), ..Facts::default() };
            admit(
                &mut facts,
                &FailsafeAddresses {
                    resolvers: Some(list(configured)),
                    ..FailsafeAddresses::default()
                },
            );
            assert_eq!(facts.resolvers, list(expected), "{admitted} and {configured}");
            let before = facts.clone();
            admit(&mut facts, &FailsafeAddresses::default());
            assert_eq!(facts, before, "not looked at");
        }
    }
}
