//! nftables as the kernel of the cycle.

use std::time::Duration;

use xshield_firewall::plan::Digest;
use xshield_firewall::{
    Capabilities, Firewall, FirewallError, Generation, LiveGroup, Plan, Trial, plan_with,
};
use xshield_policy::{Bound, Unenforceable};

use crate::core::kernel::{Kernel, KernelRuleset, ReadBack};

impl Kernel for Firewall {
    type Plan = Plan;
    type Capabilities = Capabilities;
    type Trial = Trial;

    const PLACE: &'static str = "table inet xshield";

    fn capabilities(&self) -> &Capabilities {
        self.capabilities()
    }

    fn plan(&self, bound: &Bound, live: Option<LiveGroup>) -> Result<Plan, FirewallError> {
        Ok(plan_with(bound, self.capabilities(), live))
    }

    fn digest(plan: &Plan) -> Digest {
        plan.digest()
    }

    fn unenforceable(plan: &Plan) -> &[Unenforceable] {
        &plan.unenforceable
    }

    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        self.generation().map(Some)
    }

    fn state(&mut self) -> Result<KernelRuleset, FirewallError> {
        Ok(self.state()?.into())
    }

    fn read_back(&mut self, expected: Option<&Plan>) -> Result<ReadBack, FirewallError> {
        Ok(ReadBack::of(self.read_back()?, expected))
    }

    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        self.apply_now(plan)
    }

    fn try_apply(&mut self, plan: &Plan, probation: Duration) -> Result<Trial, FirewallError> {
        self.try_apply(plan, probation)
    }

    fn keep(&mut self, trial: Trial, plan: &Plan) -> Result<ReadBack, FirewallError> {
        Ok(ReadBack::of(self.keep(trial)?, Some(plan)))
    }

    fn revert(&mut self, trial: Trial) -> Result<(), FirewallError> {
        self.revert(trial)
    }
}
