//! Before the check-in: the last-known-good ruleset is in force, and the addresses needed to reach the
//! platform are admitted.

use xshield_policy::Owner;
use xshield_wire::message::Problem;
use xshield_wire::telemetry::DebugArea;

use super::inspection::{Found, LastReadBack, drift_text, inspect};
use super::kernel::Kernel;
use super::policy::{Damage, PolicyPart, before_a_first_ruleset};
use super::ports::{World, admit};
use super::result::RulesetChange;
use super::ruleset_state::RulesetStateError;
use crate::problems::problem;
use crate::step::Step;

impl PolicyPart {
    /// Checks whether the kernel holds what the last run left. Costs nothing if no rule was changed since.
    pub(crate) fn inspect<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
        last: LastReadBack,
    ) -> Result<(), RulesetStateError> {
        let generation = kernel.generation()?;
        let Some(known) = self.ruleset_state.proven() else { return Ok(()) };
        // A restarted unit has another cgroup under the same name: our table is unchanged, but no longer
        // correct.
        let owners = known.facts.owners.values().flatten().flatten();
        let by_cgroup = owners.into_iter().any(|owner| matches!(owner, Owner::Cgroup(_)));
        if !by_cgroup && generation.is_some_and(|generation| last == LastReadBack::At(generation)) {
            self.ruleset_state.seen();
            return Ok(());
        }
        self.damage = match inspect(kernel, known, last) {
            Err(error) if error.is_busy() => {
                world.note(problem("not-read", &error));
                Damage::Unread
            }
            Err(error) => return Err(error.into()),
            Ok(Found::Whole) => {
                self.ruleset_state.seen();
                Damage::None
            }
            // A run was killed before it had read back the ruleset.
            Ok(Found::Missing) => Damage::Found,
            Ok(Found::Unfinished) => {
                let text = "the last run was stopped while a ruleset was on trial".to_owned();
                world.note(Problem { code: "trial-unfinished".to_owned(), text });
                Damage::Found
            }
            Ok(Found::Other(differences)) => {
                let text = drift_text(&differences);
                world.note(Problem { code: "drift".to_owned(), text });
                Damage::Found
            }
        };
        Ok(())
    }

    /// Checks the same without changing anything, on a host whose firewall is not ours to change.
    pub(crate) fn look_only<K: Kernel>(&mut self, kernel: &mut K, last: LastReadBack) {
        if let Some(known) = self.ruleset_state.proven()
            && matches!(inspect(kernel, known, last), Ok(Found::Whole))
        {
            self.ruleset_state.seen();
        }
    }

    /// Restores what others changed before anything slow is done: no answer of the platform is needed for
    /// that. Then admits new addresses that the host needs.
    pub(crate) fn repair<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World<K::Capabilities>,
    ) -> Result<(), RulesetStateError> {
        if self.damage == Damage::Found && self.proven().is_some() {
            before_a_first_ruleset(kernel, world)?;
            self.ruleset_state.put_back(kernel)?;
            world
                .trace(DebugArea::Rules, &|| "the last-known-good ruleset was restored".to_owned());
            world.step(Step::Repaired);
            self.damage = Damage::None;
            self.change = RulesetChange::Repaired;
        }
        self.let_new_ways_through(kernel, world)
    }

    /// Admits addresses to which the host's configuration has changed since the last run: another proxy,
    /// another address of the platform's name, another DNS server. This comes before the check-in, since the
    /// rules in force could otherwise block every connection over which the host would learn of better ones.
    /// The addresses that are known without asking anyone come first; the others are resolved by means of
    /// those.
    fn let_new_ways_through<K: Kernel, W: World<K::Capabilities>>(
        &mut self,
        kernel: &mut K,
        world: &mut W,
    ) -> Result<(), RulesetStateError> {
        for ways in [W::configured_failsafe, W::resolved_failsafe] {
            let Some(known) = self.ruleset_state.proven() else { return Ok(()) };
            let mut facts = known.facts.clone();
            admit(&mut facts, &ways(world));
            if facts != known.facts {
                self.ruleset_state.put_back_with(facts, kernel, world)?;
                self.change = RulesetChange::Applied;
            }
        }
        Ok(())
    }
}
