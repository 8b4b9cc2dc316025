//! nftables in memory: two slots and a trial that expires, evaluated by the interpreter of plans.

use xshield_firewall::plan::eval::eval;
use xshield_firewall::programmed::Action;
use xshield_firewall::{
    Capabilities, Hit, InstalledRuleset, KernelState, Plan, Programmed, Slot, plan_with,
};

use super::*;

/// A ruleset in a slot.
#[derive(Clone)]
struct Entry {
    slot: Slot,
    plan: Rc<Plan>,
    digest: PlanDigest,
    hits: u64,
}

impl Entry {
    fn new(slot: Slot, plan: &Plan) -> Self {
        Self { slot, plan: Rc::new(plan.clone()), digest: plan.digest(), hits: 0 }
    }

    fn installed(&self) -> InstalledRuleset {
        InstalledRuleset {
            slot: self.slot,
            revision: self.plan.revision,
            digest: self.digest,
            capabilities: Capabilities::FULL,
        }
    }
}

#[derive(Clone, Default)]
struct Table {
    settled: Option<Entry>,
    trial: Option<Entry>,
    /// The trial has expired.
    over: bool,
    /// Another program added a chain to our table.
    foreign: bool,
}

impl Table {
    fn in_force(&self) -> Option<&Entry> {
        self.trial.as_ref().filter(|_| !self.over).or(self.settled.as_ref())
    }

    fn free_slot(&self) -> Slot {
        self.settled.as_ref().map_or(Slot::A, |entry| entry.slot.other())
    }
}

/// The table and the kernel's count of changes.
#[derive(Clone)]
pub(in crate::core::tests) struct Nft {
    table: Table,
    generation: u32,
}

impl Model for Nft {
    const AT_BOOT: AtBoot = AtBoot::Restored;
    const SCOPE: Scope = Scope::Everything;

    fn new() -> Self {
        Self { table: Table::default(), generation: 1 }
    }

    fn verdicts(&self) -> Verdicts {
        let Some(entry) = self.table.in_force() else { return all_open() };
        let Plan { sets, chains, .. } = &*entry.plan;
        probes().iter().map(|packet| eval(sets, chains, packet).verdict).collect()
    }

    fn time_passes(&mut self) {
        self.table.over = self.table.trial.is_some();
    }

    /// A trial continues until it expires.
    fn program_ends(&mut self) {}

    /// The kernel loses everything; the boot unit restores what is on disk.
    fn reboot(&mut self, known: Option<&LastKnownGood>) {
        self.is_removed();
        let plan = known.map(|known| known.plan(self).unwrap());
        self.table.settled = plan.map(|plan| Entry::new(Slot::A, &plan));
    }

    fn is_removed(&mut self) {
        self.table = Table::default();
        self.generation += 1;
    }

    fn is_disturbed(&mut self) {
        self.table.foreign = self.table.in_force().is_some();
        self.generation += 1;
    }

    fn counts_a_packet(&mut self) -> bool {
        let Table { settled, trial, over, .. } = &mut self.table;
        let entry = match trial {
            Some(trial) if !*over => Some(trial),
            _ => settled.as_mut(),
        };
        let Some(entry) = entry else { return false };
        entry.hits += 1;
        true
    }
}

impl Nft {
    fn programmed(&self) -> Result<Programmed, FirewallError> {
        let nothing = || FirewallError::NothingInForce { what: "nothing".to_owned() };
        let entry = self.table.in_force().ok_or_else(nothing)?;
        let Entry { plan, digest, hits, .. } = entry;
        Ok(Programmed {
            revision: plan.revision,
            digest: *digest,
            generation: Generation(self.generation),
            sets: plan.sets.clone(),
            chains: plan.chains.clone(),
            recorder_sets: plan.recorder.sets.iter().map(|set| set.name.clone()).collect(),
            recorder_chains: plan.recorder.chains.clone(),
            foreign: self.table.foreign.then(|| "chain theirs".to_owned()).into_iter().collect(),
            hits: vec![hit(*hits)],
            ..Programmed::default()
        })
    }
}

fn hit(packets: u64) -> Hit {
    Hit {
        rule: "t/open".to_owned(),
        direction: Direction::Inbound,
        action: Action::Allow,
        packets,
        bytes: packets,
    }
}

impl Kernel for Nft {
    type Plan = Plan;
    type Capabilities = Capabilities;
    /// Which slot is on trial.
    type Trial = Option<Slot>;

    const PLACE: &'static str = "table inet xshield";

    fn capabilities(&self) -> &Capabilities {
        &Capabilities::FULL
    }

    fn plan(&self, bound: &Bound, live: Option<LiveGroup>) -> Result<Plan, FirewallError> {
        Ok(plan_with(bound, &Capabilities::FULL, live))
    }

    fn digest(plan: &Plan) -> PlanDigest {
        plan.digest()
    }

    fn unenforceable(plan: &Plan) -> &[Unenforceable] {
        &plan.unenforceable
    }

    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        Ok(Some(Generation(self.generation)))
    }

    fn state(&mut self) -> Result<KernelRuleset, FirewallError> {
        let Table { settled, trial, over, .. } = &self.table;
        let state = match (trial, settled) {
            (Some(new), old) => KernelState::Trial {
                new: new.installed(),
                old: old.as_ref().map(Entry::installed),
                over: *over,
            },
            (None, Some(entry)) => KernelState::InForce(entry.installed()),
            (None, None) => KernelState::Absent,
        };
        Ok(state.into())
    }

    fn read_back(&mut self, expected: Option<&Plan>) -> Result<ReadBack, FirewallError> {
        Ok(ReadBack::of(self.programmed()?, expected))
    }

    fn apply_now(&mut self, plan: &Plan) -> Result<(), FirewallError> {
        let slot = self.table.free_slot();
        self.table = Table { settled: Some(Entry::new(slot, plan)), ..Table::default() };
        self.generation += 1;
        Ok(())
    }

    fn try_apply(&mut self, plan: &Plan, _: Duration) -> Result<Option<Slot>, FirewallError> {
        let table = &mut self.table;
        let same = table.settled.as_ref().is_some_and(|old| *old.plan == *plan);
        if same && table.trial.is_none() && !table.foreign {
            return Ok(None);
        }
        let slot = table.free_slot();
        let settled = table.settled.take().filter(|_| !table.foreign);
        let trial = Some(Entry::new(slot, plan));
        self.table = Table { settled, trial, over: false, foreign: false };
        self.generation += 1;
        Ok(Some(slot))
    }

    fn keep(&mut self, trial: Option<Slot>, plan: &Plan) -> Result<ReadBack, FirewallError> {
        if trial.is_none() {
            return self.read_back(Some(plan));
        }
        if self.table.over {
            return Err(FirewallError::ProbationOver);
        }
        let old = self.table.settled.take();
        self.table.settled = self.table.trial.take();
        self.generation += 1;
        let final_hits = old.map(|old| hit(old.hits)).into_iter().collect();
        Ok(ReadBack::of(Programmed { final_hits, ..self.programmed()? }, Some(plan)))
    }

    fn revert(&mut self, trial: Option<Slot>) -> Result<(), FirewallError> {
        if trial.is_some() {
            self.table.trial = None;
            self.generation += 1;
        }
        Ok(())
    }
}
