//! Connections that were open before there was any rule of ours.

use xshield_firewall::conntrack::{Introduced, Opened, introduce};
use xshield_firewall::{Firewall, KernelState};
use xshield_host::linux::connections::open_connections;
use xshield_host::linux::conntrack::established_timeout;
use xshield_wire::telemetry::DebugArea;

use crate::cycle::{CycleError, Run};
use crate::state::chain;
use crate::step::step;
use crate::trace;

impl Run<'_> {
    /// Where no ruleset is in force, the one that comes meets connections that the kernel never saw being
    /// opened.
    pub(crate) fn before_a_first_ruleset(
        &mut self,
        firewall: &mut Firewall,
    ) -> Result<(), CycleError> {
        if matches!(firewall.state()?, KernelState::Absent | KernelState::Damaged { .. }) {
            self.introduce_open_connections();
        }
        Ok(())
    }

    /// Tells connection tracking who opened the connections that are open. Where it can't be told, it
    /// takes whoever speaks next for the opener, as it does without us; the rules come all the same.
    pub(crate) fn introduce_open_connections(&mut self) {
        let opened = match open_connections() {
            Ok(connections) => connections,
            Err(error) => return self.note_unknown(&error),
        };
        let opened: Vec<Opened> = opened
            .into_iter()
            .map(|connection| Opened { from: connection.from, to: connection.to })
            .collect();
        match introduce(&opened, established_timeout()) {
            Ok(Introduced { new, known }) => trace::line(DebugArea::Rules, || {
                format!("connection tracking was told of {new} open connections, and knew {known}")
            }),
            Err(error) => self.note_unknown(&error),
        }
        step("introduced");
    }

    fn note_unknown(&mut self, error: &dyn std::error::Error) {
        let text = format!(
            "packets on connections that are open already may be denied until the side that opened \
             them speaks: {}",
            chain(error)
        );
        self.note("open-connections-unknown", text);
    }
}
