//! A filter engine in memory, evaluated by the model of filter arbitration.

use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, Ruling, Unknown, classify,
};
use xshield_firewall::wfp::model::{EngineState, Flags};
use xshield_firewall::wfp::program::Programs;
use xshield_firewall::wfp::reading::{
    CalloutBlock, ClearRight, EqualWeight, HardPermit, NegativeOnEmpty, Reading, SameField,
};
use xshield_firewall::wfp::{WfpFirewall, difference, traffic};

use super::*;

/// Two readings of the documentation that agree on nothing except on packets that no filter matches.
const READINGS: [Reading; 2] = [
    Reading::USUAL,
    Reading {
        clear_right: ClearRight::ClearedIsHard,
        hard_permit: HardPermit::YieldsToAnyBlock,
        callout_block: CalloutBlock::Hard,
        same_field: SameField::All,
        equal_weight: EqualWeight::LastAdded,
        negative_on_empty: NegativeOnEmpty::Fails,
        ..Reading::USUAL
    },
];

pub(in crate::core::tests) type Wfp = WfpFirewall<EngineState>;

impl Model for Wfp {
    const AT_BOOT: AtBoot = AtBoot::Kept;
    const SCOPE: Scope = Scope::Policy;

    fn new() -> Self {
        Self::new(EngineState::default())
    }

    fn verdicts(&self) -> Verdicts {
        let assumption =
            Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };
        let verdict = |packet: &Packet| {
            let forms = traffic::classifications(packet, &Programs::new());
            let rulings = forms.iter().flat_map(|(layer, facts)| {
                READINGS.iter().map(|reading| {
                    let at = (EnginePhase::Running, assumption);
                    classify(self.engine(), layer, facts, at, reading).ruling
                })
            });
            let rulings: Vec<Ruling> = rulings.collect();
            assert!(rulings.iter().all(|ruling| *ruling == rulings[0]), "{packet}: {rulings:?}");
            match rulings[0] {
                Ruling::Permit => Verdict::Allow,
                Ruling::Block => Verdict::Deny,
            }
        };
        probes().iter().map(verdict).collect()
    }

    /// The filter engine has no timers.
    fn time_passes(&mut self) {}

    fn program_ends(&mut self) {
        self.engine_mut().end_session();
    }

    fn reboot(&mut self, _: Option<&LastKnownGood>) {
        let lasts = |flags: Flags| {
            [Flags::PERSISTENT, Flags::BOOT_TIME].into_iter().any(|flag| flags.contains(flag))
        };
        self.engine_mut().filters.retain(|filter| lasts(filter.flags));
    }

    fn is_removed(&mut self) {
        let state = self.engine_mut();
        state.end_session();
        let nothing = difference(None, state).transaction();
        state.commit(&nothing).unwrap();
    }

    /// Another program deletes a filter that decides about none of the probes.
    fn is_disturbed(&mut self) {
        let filters = &mut self.engine_mut().filters;
        let at = filters.iter().position(|filter| filter.name.ends_with("failsafe/dhcp"));
        at.map(|at| filters.remove(at));
    }

    fn counts_a_packet(&mut self) -> bool {
        false
    }
}
