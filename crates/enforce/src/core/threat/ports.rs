//! What the threat list's part asks of disk, platform and host. `crate::threat` implements it for the
//! real host, tests for a simulated one.

use std::net::SocketAddr;

use xshield_policy::{AssetId, Bound, BoundFailsafe};
use xshield_threat::Digest;
use xshield_wire::Verified;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{Problem, UnixSeconds};
use xshield_wire::threat::{ThreatFile, ThreatOrder, ThreatPath};

use super::failure::ThreatFailure;
use super::lists::{Elements, ExpectedList, KeptList, Lists, Made};
use super::part::ThreatPart;
use crate::step::Step;
use crate::threat::progress::ThreatProgress;

/// What outlives a run.
pub(crate) trait ThreatRecords {
    /// What runs remember; written at the end of the run.
    fn progress(&mut self) -> &mut ThreatProgress;

    /// Writes the order in force to disk.
    ///
    /// # Errors
    /// When it can't be written; the one before is intact then.
    fn save_order(&mut self, order: &Verified<ThreatOrder>) -> Result<(), ThreatFailure>;

    /// Writes to disk which lists are kept.
    ///
    /// # Errors
    /// When it can't be written; what was written before is intact then.
    fn save_lists(&mut self, lists: &Lists) -> Result<(), ThreatFailure>;

    /// Removes every list from disk that `lists` does not name.
    fn remove_other_lists(&mut self, lists: &Lists);

    /// Whether a list's file is there. Its content is checked when it is read.
    fn has_list(&self, list: &KeptList) -> bool;

    /// Reads a list. What was read is that list only when its end was reached without an error.
    ///
    /// # Errors
    /// When it can't be opened.
    fn elements(&self, list: &KeptList) -> Result<Elements, ThreatFailure>;

    /// Removes what was fetched, also by runs that were killed.
    fn remove_downloads(&mut self);
}

/// The platform.
pub(crate) trait ThreatSource {
    /// Whether the platform answered when it was last asked.
    fn was_reached(&self) -> bool;

    /// The keys that sign orders.
    fn trusted_keys(&self) -> Vec<PolicyPublicKey>;

    /// Fetches the order: an envelope, not yet verified, and which asset this host is. `None`: the
    /// platform does not know this host.
    ///
    /// # Errors
    /// When it does not come.
    fn order(&mut self) -> Result<Option<(Vec<u8>, AssetId)>, ThreatFailure>;

    /// Asks which files lead from a list, or from none, to the ordered one.
    ///
    /// # Errors
    /// When the answer does not come.
    fn path(&mut self, from: Option<Digest>) -> Result<ThreatPath, ThreatFailure>;

    /// Downloads the file with this number in the path.
    ///
    /// # Errors
    /// When it does not come, or is another file than the one that was named.
    fn download(&mut self, number: usize, file: &ThreatFile) -> Result<(), ThreatFailure>;

    /// Writes to disk the list that the downloaded file with this number makes: of nothing, or of `base`.
    ///
    /// # Errors
    /// When it does not result in the expected list, or can't be written.
    fn make_list(
        &mut self,
        number: usize,
        base: Option<&KeptList>,
        expected: &ExpectedList<'_>,
    ) -> Result<Made, ThreatFailure>;

    /// Says that the platform wants less than this host has had, and did not catch up.
    fn stays_behind(&mut self, wanted: &str, floor: &str);
}

/// The host, and the log of the run.
pub(crate) trait ThreatHost {
    /// This moment.
    fn now(&self) -> UnixSeconds;

    /// Another one after each start of the system.
    fn boot_id(&self) -> String;

    /// What is never blocked on a host without a policy. `known`: where the platform was, for while its
    /// name can't be resolved.
    fn failsafe_without_policy(&mut self, known: &[SocketAddr]) -> BoundFailsafe;

    /// Tells connection tracking who opened the connections that are open: the first rules come.
    fn introduce_open_connections(&mut self);

    /// Reads and reports what matched the list since the last run: its table is about to go.
    fn report_last_matches(&mut self, threat: &mut ThreatPart, bound: Option<&Bound>);

    /// Something that an operator should know.
    fn note(&mut self, problem: Problem);

    /// A step is done.
    fn step(&mut self, step: Step);
}

/// All of it, besides the kernel.
pub(crate) trait ThreatWorld: ThreatRecords + ThreatSource + ThreatHost {}

impl<T: ThreatRecords + ThreatSource + ThreatHost> ThreatWorld for T {}
