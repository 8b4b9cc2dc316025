//! The table that a threat list stands in, whatever the system keeps it in.

use ipnet::IpNet;

use super::error::{ThreatError, Unreadable};
use super::list::ListName;
use super::posture::Posture;
use super::state::{Difference, ThreatState};
use crate::error::FirewallError;
use crate::flows::{FlowDump, Losses};
use crate::plan::Digest;
use crate::programmed::Generation;

/// A host's threat list in its firewall. Every change is one transaction, or happens beside the list in
/// force until one switches to it: at any failure the list that was in force is in force, complete.
pub trait ListTable: Send {
    /// A number that is another one after any change that may concern the list.
    ///
    /// # Errors
    /// When the firewall can't be asked.
    fn generation(&mut self) -> Result<Generation, FirewallError>;

    /// What stands there: names, numbers and everything around the list, without its entries.
    ///
    /// # Errors
    /// When the firewall can't be asked.
    fn state(&mut self) -> Result<ThreatState, FirewallError>;

    /// Puts a whole list in force, in bounded memory.
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

    /// Turns the list `base` in force into another one: every entry that is removed must be there, and none
    /// that is added.
    ///
    /// # Errors
    /// When another list is in force, there is no room, or the firewall refuses an entry; then nothing was
    /// changed.
    fn apply_delta(
        &mut self,
        base: Digest,
        list: &ListName,
        adds: &[IpNet],
        removes: &[IpNet],
        posture: &Posture,
    ) -> Result<(), ThreatError>;

    /// Takes another posture, or repairs what is around the list, without touching the list.
    ///
    /// # Errors
    /// Without a complete list, or when the firewall refuses; then nothing was changed.
    fn set_posture(&mut self, posture: &Posture) -> Result<(), ThreatError>;

    /// Compares the whole list with what it should be.
    ///
    /// # Errors
    /// When it can't be read whole.
    fn verify_full(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Vec<Difference>, ThreatError>;

    /// Looks for an entry that is gone, in so few of them that every run can afford it.
    ///
    /// # Errors
    /// When there is no list in force, or it can't be asked.
    fn a_missing_entry(
        &mut self,
        entries: &mut dyn Iterator<Item = IpNet>,
    ) -> Result<Option<IpNet>, ThreatError>;

    /// Flows with listed peers, as recorded.
    ///
    /// # Errors
    /// When there is no table, or it can't be read.
    fn matches(&mut self) -> Result<FlowDump, FirewallError>;

    /// What the recorder had no room for.
    ///
    /// # Errors
    /// When it can't be read.
    fn losses(&mut self) -> Result<Losses, FirewallError>;

    /// Takes the list and its table away.
    ///
    /// # Errors
    /// When the firewall refuses.
    fn remove(&mut self) -> Result<(), FirewallError>;
}
