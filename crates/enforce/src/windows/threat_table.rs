//! The threat list's table on Windows: not there yet.

use std::net::IpAddr;

use xshield_firewall::threat::{Listed, ThreatError, ThreatState};
use xshield_firewall::{FirewallError, FlowDump};

/// A table that can't be opened, so there is no value of it.
pub(crate) enum ThreatTable {}

impl ThreatTable {
    /// Says that there is none.
    pub(crate) fn open() -> Result<Self, FirewallError> {
        Err(FirewallError::NoThreatList)
    }

    pub(crate) fn state(&mut self) -> Result<ThreatState, FirewallError> {
        match *self {}
    }

    pub(crate) fn lookup(&mut self, _: IpAddr) -> Result<Option<Listed>, ThreatError> {
        match *self {}
    }

    pub(crate) fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        match *self {}
    }
}
