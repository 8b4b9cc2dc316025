//! The threat list in this host's filter engine.

use std::net::IpAddr;

use xshield_firewall::threat::{ListTable, Listed, ThreatError, ThreatState};
use xshield_firewall::wfp::WfpThreatTable;
use xshield_firewall::wfp::windows::{HostEngine, LockLimits};
use xshield_firewall::{FirewallError, FlowDump};

/// The list's filters.
pub(crate) struct ThreatTable(WfpThreatTable<HostEngine>);

impl ThreatTable {
    /// Reaches the filter engine when it is first asked for something.
    pub(crate) fn open() -> Result<Self, FirewallError> {
        Ok(Self(table()))
    }

    pub(crate) fn state(&mut self) -> Result<ThreatState, FirewallError> {
        self.0.state()
    }

    pub(crate) fn lookup(&mut self, address: IpAddr) -> Result<Option<Listed>, ThreatError> {
        self.0.lookup(address)
    }

    pub(crate) fn matches(&mut self) -> Result<FlowDump, FirewallError> {
        self.0.matches()
    }
}

/// The list in this host's filter engine.
pub(crate) fn table() -> WfpThreatTable<HostEngine> {
    WfpThreatTable::new(HostEngine::new(LockLimits::USUAL))
}
