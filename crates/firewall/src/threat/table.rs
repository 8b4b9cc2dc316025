//! The interface of a threat list's table, independent of the system.

use ipnet::IpNet;

use super::error::{ThreatError, Unreadable};
use super::list::ListName;
use super::posture::Posture;
use super::state::{Difference, ThreatState};
use crate::error::FirewallError;
use crate::flows::{FlowDump, Losses};
use crate::plan::Digest;
use crate::programmed::Generation;

/// A host's threat list in its firewall. Every change is one transaction, or is prepared beside the list in
/// force until one transaction switches to it: after any failure the list that was in force is still in
/// force, complete.
pub trait ListTable {
    /// A number that changes with any change that may concern the list; `None` if the system does not count
    /// changes.
    ///
    /// # Errors
    /// When the firewall can't be read.
    fn generation(&mut self) -> Result<Option<Generation>, FirewallError>;

    /// The state of the table: names, numbers and everything around the list, without its entries.
    ///
    /// # Errors
    /// When the firewall can't be read.
    fn state(&mut self) -> Result<ThreatState, FirewallError>;

    /// Puts a whole list in force, with bounded memory.
    ///
    /// # Errors
    /// When an entry can't be read, the entries are not those that `list` names, or the firewall refuses
    /// them.
    fn load(
        &mut self,
        list: &ListName,
        posture: &Posture,
        entries: &mut dyn Iterator<Item = Result<IpNet, Unreadable>>,
    ) -> Result<(), ThreatError>;

    /// Changes the list `base` in force to another one: every removed entry must exist, and no added one.
    ///
    /// # Errors
    /// When another list is in force, there is no room, or the firewall refuses an entry; nothing is changed
    /// then.
    fn apply_delta(
        &mut self,
        base: Digest,
        list: &ListName,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError>;

    /// Applies a posture, or repairs what is around the list, without touching the list.
    ///
    /// # Errors
    /// [`ThreatError::NotInForce`] without a complete list, or where the system needs the entries for other
    /// modes: load the list again. Otherwise when the firewall refuses. Nothing is changed then.
    fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError>;

    /// Compares the whole list with the expected one.
    ///
    /// # Errors
    /// When it can't be read completely.
    fn verify_full(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError>;

    /// Searches for a missing entry among a sample small enough for every run.
    ///
    /// # Errors
    /// When there is no list in force, or it can't be read.
    fn a_missing_entry(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError>;

    /// Flows with listed peers, as recorded.
    ///
    /// # Errors
    /// When there is no table, or it can't be read.
    fn matches(&mut self) -> Result<FlowDump, FirewallError>;

    /// The recorder's losses.
    ///
    /// # Errors
    /// When it can't be read.
    fn losses(&mut self) -> Result<Losses, FirewallError>;

    /// Deletes the list and its table.
    ///
    /// # Errors
    /// When the firewall refuses.
    fn remove(&mut self) -> Result<(), FirewallError>;
}
