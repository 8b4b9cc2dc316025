//! The simulated kernel: a kernel in memory, of which any call can fail.

use super::*;

/// The ruleset in force after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core::tests) enum AtBoot {
    /// The one on disk: the boot unit restores it.
    Restored,
    /// The one that was in force: its rules are persistent.
    Kept,
}

/// What is tested with a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core::tests) enum Scope {
    /// All behaviours of the platform.
    Everything,
    /// Those that concern the policy: the rest is the same with every kernel.
    Policy,
}

/// A kernel in memory, and events that runs do not cause.
pub(in crate::core::tests) trait Model:
    Kernel<Capabilities: Clone> + Clone + 'static
{
    /// Which ruleset is in force when the host has restarted.
    const AT_BOOT: AtBoot;

    /// What is tested with it.
    const SCOPE: Scope;

    /// Without any ruleset.
    fn new() -> Self;

    /// What it does to the probes now.
    fn verdicts(&self) -> Verdicts;

    /// A trial expires.
    fn time_passes(&mut self);

    /// The program that used it ends or is killed.
    fn program_ends(&mut self);

    /// The host restarts. `known`: the ruleset on disk.
    fn reboot(&mut self, known: Option<&LastKnownGood>);

    /// Another program deletes our rules.
    fn is_removed(&mut self);

    /// Another program adds something to our rules.
    fn is_disturbed(&mut self);

    /// A packet matches the rule that opens the ruleset's port. Returns whether it is counted.
    fn counts_a_packet(&mut self) -> bool;
}

pub(super) fn refused(fault: Fault) -> FirewallError {
    let action = "doing it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => {
            let source = io::Error::from_raw_os_error(12);
            FirewallError::Refused { action, source, hint: String::new() }
        }
    }
}

/// The error of reading while others change the table faster than it is read.
pub(super) fn unread(fault: Fault) -> FirewallError {
    let action = "reading it";
    match fault {
        Fault::Unanswered => FirewallError::NoAnswer { action },
        _ => FirewallError::Busy { action },
    }
}

/// The kernel of a world, as a run has it.
pub(super) struct FakeKernel<M: Model> {
    world: World<M>,
    capabilities: M::Capabilities,
}

impl<M: Model> FakeKernel<M> {
    pub(super) fn of(world: &World<M>) -> Self {
        let capabilities = world.0.borrow().kernel.capabilities().clone();
        Self { world: world.clone(), capabilities }
    }

    fn read<T>(
        &self,
        call: Call,
        read: impl FnOnce(&mut M) -> Result<T, FirewallError>,
    ) -> Result<T, FirewallError> {
        self.world.perform(call, |sim| read(&mut sim.kernel), |fault| Err(unread(fault)))
    }

    fn change<T>(
        &self,
        call: Call,
        change: impl FnOnce(&mut M) -> Result<T, FirewallError>,
    ) -> Result<T, FirewallError> {
        self.world.perform(call, |sim| change(&mut sim.kernel), |fault| Err(refused(fault)))
    }
}

impl<M: Model> Kernel for FakeKernel<M> {
    type Plan = M::Plan;
    type Capabilities = M::Capabilities;
    type Trial = M::Trial;

    const PLACE: &'static str = M::PLACE;

    fn capabilities(&self) -> &M::Capabilities {
        &self.capabilities
    }

    fn plan(&self, bound: &Bound, live: Option<LiveGroup>) -> Result<M::Plan, FirewallError> {
        self.world.0.borrow().kernel.plan(bound, live)
    }

    fn digest(plan: &M::Plan) -> PlanDigest {
        M::digest(plan)
    }

    fn unenforceable(plan: &M::Plan) -> &[Unenforceable] {
        M::unenforceable(plan)
    }

    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        self.read(Call::Generation, M::generation)
    }

    fn state(&mut self) -> Result<KernelRuleset, FirewallError> {
        self.read(Call::State, M::state)
    }

    fn read_back(&mut self, expected: Option<&M::Plan>) -> Result<ReadBack, FirewallError> {
        self.read(Call::ReadBack, |kernel| kernel.read_back(expected))
    }

    fn apply_now(&mut self, plan: &M::Plan) -> Result<(), FirewallError> {
        self.change(Call::ApplyNow, |kernel| kernel.apply_now(plan))
    }

    fn try_apply(
        &mut self,
        plan: &M::Plan,
        probation: Duration,
    ) -> Result<M::Trial, FirewallError> {
        self.change(Call::TryApply, |kernel| kernel.try_apply(plan, probation))
    }

    fn keep(&mut self, trial: M::Trial, plan: &M::Plan) -> Result<ReadBack, FirewallError> {
        self.change(Call::Keep, |kernel| kernel.keep(trial, plan))
    }

    fn revert(&mut self, trial: M::Trial) -> Result<(), FirewallError> {
        self.change(Call::Revert, |kernel| kernel.revert(trial))
    }
}
