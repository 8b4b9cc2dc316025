//! The core's interfaces on a real host: kernel, disk, facts, platform.

use std::net::SocketAddr;

use xshield_policy::{Facts, Ruleset};
use xshield_wire::message::{CheckInAnswer, Digest, Problem};
use xshield_wire::telemetry::DebugArea;
use xshield_wire::{RulesetVersion, Verified};

use crate::client::{self, Connection};
use crate::core::known_good::LastKnownGood;
use crate::core::ports::{
    FailsafeAddresses, Fetched, Host, Log, Platform, PolicyStatus, Records, SaveError,
};
use crate::core::threat::ThreatPart;
use crate::exchange::{CheckInState, Exchange};
use crate::os::{self, Capabilities, ListeningSocket};
use crate::problems::chain;
use crate::rollback::{self, SignedState};
use crate::run::Run;
use crate::step::Step;
use crate::{endpoints, facts, reached, threat, time_servers, trace};

/// The other parts of a run, as the policy part uses them.
pub(crate) struct Shell<'r, 'a> {
    pub(crate) run: &'r mut Run<'a>,
    pub(crate) exchange: &'r mut Exchange<'a>,
    pub(crate) threat: &'r ThreatPart,
    /// The listening sockets of this host.
    pub(crate) sockets: &'r [ListeningSocket],
}

impl Shell<'_, '_> {
    fn state_to_report(&self, policy: PolicyStatus) -> CheckInState {
        CheckInState { policy, threat: threat::shell::standing(self.threat, self.run) }
    }
}

impl Records for Shell<'_, '_> {
    fn save(&mut self, known: &LastKnownGood) -> Result<(), SaveError> {
        let written = self.run.state.save_last_known_good(known);
        written.map_err(|error| SaveError { reason: chain(&error) })
    }

    fn raise_floor(&mut self, ruleset: &Verified<Ruleset>) {
        self.run.progress.raise_floor(ruleset);
    }

    fn floor(&self) -> RulesetVersion {
        self.run.progress.ruleset_floor()
    }
}

impl Host<Capabilities> for Shell<'_, '_> {
    fn facts(
        &mut self,
        ruleset: &Ruleset,
        capabilities: &Capabilities,
        known: &[SocketAddr],
    ) -> Facts {
        let Self { run, exchange, .. } = self;
        let endpoints = endpoints::endpoints(run, &exchange.client, known);
        let time_servers = time_servers::time_servers(run);
        let sources = facts::Sources {
            endpoints,
            resolvers: run.environment.os.name_servers(),
            time_servers,
            resolver: run.resolver,
            stale_answers: run.config.stale_answers.as_secs(),
            now: run.now(),
            answers: &mut run.progress.answers,
            sockets: self.sockets,
            capabilities,
        };
        let (facts, told) = facts::facts(ruleset, sources);
        run.problems.extend(told.problems);
        for left in told.left {
            trace::line(DebugArea::Policy, || left.to_string());
            run.left.push(left.to_string());
        }
        facts
    }

    fn configured_failsafe(&mut self) -> FailsafeAddresses {
        let proxies = self.run.config.proxies.as_slice().iter();
        FailsafeAddresses {
            endpoints: proxies.filter_map(|proxy| proxy.address.address()).collect(),
            resolvers: Some(self.run.environment.os.name_servers()),
            ..FailsafeAddresses::default()
        }
    }

    fn resolved_failsafe(&mut self) -> FailsafeAddresses {
        FailsafeAddresses {
            endpoints: endpoints::endpoints(self.run, &self.exchange.client, &[]),
            resolvers: None,
            time_servers: time_servers::time_servers(self.run),
        }
    }

    fn introduce_open_connections(&mut self) {
        os::introduce(self.run);
    }

    fn inspect_forwarding(&mut self, ruleset: &Ruleset, capabilities: &Capabilities) {
        self.run.problems.extend(os::inspect_forwarding(ruleset, capabilities));
    }
}

impl Platform for Shell<'_, '_> {
    fn confirm(&mut self, standing: PolicyStatus) -> Result<(), String> {
        let state_to_report = self.state_to_report(standing);
        let before = self.run.problems.len();
        self.exchange.check_in(self.run, state_to_report, Connection::Fresh);
        if self.exchange.was_reached() {
            return Ok(());
        }
        let found = self.run.problems.drain(before..);
        Err(found.map(|problem| problem.text).collect::<Vec<_>>().join("; "))
    }

    fn correct(&mut self, standing: PolicyStatus) {
        let state_to_report = self.state_to_report(standing);
        self.exchange.check_in(self.run, state_to_report, Connection::Fresh);
    }

    fn ruleset(&mut self, have: Option<Digest>) -> Fetched {
        let client = &mut self.exchange.client;
        match client.ruleset(have) {
            Ok(client::Fetched::Envelope(envelope)) => match client.asset() {
                Some(asset) => Fetched::Envelope(envelope, asset),
                None => Fetched::Nothing,
            },
            Ok(client::Fetched::Unchanged) => Fetched::Unchanged,
            Err(error) => {
                self.exchange.failed(self.run, &error);
                Fetched::Nothing
            }
        }
    }

    fn show_what_is_held(
        &mut self,
        standing: PolicyStatus,
        held: Option<&LastKnownGood>,
    ) -> Option<CheckInAnswer> {
        let state_to_report = self.state_to_report(standing);
        let signed = SignedState { ruleset: held, order: self.threat.order() };
        let evidence = signed.evidence(&self.run.progress);
        self.exchange.show(self.run, state_to_report, evidence)
    }

    fn stays_behind(&mut self, wanted: String, floor: String) {
        rollback::stays_behind(self.run, &wanted, &floor);
    }
}

impl Log for Shell<'_, '_> {
    fn note(&mut self, problem: Problem) {
        self.run.problems.push(problem);
    }

    fn step(&mut self, step: Step) {
        reached::step(step);
    }

    fn trace(&mut self, area: DebugArea, text: &dyn Fn() -> String) {
        trace::line(area, text);
    }
}
