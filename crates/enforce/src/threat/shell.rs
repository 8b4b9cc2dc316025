//! The ports of the threat list's part on a real host: disk, platform, facts.

use std::net::SocketAddr;

use ipnet::IpNet;
use xshield_host::files::FileError;
use xshield_policy::{AssetId, Bound, BoundFailsafe};
use xshield_threat::Digest;
use xshield_threat::keep::Elements as ListElements;
use xshield_wire::Verified;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{Problem, UnixSeconds};
use xshield_wire::threat::{ThreatFile, ThreatOrder, ThreatPath, ThreatStanding};

use super::error::ListFileError;
use super::progress::ThreatProgress;
use super::store::Store;
use super::{download, make, report};
use crate::core::threat::lists::{Elements, ExpectedList, KeptList, Lists, Made};
use crate::core::threat::part::OpenTable;
use crate::core::threat::ports::{ThreatHost, ThreatRecords, ThreatSource};
use crate::core::threat::{ThreatFailure, ThreatPart};
use crate::exchange::Exchange;
use crate::outcome::ThreatOutcome;
use crate::run::Run;
use crate::state::{Repaired, StateDirectory};
use crate::step::Step;
use crate::{endpoints, os, reached, rollback};

/// Reads what is kept. Opens no table yet.
///
/// # Errors
/// When a file is there and can't be read.
pub(crate) fn read(
    state: &StateDirectory,
    keys: &[PolicyPublicKey],
    repaired: &mut Repaired,
    open: OpenTable,
) -> Result<ThreatPart, FileError> {
    let store = Store::new(state);
    let (order, lists) = (store.order(keys, repaired)?, store.lists(repaired)?);
    Ok(ThreatPart::new(order, lists, open))
}

/// The elements of a list on disk, as the kernel gets them.
///
/// # Errors
/// When it can't be opened.
pub(crate) fn elements(store: &Store, list: &KeptList) -> Result<Elements, ListFileError> {
    let elements = ListElements::of(Box::new(store.open(list)?), list.expansion())?;
    Ok(Box::new(elements.map(|element| match element {
        Ok(prefix) => Ok(IpNet::from(prefix)),
        Err(error) => Err(ListFileError::from(error).into()),
    })))
}

/// What the check-in says about the list.
pub(crate) fn standing(threat: &ThreatPart, run: &Run<'_>) -> ThreatStanding {
    let budget = run.config.threat_budget.or(os::THREAT_BUDGET);
    threat.standing(&run.progress.threat, run.memory, budget)
}

/// What became of the list in a run.
pub(crate) fn outcome(threat: &ThreatPart, run: &Run<'_>) -> ThreatOutcome {
    let ThreatStanding { list, inbound, outbound, .. } = standing(threat, run);
    let (inbound, outbound) = list.is_some().then_some((inbound, outbound)).unzip();
    let (change, matches) = (threat.change(), threat.matches);
    ThreatOutcome { list, inbound, outbound, change, matches }
}

/// The rest of a run, as the threat list's part uses it.
pub(crate) struct ThreatShell<'r, 'a> {
    pub(crate) run: &'r mut Run<'a>,
    pub(crate) exchange: &'r mut Exchange<'a>,
    pub(crate) store: Store,
    /// Tells the system who opened the connections that are open.
    pub(crate) introduce: fn(&mut Run<'_>),
}

impl ThreatRecords for ThreatShell<'_, '_> {
    fn progress(&mut self) -> &mut ThreatProgress {
        &mut self.run.progress.threat
    }

    fn save_order(&mut self, order: &Verified<ThreatOrder>) -> Result<(), ThreatFailure> {
        Ok(self.store.save_order(order)?)
    }

    fn save_lists(&mut self, lists: &Lists) -> Result<(), ThreatFailure> {
        Ok(self.store.save_lists(lists)?)
    }

    fn remove_other_lists(&mut self, lists: &Lists) {
        self.store.tidy(lists);
    }

    fn has_list(&self, list: &KeptList) -> bool {
        self.store.has(list)
    }

    fn elements(&self, list: &KeptList) -> Result<Elements, ThreatFailure> {
        Ok(elements(&self.store, list)?)
    }

    fn remove_downloads(&mut self) {
        self.store.tidy_fetched();
    }
}

impl ThreatSource for ThreatShell<'_, '_> {
    fn was_reached(&self) -> bool {
        self.exchange.was_reached()
    }

    fn trusted_keys(&self) -> Vec<PolicyPublicKey> {
        self.run.config.policy_keys.clone()
    }

    fn order(&mut self) -> Result<Option<(Vec<u8>, AssetId)>, ThreatFailure> {
        let envelope = self.exchange.client.threat_order().map_err(ListFileError::from)?;
        Ok(self.exchange.client.asset().map(|asset| (envelope, asset)))
    }

    fn path(&mut self, from: Option<Digest>) -> Result<ThreatPath, ThreatFailure> {
        Ok(self.exchange.client.threat_path(from).map_err(ListFileError::from)?)
    }

    fn download(&mut self, number: usize, file: &ThreatFile) -> Result<(), ThreatFailure> {
        let watch = self.run.environment.watch;
        let client = &mut self.exchange.client;
        Ok(download::download(client, &self.store, watch, number, file)?)
    }

    fn make_list(
        &mut self,
        number: usize,
        base: Option<&KeptList>,
        expected: &ExpectedList<'_>,
    ) -> Result<Made, ThreatFailure> {
        let fetched = self.store.fetched(number);
        Ok(match base {
            None => make::from_snapshot(&self.store, &fetched, expected)?,
            Some(base) => make::from_change(&self.store, &fetched, base, expected)?,
        })
    }

    fn stays_behind(&mut self, wanted: &str, floor: &str) {
        rollback::stays_behind(self.run, wanted, floor);
    }
}

impl ThreatHost for ThreatShell<'_, '_> {
    fn now(&self) -> UnixSeconds {
        self.run.now()
    }

    fn boot_id(&self) -> String {
        self.run.host.boot_id.clone()
    }

    fn failsafe_without_policy(&mut self, known: &[SocketAddr]) -> BoundFailsafe {
        let resolvers = self.run.environment.os.name_servers();
        BoundFailsafe::bare(
            endpoints::endpoints(self.run, &self.exchange.client, known),
            &resolvers,
        )
    }

    fn introduce_open_connections(&mut self) {
        (self.introduce)(self.run);
    }

    fn report_last_matches(&mut self, threat: &mut ThreatPart, bound: Option<&Bound>) {
        let matches = report::read_matches(threat, self.run);
        report::tell_matches(threat, self.run, matches, Vec::new(), bound);
    }

    fn note(&mut self, problem: Problem) {
        if !self.run.problems.contains(&problem) {
            self.run.problems.push(problem);
        }
    }

    fn step(&mut self, step: Step) {
        reached::step(step);
    }
}
