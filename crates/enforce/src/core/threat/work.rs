//! The threat part with the parts of the run that it uses.

use xshield_firewall::threat::Posture;
use xshield_firewall::{FirewallError, Generation};
use xshield_wire::message::Problem;

use super::failure::ThreatFailure;
use super::part::ThreatPart;
use super::ports::ThreatWorld;
use crate::core::policy::PolicyPart;
use crate::core::result::ThreatChange;
use crate::problems::chain;

/// The part, the policy's part beside it, and the world.
pub(crate) struct ThreatWork<'r, W> {
    pub(crate) threat: &'r mut ThreatPart,
    pub(crate) policy: &'r PolicyPart,
    pub(crate) world: &'r mut W,
}

/// When the kernel was read: the boot, and how many changes the kernel has counted in it, if it counts them.
pub(super) struct Moment {
    pub(super) boot: String,
    generation: Option<u32>,
}

impl<W: ThreatWorld> ThreatWork<'_, W> {
    /// What is to be done about listed peers now; `None` when nobody has said.
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
                self.world.failsafe_without_policy(known)
            }
        };
        Some(Posture { inbound, outbound, failsafe, live: self.policy.live() })
    }

    pub(super) fn failed(&mut self, error: &ThreatFailure) {
        let text = chain(error);
        self.world.progress().failure = Some(text.clone());
        self.note("threat-failed", text);
    }

    pub(super) fn note(&mut self, code: &str, text: String) {
        self.world.note(Problem { code: code.to_owned(), text });
    }

    pub(super) fn changed(&mut self, change: ThreatChange) {
        self.threat.change = change;
    }

    pub(super) fn generation_now(&mut self) -> Result<Moment, FirewallError> {
        let generation = self.threat.table()?.generation()?.map(|Generation(number)| number);
        Ok(Moment { boot: self.world.boot_id(), generation })
    }

    /// Whether the list was found correct, and nothing can have changed it since.
    pub(super) fn is_unchanged_since_seen(&mut self, now: &Moment) -> bool {
        let Some(generation) = now.generation else { return false };
        let seen = self.world.progress().seen.as_ref();
        seen.is_some_and(|(boot, then)| (boot, *then) == (&now.boot, generation))
    }

    /// The list is correct.
    pub(super) fn remember_seen(&mut self, now: Moment) {
        self.world.progress().seen = Some((now.boot, now.generation.unwrap_or_default()));
    }
}
