//! The threat list's part of the cycle. It stands beside the policy's: what fails in one of the two
//! never stops the other.
//!
//! | step | where |
//! |---|---|
//! | matches since the last run become reports | `report` |
//! | the kernel holds what the last run left, or gets it again from disk | `kernel` |
//! | the order is fetched and verified, and the files that lead to its list | `fetch` |
//! | the list is written down, put into the kernel, and remembered | `make`, `store`, `kernel` |
//! | modes and failsafe follow the order, the policy and the host's facts | `kernel` |
//!
//! A run that changes nothing reads the order, which lists there are, and the kernel's ruleset
//! generation: neither the list on disk nor the one in the kernel.

mod error;
mod fetch;
mod kernel;
mod make;
pub(crate) mod matches;
mod report;
pub(crate) mod store;
pub mod verbs;

use serde::{Deserialize, Serialize};
use xshield_firewall::flows::{Differ, Losses};
use xshield_firewall::threat::{Posture, ThreatTable};
use xshield_firewall::{FirewallError, Generation};
use xshield_host::files::FileError;
use xshield_host::linux::resolver;
use xshield_policy::BoundFailsafe;
use xshield_wire::Verified;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{CheckInAnswer, Problem, UnixSeconds};
use xshield_wire::threat::{ThreatOrder, ThreatStanding};

use crate::cycle::Run;
use crate::outcome::ThreatChange;
use crate::state::{Repaired, StateDirectory, chain};
use error::ThreatFailure;
use store::{Lists, Store};

/// What runs remember about threats, beside the lists.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatProgress {
    /// Where the recorder of matches was last read.
    pub flows: Differ,
    /// The recorder's own count of losses when it was last read, and which recorder that was.
    pub recorder_lost: Losses,
    /// When the recorder was last read.
    pub last_collected: Option<UnixSeconds>,
    /// Losses not yet reported.
    pub lost: u64,
    /// The boot and the kernel's ruleset generation at which the list was last found as it should be.
    pub seen: Option<(String, u32)>,
    /// The highest sequence of an order that was ever taken here.
    pub floor: u64,
    /// The order of that sequence, as it was signed: evidence for a platform that forgot it.
    pub newest: Option<String>,
    /// When the list in the kernel was last compared entry by entry and found equal.
    pub verified_at: Option<UnixSeconds>,
    /// From when on the time until the next comparison counts.
    pub verify_from: Option<UnixSeconds>,
    /// Why the order is not carried out, when it is not.
    pub failure: Option<String>,
}

/// Threats in a run under way.
pub(crate) struct Threats {
    store: Store,
    order: Option<Verified<ThreatOrder>>,
    lists: Lists,
    table: Option<ThreatTable>,
    kernel: Kernel,
    /// The host's memory in bytes; 0 when it is not known.
    memory: u64,
    /// What the platform last heard in this run.
    told: Option<ThreatStanding>,
}

/// What is known about the table in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// Nobody changed any rule since the last run found it as it should be.
    AsLeft,
    /// It was read or changed in this run.
    Touched,
    /// It does not hold the list.
    Without,
}

impl Threats {
    /// Whether a list is in force, as far as is known.
    pub(crate) fn has_list(&self) -> bool {
        self.lists.current.is_some()
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub(crate) fn of(
        state: &StateDirectory,
        keys: &[PolicyPublicKey],
        repaired: &mut Repaired,
    ) -> Result<Self, FileError> {
        let store = Store::new(state);
        let (order, lists) = (store.order(keys, repaired)?, store.lists(repaired)?);
        Ok(Self {
            store,
            order,
            lists,
            table: None,
            kernel: Kernel::Touched,
            memory: 0,
            told: None,
        })
    }

    /// The order at hand.
    pub(crate) fn order(&self) -> Option<&Verified<ThreatOrder>> {
        self.order.as_ref()
    }

    fn table(&mut self) -> Result<&mut ThreatTable, FirewallError> {
        match &mut self.table {
            Some(table) => Ok(table),
            empty => Ok(empty.insert(ThreatTable::open()?)),
        }
    }
}

impl Run<'_> {
    /// Before the check-in: the kernel holds what the last run left, and the way to the platform is
    /// open. What others damaged is repaired from disk.
    pub(crate) fn settle_threats(&mut self) {
        let result = self.settle_list().and_then(|()| match self.posture() {
            Some(posture) => self.take_posture(posture),
            None => Ok(()),
        });
        if let Err(error) = result {
            self.threat_failed(&error);
        }
    }

    /// After the check-in and the policy: carries out the order that the platform wants, or the last
    /// one when it says nothing.
    pub(crate) fn follow_threat_order(&mut self, answer: Option<&CheckInAnswer>) {
        let wanted = answer.and_then(|answer| answer.threat);
        let taken = wanted.map_or(Ok(()), |wanted| self.take_order(wanted));
        let carried_out = self.carry_out_order().and_then(|()| self.see_that_it_stands());
        match taken.and(carried_out) {
            // Why it could not be repaired has been said.
            Ok(()) if self.threat.kernel == Kernel::Without => {}
            Ok(()) => self.progress.threat.failure = None,
            Err(error) => self.threat_failed(&error),
        }
        self.name_what_is_left_out();
    }

    fn carry_out_order(&mut self) -> Result<(), ThreatFailure> {
        let Some(order) = &self.threat.order else { return Ok(()) };
        let (list, verify_every) = (order.list.clone(), order.verify_every);
        let Some(wanted) = list else { return self.take_list_out() };
        self.bring_list(&wanted)?;
        if self.threat.kernel == Kernel::Without {
            return Ok(());
        }
        if let Some(posture) = self.posture() {
            self.take_posture(posture)?;
        }
        self.verify_when_due(verify_every)
    }

    /// What is to be done about listed peers now; `None` when nobody has said.
    fn posture(&mut self) -> Option<Posture> {
        let last = self.threat.lists.posture.clone();
        let (inbound, outbound) = match (&self.threat.order, &last) {
            (Some(order), _) => (order.inbound, order.outbound),
            (None, Some(last)) => (last.inbound, last.outbound),
            (None, None) => return None,
        };
        let failsafe = match &self.known_good {
            Some(known) => known.ruleset.bind_failsafe(&known.facts),
            None => {
                let known = last.as_ref().map_or(&[][..], |last| &last.failsafe.endpoints);
                let resolvers = resolver::resolvers(&self.cycle.surroundings.root);
                BoundFailsafe::bare(self.endpoints(known), &resolvers)
            }
        };
        Some(Posture { inbound, outbound, failsafe, live: self.live })
    }

    fn threat_failed(&mut self, error: &ThreatFailure) {
        let text = chain(error);
        self.progress.threat.failure = Some(text.clone());
        let failed = Problem { code: "threat-failed".to_owned(), text };
        if !self.outcome.problems.contains(&failed) {
            self.outcome.problems.push(failed);
        }
    }

    fn threat_change(&mut self, change: ThreatChange) {
        self.outcome.threat.change = change;
    }

    /// What the host's memory budget keeps out is said at every run.
    fn name_what_is_left_out(&mut self) {
        let Some(list) = self.threat.order.as_ref().and_then(|order| order.list.as_ref()) else {
            return;
        };
        if !list.is_part() {
            return;
        }
        let text = format!(
            "the threat list has {} entries, this host's memory budget holds {}; entries below \
             {} % of confidence are not enforced",
            list.whole_entries, list.entries, list.least_confidence
        );
        self.note("threat-part", text);
    }

    /// Fills in what the run came to.
    pub(crate) fn conclude_threats(&mut self) {
        let ThreatStanding { list, inbound, outbound, .. } = self.threat_standing();
        let modes = list.is_some().then_some((inbound, outbound)).unzip();
        (self.outcome.threat.inbound, self.outcome.threat.outbound) = modes;
        self.outcome.threat.list = list;
    }

    /// `MemTotal` of `/proc/meminfo`.
    pub(crate) fn read_memory(&mut self) {
        let path = self.cycle.surroundings.root.join("proc/meminfo");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        self.threat.memory = kib.unwrap_or(0) * 1024;
    }

    /// Whether the boot unit has something to put into the kernel.
    pub(crate) fn has_something_to_restore(&self) -> bool {
        self.known_good.is_some() || self.threat.lists.current.is_some()
    }

    fn generation_now(&mut self) -> Result<(String, u32), FirewallError> {
        let Generation(generation) = self.threat.table()?.generation()?;
        Ok((self.host.boot_id.clone(), generation))
    }
}
