//! The state of our table in the kernel, and the batches that change it.

use std::collections::HashMap;
use std::time::Duration;

use super::constants::{chain, message as kind, rule};
use super::decode;
use super::encode::{Hook, PROBATION};
use super::lists::{counters, sets, table_handle};
use super::slot;
use super::socket::{Batch, Link};
use super::state::{judges_forwarded, leading_rule, leading_to, state};
use super::steady::{ConsistentRead, steady};
use super::wire::Writer;
use crate::error::FirewallError;
use crate::installed::{InstalledRuleset, KernelState, Slot};
use crate::plan::{Condition, Line, Plan, TABLE, is_shared};
use crate::programmed::Generation;

/// The content of our table by name.
#[derive(PartialEq, Eq)]
pub(crate) struct Survey {
    pub state: KernelState,
    /// The generation to which changes are bound: the kernel refuses them at another one. `None`: not bound,
    /// and the result has to be read back.
    pub generation: Option<Generation>,
    has_table: bool,
    base_is_sound: bool,
    has_forward: bool,
    chains: Vec<String>,
    sets: Vec<String>,
    counters: Vec<String>,
}

/// The wanted content of the table. Anything else is deleted.
pub(crate) struct RulesetChange<'a> {
    /// In force again after the probation.
    pub old: Option<InstalledRuleset>,
    /// In force now; with its plan if it has to be written.
    pub new: Option<(InstalledRuleset, Option<&'a Plan>)>,
    /// The probation of the new ruleset.
    pub probation: Option<Duration>,
    /// The change of the flow recorder.
    pub recorder: RecorderChange,
    /// The change of counters that outlive rulesets.
    pub counters: CounterChange,
}

impl RulesetChange<'_> {
    /// Whether the kernel is already in the wanted state.
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

    /// The slots in use after the change.
    fn slots(&self) -> Vec<Slot> {
        let standings = [self.old, self.new.map(|(standing, _)| standing)];
        standings.into_iter().flatten().map(|standing| standing.slot).collect()
    }
}

/// The transactions of a change, in order.
pub(crate) struct Steps {
    /// Writes a ruleset into the unreferenced slot.
    pub stage: Option<Batch>,
    /// Makes it the ruleset that judges packets.
    pub switch: Batch,
    /// Deletes what no rule refers to any more.
    pub clean: Option<Batch>,
}

/// The change of the flow recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecorderChange {
    /// None.
    Stays,
    /// Its chains are rewritten; its sets keep their counts.
    Chains,
    /// The table is created anew, with an empty recorder.
    Anew,
}

/// The change of the table's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CounterChange {
    /// Existing ones stay.
    Stay,
    /// No rule uses them any more: they are deleted.
    Go,
}

impl Survey {
    /// Reads a consistent state.
    pub(crate) fn read(link: &mut Link) -> Result<Self, FirewallError> {
        let action = "reading our table";
        let once = |link: &mut Link| Self::read_once(link, action);
        let ConsistentRead { read, generation, .. } =
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

    /// Whether parts that outlive rulesets are missing, or objects of other programs are in the table, so
    /// that only a new table helps.
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

    /// The transactions from the surveyed state to `change`, of which exactly one affects packets.
    ///
    /// Within one transaction the kernel activates rules slightly before the elements of interval sets, so
    /// rules that packets reach must not be created together with the sets that they use: these are staged in
    /// an earlier transaction, unreferenced.
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
            // A damaged ruleset is removed first: dropping a packet too many is better than accepting one.
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

    /// Used if staging is not possible.
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

    /// Ends an unconfirmed trial: the leading rules refer only to the settled ruleset.
    fn lead_to(&self, batch: &mut Batch, settled: Option<InstalledRuleset>) {
        if matches!(self.state, KernelState::Trial { .. }) {
            self.flush_base(batch);
            let new = settled.map(|standing| (standing, None));
            let (recorder, counters) = (RecorderChange::Stays, CounterChange::Stay);
            let change = RulesetChange { old: None, new, probation: None, recorder, counters };
            lead(batch, &change, self.forwards(&change));
        }
    }

    /// Rewrites the recorder's chains, as far as they exist.
    fn rewrite_recorder(&self, batch: &mut Batch, plan: &Plan) {
        let chains = plan.recorder.chains.iter().chain(&plan.forwarded_recorder.chains);
        for chain in chains.filter(|chain| self.chains.contains(&chain.name)) {
            batch.flush_chain(&chain.name);
            batch.lines(chain, None);
        }
    }

    /// Deletes the leading rules.
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

    /// The transaction that changes what judges packets: only the leading rules and the probation.
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

    /// `None` if there is nothing to delete.
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

    /// Writes everything that belongs to a ruleset into a slot. `fresh`: into a table that was just created.
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

    /// Creates missing parts of the recorder of forwarded traffic in the unreferenced slot.
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

    /// Deletes the content of these slots, and optionally the probation.
    fn clear(&self, batch: &mut Batch, goes: impl Fn(Slot) -> bool, probation: bool) {
        let goes = |name: &&String| slot::split(name).is_some_and(|(slot, _)| goes(slot));
        let chains: Vec<&String> = self.chains.iter().filter(goes).collect();
        // Rules first, since they refer to chains and sets.
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

/// Writes the leading rules into empty base chains, and starts the probation. While any of the rulesets
/// judges forwarded packets, both have a rule at that hook: the one in force comes first.
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

/// Adds the rules of one chain.
fn lines(link: &mut Link, name: &str, action: &'static str) -> Result<Vec<Line>, FirewallError> {
    let of_chain = |w: &mut Writer<'_>| w.text(rule::CHAIN, name);
    let cgroups = HashMap::new();
    link.list(kind::GET_RULE, TABLE, action, of_chain, |found: &mut Vec<Line>, answer| {
        if answer.text(rule::CHAIN) == Some(name) {
            found.extend(decode::line(answer, &cgroups).map(|read| read.line));
        }
    })
}

/// Deletes our table, if there is one.
pub(crate) fn remove(link: &mut Link) -> Result<(), FirewallError> {
    let action = "removing our table";
    let mut batch = Batch::new(None);
    batch.table();
    batch.delete_table();
    link.commit(batch, action)
}
