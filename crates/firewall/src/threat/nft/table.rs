//! The table, and changing it.

use super::names::TABLE;
use super::read::Survey;
use crate::error::FirewallError;
use crate::nft::socket::{Batch, Link};
use crate::nft::{BOUND_TRIES, TRIES, capability};
use crate::threat::error::ThreatError;

/// The threat list of the network namespace in which it was opened.
pub struct ThreatTable {
    pub(super) link: Link,
}

impl ThreatTable {
    /// Opens the table, whether it exists or not. Changes nothing.
    ///
    /// # Errors
    /// [`FirewallError::NoNfTables`], or the socket's error.
    pub fn open() -> Result<Self, FirewallError> {
        let mut link = Link::open()?;
        link.generation().map_err(capability::no_nf_tables)?;
        Ok(Self { link })
    }

    /// Surveys, decides and commits; repeated if others changed rules meanwhile.
    pub(super) fn change(
        &mut self,
        action: &'static str,
        decide: impl Fn(&Survey, &mut Batch) -> Result<(), ThreatError>,
    ) -> Result<(), ThreatError> {
        for attempt in 0..TRIES {
            let survey = Survey::read(&mut self.link)?;
            let bound_to = survey.generation.filter(|_| attempt < BOUND_TRIES);
            let mut batch = Batch::of_table(TABLE, bound_to);
            decide(&survey, &mut batch)?;
            if batch.is_empty() {
                return Ok(());
            }
            match self.link.commit(batch, action) {
                Err(FirewallError::Busy { .. }) => {}
                other => return Ok(other?),
            }
        }
        Err(FirewallError::Busy { action }.into())
    }
}
