//! Before the platform is asked: what was proven is in force, and the ways out are open.

use xshield_firewall::FirewallError;
use xshield_policy::Owner;
use xshield_wire::message::Problem;
use xshield_wire::telemetry::DebugArea;

use super::holding::HoldingError;
use super::policy::{Damage, PolicyPart, before_a_first_ruleset};
use super::ports::{Kernel, World, admit};
use super::result::Change;
use super::sight::{Found, LastSeen, drift_text, look};
use crate::problems::problem;
use crate::step::Step;

impl PolicyPart {
    /// Looks whether the kernel holds what the last run left. Free when nobody changed any rule since.
    pub(crate) fn look<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World,
        last: LastSeen,
    ) -> Result<(), HoldingError> {
        let generation = kernel.generation()?;
        let Some(known) = self.holding.proven() else { return Ok(()) };
        // A unit that was started anew has another cgroup under the same name: no one changed our
        // table, and yet it has to be looked at.
        let owners = known.facts.owners.values().flatten().flatten();
        let by_cgroup = owners.into_iter().any(|owner| matches!(owner, Owner::Cgroup(_)));
        if !by_cgroup && last == LastSeen::At(generation) {
            self.holding.seen();
            return Ok(());
        }
        self.damage = match look(kernel, known, last) {
            Err(error @ FirewallError::Busy { .. }) => {
                world.note(problem("not-read", &error));
                Damage::Unread
            }
            Err(error) => return Err(error.into()),
            Ok(Found::Whole) => {
                self.holding.seen();
                Damage::None
            }
            // A run was killed before it had read back what it had proven.
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

    /// Looks, too, and leaves everything as it is: on a host that is not ours to change.
    pub(crate) fn look_only<K: Kernel>(&mut self, kernel: &mut K, last: LastSeen) {
        if let Some(known) = self.holding.proven()
            && matches!(look(kernel, known, last), Ok(Found::Whole))
        {
            self.holding.seen();
        }
    }

    /// Puts back what someone else changed, before anything slow is done: the platform is not asked for
    /// what was already proven. Then lets the new ways out through.
    pub(crate) fn mend<K: Kernel>(
        &mut self,
        kernel: &mut K,
        world: &mut impl World,
    ) -> Result<(), HoldingError> {
        if self.damage == Damage::Found && self.proven().is_some() {
            before_a_first_ruleset(kernel, world)?;
            self.holding.put_back(kernel)?;
            world.trace(DebugArea::Rules, &|| "the proven ruleset was put back".to_owned());
            world.step(Step::Repaired);
            self.damage = Damage::None;
            self.change = Change::Repaired;
        }
        self.let_new_ways_through(kernel, world)
    }

    /// Lets through what this host was pointed to since the last run. This comes before the check-in: the
    /// rules in force would keep the host from ever hearing of better ones, where it has another proxy,
    /// where the platform's name resolves to another address, and where the DNS server that is to tell so
    /// is another one. First what is known without asking anyone; the rest is asked by way of it.
    fn let_new_ways_through<K: Kernel, W: World>(
        &mut self,
        kernel: &mut K,
        world: &mut W,
    ) -> Result<(), HoldingError> {
        for ways in [W::configured_ways, W::resolved_ways] {
            let Some(known) = self.holding.proven() else { return Ok(()) };
            let mut facts = known.facts.clone();
            admit(&mut facts, &ways(world));
            if facts != known.facts {
                self.holding.put_back_with(facts, kernel, world)?;
                self.change = Change::Applied;
            }
        }
        Ok(())
    }
}
