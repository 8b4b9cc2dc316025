//! [`ListTable`] in nftables.

use ipnet::IpNet;

use super::table::ThreatTable;
use crate::error::FirewallError;
use crate::flows::{FlowDump, Losses};
use crate::plan::Digest;
use crate::programmed::Generation;
use crate::threat::error::{ThreatError, Unreadable};
use crate::threat::list::ListName;
use crate::threat::posture::Posture;
use crate::threat::state::{Difference, ThreatState};
use crate::threat::table::ListTable;

impl ListTable for ThreatTable {
    fn generation(&mut self) -> Result<Option<Generation>, FirewallError> {
        self.generation().map(Some)
    }

    fn state(&mut self) -> Result<ThreatState, FirewallError> {
        self.state()
    }

    fn load(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError> {
        self.load_each(list, posture, entries)
    }

    fn apply_delta(
        &mut self,
        base: Digest,
        list: &ListName,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError> {
        self.apply_delta(base, list, adds, removes, posture)
    }

    fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError> {
        self.set_posture(posture)
    }

    fn verify_full(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError> {
        self.verify_full(entries)
    }

    fn a_missing_entry(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError> {
        self.a_missing_entry(entries)
    }

    fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        self.matches()
    }

    fn losses(&mut self) -> Result<Losses, FirewallError> {
        self.losses()
    }

    fn remove(&mut self) -> Result<(), FirewallError> {
        self.remove()
    }
}
