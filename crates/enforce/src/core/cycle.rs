//! The cycle on one page.

use xshield_wire::message::CheckInAnswer;

use super::policy::Failed;

/// What a run does, part by part. Each keeps its own result and notes what goes wrong.
pub(crate) trait Cycle {
    /// What a look at the kernel and the host found.
    type Look;

    /// Makes the kernel's firewall available.
    fn provision(&mut self);

    /// Looks at what the kernel holds and has counted, and at what listens on this host.
    ///
    /// # Errors
    /// When the policy's part can't go on.
    fn look(&mut self) -> Result<Self::Look, Failed>;

    /// Puts back what was proven where others changed it, and opens the ways out.
    ///
    /// # Errors
    /// When the policy's part can't go on.
    fn mend(&mut self, seen: &mut Self::Look) -> Result<(), Failed>;

    /// Sees to it that the kernel holds the threat list that it held.
    fn settle_threats(&mut self);

    /// Says how the host stands, and hears what is pending; `None`: the platform said nothing.
    fn check_in(&mut self) -> Option<CheckInAnswer>;

    /// Brings the ruleset that the platform wants, or the last one when it says nothing, into force.
    fn follow_policy(&mut self, seen: &mut Self::Look, answer: Option<&CheckInAnswer>);

    /// Carries out the threat order that the platform wants, or the last one when it says nothing.
    fn follow_threats(&mut self, answer: Option<&CheckInAnswer>);

    /// Has reported what was seen.
    fn tell(&mut self, seen: Option<Self::Look>);

    /// Sees to it that a restart restores what is in force.
    fn install_boot_unit(&mut self);
}

/// Look, mend, ask, act, tell. What fails in the policy's part keeps the threat list's from nothing, nor the
/// other way round; and what was seen is told whatever failed.
pub(crate) fn enforce(cycle: &mut impl Cycle) {
    cycle.provision();
    let mut seen = cycle.look();
    let mended = match &mut seen {
        Ok(seen) => cycle.mend(seen),
        Err(Failed) => Err(Failed),
    };
    cycle.settle_threats();

    let answer = cycle.check_in();
    if let (Ok(()), Ok(seen)) = (mended, &mut seen) {
        cycle.follow_policy(seen, answer.as_ref());
    }
    cycle.follow_threats(answer.as_ref());

    cycle.tell(seen.ok());
    cycle.install_boot_unit();
}
