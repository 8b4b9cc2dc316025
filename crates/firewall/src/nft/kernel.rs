//! What of ours stands in the kernel, and the batch that turns it into something else.

use std::collections::HashMap;
use std::time::Duration;

use super::constants::{chain, message as kind, rule};
use super::decode;
use super::encode::{Hook, PROBATION};
use super::lists::{counters, sets, table_handle};
use super::slot;
use super::socket::{Batch, Link};
use super::state::{judges_forwarded, leading_rule, leading_to, state};
use super::steady::{Steady, steady};
use super::wire::Writer;
use crate::error::FirewallError;
use crate::installed::{InstalledRuleset, KernelState, Slot};
use crate::plan::{Condition, Line, Plan, TABLE, is_shared};
use crate::programmed::Generation;

/// Everything in our table by name.
#[derive(PartialEq, Eq)]
pub(crate) struct Survey {
    pub state: KernelState,
    /// What changes can be bound to: the kernel refuses them at another generation. `None`: to nothing,
    /// and what then stands has to be looked at.
    pub generation: Option<Generation>,
    has_table: bool,
    base_is_sound: bool,
    has_forward: bool,
    chains: Vec<String>,
    sets: Vec<String>,
    counters: Vec<String>,
}

/// What is to stand in the kernel. What is not named goes.
pub(crate) struct RulesetChange<'a> {
    /// Comes back after probation.
    pub old: Option<InstalledRuleset>,
    /// In force now; with a plan when it isn't there yet.
    pub new: Option<(InstalledRuleset, Option<&'a Plan>)>,
    /// How long the new one stands.
    pub probation: Option<Duration>,
    /// What happens to the flow recorder.
    pub recorder: RecorderChange,
    /// What happens to counters that outlive rulesets.
    pub counters: CounterChange,
}

impl RulesetChange<'_> {
    /// Whether the kernel is where this change leads to.
    pub(crate) fn stands(&self, state: &KernelState) -> bool {
        let wanted = self.new.map(|(standing, _)| standing);
        match (state, self.probation) {
            (KernelState::Trial { new, old, .. }, Some(_)) => {
                Some(*new) == wanted && *old == self.old
            }
            (KernelState::InForce(standing), None) => Some(*standing) == wanted,
            (KernelState::Absent, None) => wanted.is_none(),
            _ => false,
        }
    }

    /// The slots in use after it.
    fn slots(&self) -> Vec<Slot> {
        let standings = [self.old, self.new.map(|(standing, _)| standing)];
        standings.into_iter().flatten().map(|standing| standing.slot).collect()
    }
}

/// The transactions of a change, in order.
pub(crate) struct Steps {
    /// Puts a ruleset into the unreferenced slot.
    pub stage: Option<Batch>,
    /// Leads packets to it.
    pub switch: Batch,
    /// Removes what no rule refers to any more.
    pub clean: Option<Batch>,
}

/// What happens to the flow recorder in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecorderChange {
    /// Nothing.
    Stays,
    /// Its chains are written again; its sets keep their counts.
    Chains,
    /// The table is made anew, with an empty recorder.
    Anew,
}

/// What happens to the counters of the table in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CounterChange {
    /// Those that are there stay.
    Stay,
    /// No rule adds to them any more: they go.
    Go,
}

impl Survey {
    /// Consistent: as it was at one moment.
    pub(crate) fn read(link: &mut Link) -> Result<Self, FirewallError> {
        let action = "reading our table";
        let once = |link: &mut Link| Self::read_once(link, action);
        let Steady { read, generation, .. } =
            steady(link, action, Link::generation, once, PartialEq::eq)?;
        Ok(Self { generation, ..read })
    }

    fn read_once(link: &mut Link, action: &'static str) -> Result<Self, FirewallError> {
        let chains = link.list(
            kind::GET_CHAIN,
            TABLE,
            action,
            |_| {},
            |found: &mut Vec<(String, Option<u32>)>, answer| {
                let hook = answer.nested(chain::HOOK).and_then(|h| h.be32(chain::HOOK_NUMBER));
                found.extend(answer.text(chain::NAME).map(|name| (name.to_owned(), hook)));
            },
        )?;
        let sets = sets(link, TABLE, action)?;
        let has_table =
            !chains.is_empty() || !sets.is_empty() || table_handle(link, TABLE, action)? != 0;
        let is_at_its_hook = |hook: &Hook| {
            chains
                .iter()
                .any(|(name, number)| name == hook.name() && *number == Some(hook.number()))
        };
        let has_forward = chains.iter().any(|(name, _)| name == Hook::Forward.name());
        let base_is_sound =
            Hook::BOTH.iter().all(is_at_its_hook) && has_forward == is_at_its_hook(&Hook::Forward);
        let mut leads = Vec::new();
        if base_is_sound {
            for hook in Hook::ALL.into_iter().filter(|hook| *hook != Hook::Forward || has_forward) {
                leads.push(lines(link, hook.name(), action)?);
            }
        }
        let sets: Vec<String> = sets.into_iter().map(|set| set.name).collect();
        let counters = counters(link, TABLE, action)?;
        let counters = counters.into_iter().map(|counter| counter.name).collect();
        let over = match sets.iter().any(|name| name == PROBATION) {
            true => super::read::elements(link, TABLE, PROBATION, &[], action)?.1 == 0,
            false => true,
        };
        let chains: Vec<String> = chains.into_iter().map(|(name, _)| name).collect();
        let state = match &leads[..] {
            _ if !has_table => KernelState::Absent,
            [input, output] => state(input, output, None, over, &chains),
            [input, output, forward] => state(input, output, Some(forward), over, &chains),
            _ => KernelState::Damaged { what: "a base chain is missing".to_owned() },
        };
        Ok(Self {
            state,
            generation: None,
            has_table,
            base_is_sound,
            has_forward,
            chains,
            sets,
            counters,
        })
    }

    /// Whether parts that outlive rulesets are missing, or parts of others stand among ours, so that only
    /// a new table helps.
    pub(crate) fn rebuild(&self, plan: &Plan) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|found| found == name);
        let ours = |name: &String| {
            is_shared(name)
                || slot::split(name).is_some()
                || name == PROBATION
                || Hook::ALL.iter().any(|hook| hook.name() == name)
        };
        !self.base_is_sound
            || !self.chains.iter().chain(&self.sets).all(ours)
            || !plan.recorder.sets.iter().all(|set| has(&self.sets, &set.name))
            || !plan.recorder.chains.iter().all(|chain| has(&self.chains, &chain.name))
    }

    /// The transactions from what was surveyed to `change`, of which exactly one matters to packets.
    ///
    /// Within one transaction the kernel makes rules visible a moment before the elements of interval
    /// sets, so rules that packets meet must not be new together with the sets they ask: those are staged
    /// in a transaction before, where nothing leads to them.
    pub(crate) fn steps(&self, change: &RulesetChange<'_>, bound_to: Option<Generation>) -> Steps {
        let settled = self.state.settled();
        let forwards = self.forwards(change);
        let fresh = change.recorder == RecorderChange::Anew && !self.has_table;
        let beside = change.recorder != RecorderChange::Anew
            && (settled.is_some() || self.state == KernelState::Absent);
        let Some((standing, Some(plan))) = change.new else {
            let kept = change.slots();
            let goes = |slot| !kept.contains(&slot);
            return Steps {
                stage: None,
                switch: self.switch(change, bound_to, forwards),
                clean: self.clean(goes, true, change.counters, forwards),
            };
        };
        if !fresh && !beside {
            // Something of ours that is damaged gives way: better a packet too few than one too many.
            return Steps {
                stage: None,
                switch: self.at_once(change, plan, bound_to),
                clean: None,
            };
        }
        let mut stage = Batch::new(bound_to);
        if fresh {
            self.begin_anew(&mut stage, plan);
        } else {
            self.lead_to(&mut stage, settled);
            self.clear(&mut stage, |slot| Some(slot) != settled.map(|old| old.slot), true);
            if change.recorder == RecorderChange::Chains {
                self.rewrite_recorder(&mut stage, plan);
            }
            if forwards.any() && !self.has_forward {
                stage.base_chain(Hook::Forward);
            }
        }
        self.put(&mut stage, plan, standing.slot, fresh);
        let kept = change.slots();
        let replaced = |slot| Some(slot) == settled.map(|old| old.slot) && !kept.contains(&slot);
        Steps {
            stage: Some(stage),
            switch: self.switch(change, bound_to.map(Generation::next), forwards),
            clean: if fresh {
                None
            } else {
                self.clean(replaced, false, change.counters, forwards)
            },
        }
    }

    /// For when staging is not possible.
    fn at_once(
        &self,
        change: &RulesetChange<'_>,
        plan: &Plan,
        bound_to: Option<Generation>,
    ) -> Batch {
        let mut batch = Batch::new(bound_to);
        if change.recorder == RecorderChange::Anew {
            self.begin_anew(&mut batch, plan);
        } else {
            self.flush_base(&mut batch);
            self.clear(&mut batch, |_| true, true);
            self.rewrite_recorder(&mut batch, plan);
            match (self.has_forward, plan.judges_forwarded()) {
                (true, false) => batch.delete_chain(Hook::Forward.name()),
                (false, true) => batch.base_chain(Hook::Forward),
                _ => {}
            }
        }
        if let Some((standing, _)) = change.new {
            let fresh = change.recorder == RecorderChange::Anew;
            self.put(&mut batch, plan, standing.slot, fresh);
        }
        lead(&mut batch, change, self.forwards(change));
        batch
    }

    /// Ends a trial that nobody kept: the leading rules name the settled ruleset alone.
    fn lead_to(&self, batch: &mut Batch, settled: Option<InstalledRuleset>) {
        if matches!(self.state, KernelState::Trial { .. }) {
            self.flush_base(batch);
            let new = settled.map(|standing| (standing, None));
            let (recorder, counters) = (RecorderChange::Stays, CounterChange::Stay);
            let change = RulesetChange { old: None, new, probation: None, recorder, counters };
            lead(batch, &change, self.forwards(&change));
        }
    }

    /// Writes the recorder's chains again, as far as they are there.
    fn rewrite_recorder(&self, batch: &mut Batch, plan: &Plan) {
        let chains = plan.recorder.chains.iter().chain(&plan.forwarded_recorder.chains);
        for chain in chains.filter(|chain| self.chains.contains(&chain.name)) {
            batch.flush_chain(&chain.name);
            batch.lines(chain, None);
        }
    }

    /// Takes the leading rules out.
    fn flush_base(&self, batch: &mut Batch) {
        let there = |hook: &Hook| *hook != Hook::Forward || self.has_forward;
        for hook in Hook::ALL.into_iter().filter(there) {
            batch.flush_chain(hook.name());
        }
    }

    /// Which rulesets of a change judge forwarded packets.
    fn forwards(&self, change: &RulesetChange<'_>) -> Forwards {
        let stands = |standing: InstalledRuleset| judges_forwarded(standing, &self.chains);
        Forwards {
            new: change.new.is_some_and(|(standing, plan)| match plan {
                Some(plan) => plan.judges_forwarded(),
                None => stands(standing),
            }),
            old: change.old.is_some_and(stands),
        }
    }

    /// The transaction that makes the difference: only the leading rules and the probation.
    fn switch(
        &self,
        change: &RulesetChange<'_>,
        bound_to: Option<Generation>,
        forwards: Forwards,
    ) -> Batch {
        let mut batch = Batch::new(bound_to);
        self.flush_base(&mut batch);
        lead(&mut batch, change, forwards);
        batch
    }

    /// `None` when there is nothing to delete.
    fn clean(
        &self,
        goes: impl Fn(Slot) -> bool,
        probation: bool,
        counters: CounterChange,
        forwards: Forwards,
    ) -> Option<Batch> {
        let mut batch = Batch::new(None);
        self.clear(&mut batch, goes, probation);
        if self.has_forward && !forwards.any() {
            batch.delete_chain(Hook::Forward.name());
        }
        if counters == CounterChange::Go {
            self.counters.iter().for_each(|counter| batch.delete_counter(counter));
        }
        (batch.sequence() > 0).then_some(batch)
    }

    fn begin_anew(&self, batch: &mut Batch, plan: &Plan) {
        if self.has_table {
            batch.delete_table();
        }
        batch.table();
        for set in &plan.recorder.sets {
            batch.flow_set(set);
        }
        for chain in &plan.recorder.chains {
            batch.chain(&chain.name);
        }
        for chain in &plan.recorder.chains {
            batch.lines(chain, None);
        }
        for hook in Hook::BOTH {
            batch.base_chain(hook);
        }
        if plan.judges_forwarded() {
            batch.base_chain(Hook::Forward);
        }
    }

    /// Puts all that belongs to a ruleset into a slot. `fresh`: into a table that was just made.
    fn put(&self, batch: &mut Batch, plan: &Plan, slot: Slot, fresh: bool) {
        let missing = |counter: &&String| fresh || !self.counters.contains(counter);
        plan.counters.iter().filter(missing).for_each(|counter| batch.counter(counter));
        self.put_forwarded_recorder(batch, plan, fresh);
        for set in &plan.sets {
            batch.set(set, slot);
        }
        for chain in &plan.chains {
            batch.chain(&slot::kernel_name(&chain.name, Some(slot)));
        }
        for chain in &plan.chains {
            batch.lines(chain, Some(slot));
        }
    }

    /// Puts what is missing of the recorder of forwarded traffic into the unreferenced slot.
    fn put_forwarded_recorder(&self, batch: &mut Batch, plan: &Plan, fresh: bool) {
        let recorder = &plan.forwarded_recorder;
        let missing = |there: &[String], name: &String| fresh || !there.contains(name);
        for set in recorder.sets.iter().filter(|set| missing(&self.sets, &set.name)) {
            batch.flow_set(set);
        }
        let chains: Vec<_> =
            recorder.chains.iter().filter(|chain| missing(&self.chains, &chain.name)).collect();
        chains.iter().for_each(|chain| batch.chain(&chain.name));
        chains.iter().for_each(|chain| batch.lines(chain, None));
    }

    /// Deletes what stands in these slots, and the probation if asked.
    fn clear(&self, batch: &mut Batch, goes: impl Fn(Slot) -> bool, probation: bool) {
        let goes = |name: &&String| slot::split(name).is_some_and(|(slot, _)| goes(slot));
        let chains: Vec<&String> = self.chains.iter().filter(goes).collect();
        // Rules first: they are what holds on to chains and sets.
        for chain in &chains {
            batch.flush_chain(chain);
        }
        for chain in &chains {
            batch.delete_chain(chain);
        }
        for set in self.sets.iter().filter(|name| goes(name) || (probation && *name == PROBATION)) {
            batch.delete_set(set);
        }
    }
}

/// Which rulesets of a change judge forwarded packets.
#[derive(Debug, Clone, Copy)]
struct Forwards {
    new: bool,
    old: bool,
}

impl Forwards {
    fn any(self) -> bool {
        self.new || self.old
    }
}

/// Writes the leading rules, into base chains that are empty, and starts the probation. While any of
/// the rulesets judges forwarded packets, both have a rule at that hook: of two, the one in force leads.
fn lead(batch: &mut Batch, change: &RulesetChange<'_>, forwards: Forwards) {
    if let Some(time) = change.probation {
        batch.probation(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1));
    }
    for hook in Hook::ALL.into_iter().filter(|hook| *hook != Hook::Forward || forwards.any()) {
        let next = |judges: bool| leading_to(hook, judges);
        let on_trial = change.probation.map(|_| Condition::OnProbation);
        let new = change.new.map(|(new, _)| leading_rule(on_trial, next(forwards.new), new));
        let old = change.old.map(|old| leading_rule(None, next(forwards.old), old));
        for (line, slot) in [new, old].into_iter().flatten() {
            batch.line(hook.name(), &line, Some(slot));
        }
    }
}

/// The rules of one chain.
fn lines(link: &mut Link, name: &str, action: &'static str) -> Result<Vec<Line>, FirewallError> {
    let of_chain = |w: &mut Writer<'_>| w.text(rule::CHAIN, name);
    let cgroups = HashMap::new();
    link.list(kind::GET_RULE, TABLE, action, of_chain, |found: &mut Vec<Line>, answer| {
        if answer.text(rule::CHAIN) == Some(name) {
            found.extend(decode::line(answer, &cgroups).map(|read| read.line));
        }
    })
}

/// Deletes our table, when there is one.
pub(crate) fn remove(link: &mut Link) -> Result<(), FirewallError> {
    let action = "removing our table";
    let mut batch = Batch::new(None);
    batch.table();
    batch.delete_table();
    link.commit(batch, action)
}
