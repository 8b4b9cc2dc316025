//! The cycle on one page.

use xshield_wire::message::CheckInAnswer;

use super::policy::Failed;

/// The parts of a run. Each keeps its own result and reports what fails.
pub(crate) trait Cycle {
    /// What was read from the kernel and the host.
    type Inspection;

    /// Makes the kernel's firewall available.
    fn provision(&mut self);

    /// Reads the kernel's ruleset and counters, and the listening ports of this host.
    ///
    /// # Errors
    /// When the policy part can't continue.
    fn inspect(&mut self) -> Result<Self::Inspection, Failed>;

    /// Restores the last-known-good ruleset where others changed it, and admits the addresses that the host
    /// needs to reach the platform.
    ///
    /// # Errors
    /// When the policy part can't continue.
    fn repair(&mut self, seen: &mut Self::Inspection) -> Result<(), Failed>;

    /// Ensures that the kernel holds the threat list that the last run left.
    fn settle_threats(&mut self);

    /// Reports the host's state, and returns what is pending; `None`: the platform did not answer.
    fn check_in(&mut self) -> Option<CheckInAnswer>;

    /// Puts the ruleset that the platform wants in force, or the last one if the platform did not answer.
    fn follow_policy(&mut self, seen: &mut Self::Inspection, answer: Option<&CheckInAnswer>);

    /// Carries out the threat order that the platform wants, or the last one if the platform did not answer.
    fn follow_threats(&mut self, answer: Option<&CheckInAnswer>);

    /// Reports what was observed.
    fn report_observations(&mut self, seen: Option<Self::Inspection>);

    /// Ensures that a restart restores what is in force.
    fn install_boot_unit(&mut self);
}

/// Reads, repairs, checks in, enforces, reports. A failure in the policy part does not stop the threat part,
/// or the reverse; observations are reported whatever failed.
pub(crate) fn enforce(cycle: &mut impl Cycle) {
    cycle.provision();
    let mut seen = cycle.inspect();
    let repaired = match &mut seen {
        Ok(seen) => cycle.repair(seen),
        Err(Failed) => Err(Failed),
    };
    cycle.settle_threats();

    let answer = cycle.check_in();
    if let (Ok(()), Ok(seen)) = (repaired, &mut seen) {
        cycle.follow_policy(seen, answer.as_ref());
    }
    cycle.follow_threats(answer.as_ref());

    cycle.report_observations(seen.ok());
    cycle.install_boot_unit();
}

/// How a run ends: what was found is reported, and what the next run is to know is written.
pub(crate) trait Conclusion {
    /// Why the run's findings could not be made to outlive it.
    type Error;

    /// Reports to the platform, in a check-in, what was found since the last one.
    fn report_the_rest(&mut self);

    /// Writes positions and outbox to disk, in one file.
    ///
    /// # Errors
    /// When they can't be written: then the next run reads from the positions before.
    fn save(&mut self) -> Result<(), Self::Error>;

    /// Moves the outbox into the spool.
    ///
    /// # Errors
    /// When the spool can't be written: then the next run moves it.
    fn fill_spool(&mut self) -> Result<(), Self::Error>;

    /// Delivers what waits in the spool.
    fn deliver(&mut self);

    /// Collects and uploads the diagnostics that are wanted.
    ///
    /// # Errors
    /// When what became of them can't be written.
    fn serve_diagnostics(&mut self) -> Result<(), Self::Error>;

    /// Writes to disk what delivery has changed.
    ///
    /// # Errors
    /// When it can't be written.
    fn save_again(&mut self) -> Result<(), Self::Error>;
}

/// Nothing is delivered before it is on disk together with the position up to which it was read.
pub(crate) fn conclude<C: Conclusion>(run: &mut C) -> Result<(), C::Error> {
    run.report_the_rest();
    run.save()?;
    run.fill_spool()?;
    run.deliver();
    run.serve_diagnostics()?;
    run.save_again()
}
