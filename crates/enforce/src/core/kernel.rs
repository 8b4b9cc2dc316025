//! The kernel's firewall, as far as the core needs it: nftables, or the Windows Filtering Platform.

use std::time::Duration;

use xshield_firewall::plan::Digest as PlanDigest;
use xshield_firewall::{
    Drift, FirewallError, Generation, KernelState, LiveGroup, Plan, Programmed,
};
use xshield_policy::{Bound, Unenforceable};
use xshield_wire::message::Problem;

/// Which of our rulesets the kernel holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelRuleset {
    /// None.
    Nothing,
    /// One, for good; the digest of its plan.
    InForce(PlanDigest),
    /// One on trial, expired or not.
    OnTrial,
    /// Something that we did not install.
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl From<KernelState> for KernelRuleset {
    fn from(state: KernelState) -> Self {
        match state {
            KernelState::Absent => Self::Nothing,
            KernelState::InForce(standing) => Self::InForce(standing.digest),
            KernelState::Trial { .. } => Self::OnTrial,
            KernelState::Damaged { what } => Self::Damaged { what },
        }
    }
}

/// A ruleset as it was read from the kernel.
#[derive(Debug, Clone)]
pub struct ReadBack {
    /// What was read.
    pub programmed: Programmed,
    /// How it differs from the plan that it was compared with.
    pub differences: Vec<Drift>,
}

impl ReadBack {
    /// A ruleset of nftables, compared with a plan.
    #[must_use]
    pub fn of(programmed: Programmed, expected: Option<&Plan>) -> Self {
        let differences = expected.map(|plan| programmed.differences(plan)).unwrap_or_default();
        Self { programmed, differences }
    }
}

/// The policy's part of this host's firewall. Every change takes effect as a whole or not at all.
pub trait Kernel {
    /// A ruleset in the form that this kernel takes.
    type Plan;

    /// The properties of the kernel on which a plan and the host's facts depend.
    type Capabilities;

    /// A ruleset in force for a limited time.
    type Trial;

    /// Where the kernel keeps our ruleset, for messages.
    const PLACE: &'static str;

    /// What the kernel can do.
    fn capabilities(&self) -> &Self::Capabilities;

    /// The plan of a ruleset for this kernel. `live`: the log group to which denied packets are sent.
    ///
    /// # Errors
    /// When the ruleset is too large for this kernel.
    fn plan(&self, bound: &Bound, live: Option<LiveGroup>) -> Result<Self::Plan, FirewallError>;

    /// Identifies what a plan makes the kernel do.
    fn digest(plan: &Self::Plan) -> PlanDigest;

    /// The rules that a plan leaves out because this kernel can't enforce them as written.
    fn unenforceable(plan: &Self::Plan) -> &[Unenforceable];

    /// Other parts of the ruleset that a plan leaves out.
    fn omissions(_: &Self::Plan) -> Vec<Problem> {
        Vec::new()
    }

    /// A number that changes with every change of any table; `None` if the kernel does not count changes.
    ///
    /// # Errors
    /// When the kernel can't be read.
    fn generation(&mut self) -> Result<Option<Generation>, FirewallError>;

    /// Which ruleset the kernel holds.
    ///
    /// # Errors
    /// When the kernel can't be read.
    fn state(&mut self) -> Result<KernelRuleset, FirewallError>;

    /// Reads the complete ruleset in force and compares it with `expected`.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    fn read_back(&mut self, expected: Option<&Self::Plan>) -> Result<ReadBack, FirewallError>;

    /// Puts a ruleset in force for good.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    fn apply_now(&mut self, plan: &Self::Plan) -> Result<(), FirewallError>;

    /// Puts a ruleset in force for a limited time, after which the kernel reverts to the previous one.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is changed then.
    fn try_apply(
        &mut self,
        plan: &Self::Plan,
        probation: Duration,
    ) -> Result<Self::Trial, FirewallError>;

    /// Keeps a ruleset on trial for good. `plan`: the one that was tried.
    ///
    /// # Errors
    /// When its time has expired, or the kernel refuses.
    fn keep(&mut self, trial: Self::Trial, plan: &Self::Plan) -> Result<ReadBack, FirewallError>;

    /// Reverts a trial before its time expires.
    ///
    /// # Errors
    /// When the kernel holds something else, or refuses.
    fn revert(&mut self, trial: Self::Trial) -> Result<(), FirewallError>;
}
