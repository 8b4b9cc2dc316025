//! The Windows Filtering Platform as the kernel of the cycle.

use std::time::Duration;

use xshield_firewall::plan::Digest;
use xshield_firewall::wfp::program::programs_of;
use xshield_firewall::wfp::{
    FilterEngine, Omission, Plan, PolicyState, ReadPlan, WfpFirewall, WfpTrial, plan,
};
use xshield_firewall::{FirewallError, Generation, LiveGroup};
use xshield_policy::{Bound, Unenforceable};
use xshield_wire::message::Problem;

use crate::core::kernel::{Kernel, KernelRuleset, ReadBack};

/// A host whose firewall is the filter engine: plans depend on nothing but the ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterEngineHost;

impl<E: FilterEngine> Kernel for WfpFirewall<E> {
    type Plan = Plan;
    type Capabilities = FilterEngineHost;
    type Trial = WfpTrial;

    const PLACE: &'static str = "the policy in the filter engine";

    fn capabilities(&self) -> &FilterEngineHost {
        &FilterEngineHost
    }

    /// Windows has no log groups: denied packets are in the Security log.
    fn plan(&self, bound: &Bound, _: Option<LiveGroup>) -> Result<Plan, FirewallError> {
        Ok(plan(bound, &programs_of(bound))?)
    }

    fn digest(plan: &Plan) -> Digest {
        plan.digest()
    }

    fn unenforceable(plan: &Plan) -> &[Unenforceable] {
        &plan.unenforceable
    }

    fn omissions(plan: &Plan) -> Vec<Problem> {
        let code = |omission: &Omission| match omission {
            Omission::Forwarded => "forwarded-unenforceable",
            Omission::Tested(_) => "tested-unenforceable",
        };
        let problem = |omission: &Omission| Problem {
            code: code(omission).to_owned(),
            text: omission.to_string(),
        };
        plan.omissions.iter().map(problem).collect()
    }

    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        Ok(None)
    }

    fn state(&mut self) -> Result<KernelRuleset, FirewallError> {
        Ok(match self.state()? {
            PolicyState::Absent => KernelRuleset::Nothing,
            PolicyState::InForce(plan) => KernelRuleset::InForce(plan.digest),
            PolicyState::Trial { .. } => KernelRuleset::OnTrial,
            PolicyState::Damaged { what } => KernelRuleset::Damaged { what },
        })
    }

    fn read_back(&mut self, expected: Option<&Plan>) -> Result<ReadBack, FirewallError> {
        self.read_back(expected).map(ReadBack::from)
    }

    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        self.apply_now(plan)
    }

    /// The filter engine has no timers: the trial ends with this program, which does not outlive the
    /// probation unless the trial has ended.
    fn try_apply(&mut self, plan: &Plan, probation: Duration) -> Result<WfpTrial, FirewallError> {
        self.try_apply(plan, probation)
    }

    fn keep(&mut self, trial: WfpTrial, plan: &Plan) -> Result<ReadBack, FirewallError> {
        self.keep(&trial, plan).map(ReadBack::from)
    }

    fn revert(&mut self, trial: WfpTrial) -> Result<(), FirewallError> {
        self.revert(&trial)
    }
}

impl From<ReadPlan> for ReadBack {
    fn from(read: ReadPlan) -> Self {
        Self { programmed: read.programmed, differences: read.differences }
    }
}
