//! Messages that only this table needs.

use super::guard::{Guard, LookupHook};
use super::read::{ABOUT, Survey, is_common_chain, is_gate, of_slot};
use crate::installed::Slot;
use crate::nft::constants::{chain, flag, message as kind};
use crate::nft::slot::kernel_name;
use crate::nft::socket::Batch;
use crate::plan::{LIVE_COUNTER, Line, Next, is_shared};
use crate::threat::list::InstalledList;
use crate::threat::list_set::ListSet;

/// Before the policy, which has priority 0.
const PRIORITY: i32 = -10;

impl Batch {
    fn gate(&mut self, gate: LookupHook) {
        let table = self.table;
        self.add(kind::NEW_CHAIN, flag::CREATE, |w| {
            w.text(chain::TABLE, table);
            w.text(chain::NAME, gate.name());
            w.nested(chain::HOOK, |w| {
                w.be32(chain::HOOK_NUMBER, gate.number());
                w.bytes(chain::HOOK_PRIORITY, &PRIORITY.to_be_bytes());
            });
            w.be32(chain::POLICY, 1);
            w.text(chain::TYPE, "filter");
        });
    }

    /// Rewrites all chains and failsafe sets, with look-ups in one slot.
    pub(super) fn guard(&mut self, survey: &Survey, slot: Slot, guard: &Guard) {
        let of_slot = of_slot(slot);
        let name = |plain: &str| match is_gate(plain) {
            true => plain.to_owned(),
            false => kernel_name(plain, Some(slot)),
        };
        let wanted: Vec<String> = guard.chains.iter().map(|chain| name(&chain.name)).collect();
        let ours =
            |chain: &&String| of_slot(chain) || is_common_chain(chain) || wanted.contains(chain);
        let present: Vec<&String> = survey.chains.iter().filter(ours).collect();
        present.iter().for_each(|chain| self.flush_chain(chain));
        for stale in present.iter().filter(|chain| !wanted.contains(chain)) {
            self.delete_chain(stale);
        }
        let lists = ListSet::ALL.map(|set| kernel_name(&set.name(), Some(slot)));
        for old in survey.sets.iter().filter(|set| of_slot(&set.name)) {
            if !lists.contains(&old.name) {
                self.delete_set(&old.name);
            }
        }
        LookupHook::ALL.into_iter().for_each(|gate| self.gate(gate));
        for set in &guard.sets {
            self.set(set, slot);
        }
        if guard.counts_live() {
            self.counter(LIVE_COUNTER);
        }
        for chain in wanted.iter().filter(|chain| !is_gate(chain)) {
            self.chain(chain);
        }
        for (chain, name) in guard.chains.iter().zip(&wanted) {
            chain.lines.iter().for_each(|line| self.line(name, line, Some(slot)));
        }
    }

    /// Writes the comments about what is in force.
    pub(super) fn about(&mut self, survey: &Survey, standing: &InstalledList) {
        self.chain(ABOUT);
        if survey.chains.iter().any(|chain| chain == ABOUT) {
            self.flush_chain(ABOUT);
        }
        for comment in super::comments::comments(standing) {
            let line = Line {
                conditions: Vec::new(),
                counted: false,
                effect: None,
                next: Some(Next::Return),
                label: Some(comment.into()),
            };
            self.line(ABOUT, &line, None);
        }
    }

    /// Deletes the content of a slot.
    pub(super) fn delete_slot(&mut self, survey: &Survey, slot: Slot) {
        let of_slot = of_slot(slot);
        let chains: Vec<&String> = survey.chains.iter().filter(|chain| of_slot(chain)).collect();
        chains.iter().for_each(|chain| self.flush_chain(chain));
        chains.iter().for_each(|chain| self.delete_chain(chain));
        for set in survey.sets.iter().filter(|set| of_slot(&set.name) && !is_shared(&set.name)) {
            self.delete_set(&set.name);
        }
    }
}
