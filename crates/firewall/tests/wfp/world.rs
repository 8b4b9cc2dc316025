//! Shared by the tests of WFP: programs, states with a plan in them, and verdicts under every reading.

use std::time::Duration;

use xshield_firewall::wfp::eval::{
    Assumption, CalloutAnswer, EnginePhase, LayerDecision, Ruling, Unknown, classify_all,
};
use xshield_firewall::wfp::matching::PacketFacts;
use xshield_firewall::wfp::model::{EngineState, Filter, ObjectKey};
use xshield_firewall::wfp::names::Layer;
use xshield_firewall::wfp::ours::{self, Tier};
use xshield_firewall::wfp::program::{AppId, LocalProgram, Programs, Sid};
use xshield_firewall::wfp::reading::Reading;
use xshield_firewall::wfp::{
    EngineAction, EngineError, EngineFault, FilterEngine, Guid, Plan, Transaction, traffic,
};
use xshield_policy::{Bound, Owner, Packet, Verdict, decide};

/// Nothing to assume: no callout, no unknown field.
pub(crate) const PLAIN: Assumption =
    Assumption { callouts: CalloutAnswer::Continues, unknown: Unknown::Differs };

/// The owners that random rulesets name, as Windows would identify them.
pub(crate) fn programs() -> Programs {
    let sid = |n: u32| Sid::try_from(format!("S-1-5-80-{n}")).unwrap();
    let app =
        |name: &str| AppId::try_from(format!(r"\device\harddiskvolume2\a\{name}.exe")).unwrap();
    [
        (Owner::Uid(0), LocalProgram::Identity(sid(0))),
        (Owner::Uid(1), LocalProgram::Both(app("svchost"), sid(1))),
        (Owner::Cgroup("system.slice/a.service".into()), LocalProgram::App(app("a"))),
    ]
    .into()
}

/// The filter engine with our objects and these filters.
pub(crate) fn state(filters: impl IntoIterator<Item = Filter>) -> EngineState {
    EngineState {
        providers: vec![ours::provider()],
        sublayers: vec![ours::sublayer()],
        filters: filters.into_iter().collect(),
        dynamic: [].into(),
    }
}

/// The filter engine with a plan in force.
pub(crate) fn holding(plan: &Plan) -> EngineState {
    state(plan.filters_in(Tier::Kept))
}

/// The filters that decide about a packet, layer by layer, reading by reading.
pub(crate) fn outcomes<'a>(
    state: &'a EngineState,
    (layer, facts): &(Layer, PacketFacts),
    phase: EnginePhase,
) -> Vec<(Reading, LayerDecision<'a>)> {
    classify_all(state, layer, facts, (phase, PLAIN))
}

/// The policy's verdict on a packet, as the filter engine's ruling.
pub(crate) fn wanted(bound: &Bound, packet: &Packet) -> Ruling {
    match decide(bound, packet).verdict {
        Verdict::Deny => Ruling::Block,
        Verdict::Allow | Verdict::WouldDeny => Ruling::Permit,
    }
}

/// A difference between policy and the filter engine, as text.
pub(crate) fn difference(
    state: &EngineState,
    packet: &Packet,
    phase: EnginePhase,
    wanted: Ruling,
) -> Result<(), String> {
    for form in traffic::classifications(packet, &programs()) {
        for (reading, outcome) in outcomes(state, &form, phase) {
            if outcome.ruling != wanted {
                let (layer, by) = (&form.0, outcome.by);
                return Err(format!(
                    "{packet} at {layer}, {phase:?}: want {wanted:?}, got {:?} under {reading:?} by {by:#?}",
                    outcome.ruling
                ));
            }
        }
    }
    Ok(())
}

/// How a call of the engine fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure {
    /// Before anything was done.
    Refused,
    /// After all was done: the answer is lost.
    Unanswered,
}

/// An engine of which one call fails.
pub(crate) struct Failing {
    pub(crate) engine: EngineState,
    pub(crate) calls: usize,
    pub(crate) at: usize,
    pub(crate) failure: Failure,
}

impl Failing {
    fn perform<T>(
        &mut self,
        action: EngineAction,
        act: impl FnOnce(&mut EngineState) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.calls += 1;
        let fails = self.calls == self.at + 1;
        match (fails, self.failure) {
            (false, _) => act(&mut self.engine),
            (true, Failure::Refused) => Err(EngineFault::TimedOut.of(action)),
            (true, Failure::Unanswered) => {
                act(&mut self.engine)?;
                Err(EngineFault::SessionEnded.of(EngineAction::Commit))
            }
        }
    }
}

impl FilterEngine for Failing {
    fn read(&mut self) -> Result<EngineState, EngineError> {
        self.perform(EngineAction::Begin, FilterEngine::read)
    }

    fn limit_session(&mut self, limit: Duration) -> Result<(), EngineError> {
        self.perform(EngineAction::LimitSession, |engine| engine.limit_session(limit))
    }

    fn objects(&mut self) -> Result<EngineState, EngineError> {
        self.perform(EngineAction::Begin, FilterEngine::objects)
    }

    fn each_filter_of(
        &mut self,
        provider: Guid,
        layer: &Layer,
        each: &mut dyn FnMut(&Filter),
    ) -> Result<(), EngineError> {
        self.perform(EngineAction::Begin, |engine| engine.each_filter_of(provider, layer, each))
    }

    fn filters_by_key(&mut self, keys: &[ObjectKey]) -> Result<Vec<Filter>, EngineError> {
        self.perform(EngineAction::Begin, |engine| engine.filters_by_key(keys))
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError> {
        self.perform(EngineAction::Begin, |engine| engine.commit(transaction))
    }

    fn end_session(&mut self) -> Result<(), EngineError> {
        self.perform(EngineAction::EndSession, FilterEngine::end_session)
    }
}
