//! The threat part with the parts of the run that it uses.

use xshield_firewall::threat::Posture;
use xshield_firewall::{FirewallError, Generation};
use xshield_policy::BoundFailsafe;
use xshield_wire::message::Problem;

use super::error::ThreatFailure;
use super::part::ThreatPart;
use crate::core::policy::PolicyPart;
use crate::endpoints;
use crate::exchange::Exchange;
use crate::outcome::ThreatChange;
use crate::problems::chain;
use crate::run::Run;

/// The threat part, and the other parts that it uses.
pub(crate) struct ThreatWork<'r, 'a> {
    pub(crate) threat: &'r mut ThreatPart,
    pub(crate) run: &'r mut Run<'a>,
    pub(crate) exchange: &'r mut Exchange<'a>,
    pub(crate) policy: &'r PolicyPart,
    /// Before the first rules: tells connection tracking which side opened the open connections.
    pub(crate) introduce: fn(&mut Run<'_>),
}

impl ThreatWork<'_, '_> {
    /// The posture towards listed peers; `None` without an order.
    pub(super) fn posture(&mut self) -> Option<Posture> {
        let last = self.threat.lists.posture.clone();
        let (inbound, outbound) = match (&self.threat.order, &last) {
            (Some(order), _) => (order.inbound, order.outbound),
            (None, Some(last)) => (last.inbound, last.outbound),
            (None, None) => return None,
        };
        let failsafe = match self.policy.proven() {
            Some(known) => known.ruleset.bind_failsafe(&known.facts),
            None => {
                let known = last.as_ref().map_or(&[][..], |last| &last.failsafe.endpoints);
                let resolvers = self.run.surroundings.os.name_servers();
                BoundFailsafe::bare(
                    endpoints::endpoints(self.run, &self.exchange.client, known),
                    &resolvers,
                )
            }
        };
        Some(Posture { inbound, outbound, failsafe, live: self.policy.live() })
    }

    pub(super) fn failed(&mut self, error: &ThreatFailure) {
        let text = chain(error);
        self.run.progress.threat.failure = Some(text.clone());
        let failed = Problem { code: "threat-failed".to_owned(), text };
        if !self.run.problems.contains(&failed) {
            self.run.problems.push(failed);
        }
    }

    pub(super) fn changed(&mut self, change: ThreatChange) {
        self.threat.change = change;
    }

    pub(super) fn generation_now(&mut self) -> Result<(String, u32), FirewallError> {
        let Generation(generation) = self.threat.table()?.generation()?;
        Ok((self.run.host.boot_id.clone(), generation))
    }
}
