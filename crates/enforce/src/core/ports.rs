//! What the core does to the world, and what it hears from it. The shell implements these for the real
//! host, tests for one that is made up.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use xshield_firewall::{Capabilities, FirewallError, Generation, KernelState, Plan, Programmed};
use xshield_policy::{AssetId, Facts, Ruleset, TimeServers};
use xshield_wire::message::{CheckInAnswer, Digest, InForce, Problem, Status};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{RulesetVersion, Verified};

use super::known_good::LastKnownGood;
use crate::step::Step;

/// The policy's table of this host's firewall. Every change is one transaction: it happens whole, or not
/// at all.
pub trait Kernel {
    /// A ruleset that stands there for a time.
    type Trial;

    /// What the kernel can do.
    fn capabilities(&self) -> Capabilities;

    /// A number that is another one after any change of any table.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    fn generation(&mut self) -> Result<Generation, FirewallError>;

    /// Which ruleset stands there.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    fn state(&mut self) -> Result<KernelState, FirewallError>;

    /// The ruleset in force, read whole.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    fn read_back(&mut self) -> Result<Programmed, FirewallError>;

    /// Puts a ruleset in force for good.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing was changed.
    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError>;

    /// Puts a ruleset in force for a time; the one before comes back by itself.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing was changed.
    fn try_apply(&mut self, plan: &Plan, probation: Duration)
    -> Result<Self::Trial, FirewallError>;

    /// Keeps a ruleset on trial for good.
    ///
    /// # Errors
    /// When its time is over, or the kernel refuses.
    fn keep(&mut self, trial: Self::Trial) -> Result<Programmed, FirewallError>;

    /// Ends a trial before its time.
    ///
    /// # Errors
    /// When something else stands there, or the kernel refuses.
    fn revert(&mut self, trial: Self::Trial) -> Result<(), FirewallError>;
}

/// A ruleset could not be written down; what was written down before is intact.
#[derive(Debug, thiserror::Error)]
#[error("writing down the ruleset that is in force failed: {reason}")]
pub struct NotWritten {
    /// What the system said.
    pub reason: String,
}

/// What outlives a run.
pub trait Records {
    /// Makes a ruleset the one that a restart restores; on disk when this returns.
    ///
    /// # Errors
    /// When it can't be written.
    fn write_down(&mut self, known: &LastKnownGood) -> Result<(), NotWritten>;

    /// No ruleset older than this one is taken from now on.
    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>);

    /// The oldest ruleset that is taken.
    fn floor(&self) -> RulesetVersion;
}

/// Addresses that no rule may cut: where the host's own configuration points it to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaysOut {
    /// Platform and proxies.
    pub endpoints: Vec<SocketAddr>,
    /// DNS servers; empty: any may be asked. `None`: not looked at.
    pub resolvers: Option<Vec<IpAddr>>,
    /// Time servers.
    pub time_servers: TimeServers,
}

/// What the host says about itself.
pub trait Host {
    /// What a ruleset asks for. `known`: where the platform was, for while its name can't be resolved.
    fn facts(
        &mut self,
        ruleset: &Ruleset,
        capabilities: &Capabilities,
        known: &[SocketAddr],
    ) -> Facts;

    /// The ways out that are known without asking anyone.
    fn configured_ways(&mut self) -> WaysOut;

    /// Those that had to be asked for, by way of the others.
    fn resolved_ways(&mut self) -> WaysOut;

    /// Tells connection tracking who opened the connections that are open: the first rules come.
    fn introduce_open_connections(&mut self);

    /// Says what the ruleset can't do about traffic that this host forwards.
    fn look_at_forwarding(&mut self, ruleset: &Ruleset, capabilities: &Capabilities);
}

/// How the host stands, in the words of a check-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStatus {
    /// In one word.
    pub status: Status,
    /// The ruleset that judges packets, as far as that is known.
    pub in_force: Option<InForce>,
}

/// What a fetch came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// An envelope, not yet verified, and who this host is to the platform.
    Envelope(Vec<u8>, AssetId),
    /// The ruleset that the host has is the one it should have.
    Unchanged,
    /// Nothing came; why has been noted.
    Nothing,
}

/// The platform.
pub trait Platform {
    /// Checks in over a new connection: only that proves that the host can still reach the platform. What
    /// was noted on the way is given back instead.
    ///
    /// # Errors
    /// Why it was not reached, in words.
    fn confirm(&mut self, standing: PolicyStatus) -> Result<(), String>;

    /// The same to correct what was said, whatever becomes of it.
    fn correct(&mut self, standing: PolicyStatus);

    /// Fetches this host's ruleset unless it is `have`.
    fn ruleset(&mut self, have: Option<Digest>) -> Fetched;

    /// Shows a platform that wants something older than this host has had what it signed since, once in a
    /// run; gives back what it wants then.
    fn show_what_is_held(
        &mut self,
        standing: PolicyStatus,
        held: Option<&LastKnownGood>,
    ) -> Option<CheckInAnswer>;

    /// Says that the platform stays behind.
    fn stays_behind(&mut self, wanted: String, floor: String);
}

/// What a run says while it goes on.
pub trait Log {
    /// Something that an operator should know.
    fn note(&mut self, problem: Problem);

    /// A step is done.
    fn step(&mut self, step: Step);

    /// A line of the detailed log; the text is only made when one is kept.
    fn trace(&mut self, area: DebugArea, text: &dyn Fn() -> String);
}

/// All of it, besides the kernel.
pub trait World: Records + Host + Platform + Log {}

impl<T: Records + Host + Platform + Log> World for T {}

/// Adds what is not there yet; the list is in order afterwards.
pub(crate) fn add<T: Ord + Copy>(addresses: &mut Vec<T>, new: &[T]) {
    let all: BTreeSet<T> = addresses.iter().chain(new).copied().collect();
    *addresses = all.into_iter().collect();
}

/// Lets `facts` have these ways out as well.
pub(crate) fn admit(facts: &mut Facts, ways: &WaysOut) {
    add(&mut facts.endpoints, &ways.endpoints);
    add(&mut facts.time_servers.ntp, &ways.time_servers.ntp);
    add(&mut facts.time_servers.nts, &ways.time_servers.nts);
    if let Some(resolvers) = &ways.resolvers {
        admit_resolvers(&mut facts.resolvers, resolvers);
    }
}

/// Lets the rules' DNS servers be these as well. No known server means that any may be asked: from there,
/// a list would take away, and to there, everything is admitted.
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
            // No list is every server.
            ("", "10.0.0.2", ""),
            ("10.0.0.1", "", ""),
        ] {
            let mut facts = Facts { resolvers: list(admitted), ..Facts::default() };
            admit(&mut facts, &WaysOut { resolvers: Some(list(configured)), ..WaysOut::default() });
            assert_eq!(facts.resolvers, list(expected), "{admitted} and {configured}");
            let before = facts.clone();
            admit(&mut facts, &WaysOut::default());
            assert_eq!(facts, before, "not looked at");
        }
    }
}
