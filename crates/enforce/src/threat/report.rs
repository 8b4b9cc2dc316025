//! What the platform hears: matches, and how the host stands.

use xshield_firewall::FirewallError;
use xshield_firewall::threat::ThreatTable;
use xshield_host::linux::kernel_log::LoggedThreat;
use xshield_policy::Bound;
use xshield_threat::ThreatMode;
use xshield_wire::message::ReportBody;
use xshield_wire::threat::{ThreatReport, ThreatStanding};

use super::Kernel;
use super::matches::{self, Context, Flow, Matches};
use crate::behind::Behind;
use crate::cycle::Run;
use crate::reports::Interval;
use crate::state::problem;

/// Matches in one report at most; a flood makes several.
const MATCHES_PER_REPORT: usize = 5_000;

impl Run<'_> {
    /// Reads what the recorder counted since the last run, under the list and policy that were in
    /// force.
    pub(crate) fn read_matches(&mut self) -> Option<Matches> {
        let now = self.cycle.surroundings.now();
        let Some(current) = &self.threat.lists.current else {
            // What a first list finds, it finds from now on.
            self.progress.threat.last_collected = Some(now);
            return None;
        };
        let revision = current.name.revision;
        let since = self.progress.threat.last_collected.unwrap_or(now);
        let mut flows = Vec::new();
        let read = |table: &mut ThreatTable| Ok((table.matches()?, table.losses()?));
        match self.threat.table().and_then(read) {
            Ok((dump, losses)) => {
                let progress = &mut self.progress.threat;
                let new = progress.flows.advance(&dump, self.cycle.surroundings.uptime_ms());
                flows = matches::recorded(&new, Interval { since, until: now });
                progress.last_collected = Some(now);
                let lost = losses.since(&mut progress.recorder_lost);
                progress.lost += lost;
                if lost > 0 {
                    let text = format!(
                        "the recorder of threat matches was full: {lost} packets are not in the events"
                    );
                    self.note("threat-recorder-full", text);
                }
            }
            // The table is gone, and the next step puts it back.
            Err(FirewallError::NothingInForce { .. }) => {}
            Err(error) => self.outcome.problems.push(problem("threat-matches-unread", &error)),
        }
        Some(Matches { revision, flows })
    }

    /// Makes reports of what matched; `logged`: what a kernel without a recorder wrote to its log.
    pub(crate) fn tell_matches(
        &mut self,
        matches: Option<Matches>,
        logged: &[LoggedThreat],
        bound: Option<&Bound>,
    ) {
        let Some(Matches { revision, flows: mut found }) = matches else { return };
        found.extend(matches::logged(logged, &self.host.addresses));
        self.outcome.threat.matches += found.len();
        let behind = Behind::of(found.iter().map(Flow::place));
        let context = Context { bound, ports: &self.ports, revision };
        let found: Vec<_> = found
            .into_iter()
            .map(|flow| {
                let program = behind.get(&flow.place());
                flow.report(&context, program)
            })
            .collect();
        let mut lost = std::mem::take(&mut self.progress.threat.lost);
        let mut chunks = found.chunks(MATCHES_PER_REPORT).map(<[_]>::to_vec).collect::<Vec<_>>();
        if chunks.is_empty() && lost > 0 {
            chunks.push(Vec::new());
        }
        for matches in chunks {
            let lost = std::mem::take(&mut lost);
            self.put(ReportBody::Threats(ThreatReport { matches, lost }));
        }
    }

    /// How the host stands, in the words of a check-in.
    pub(crate) fn threat_standing(&self) -> ThreatStanding {
        let in_kernel = self.threat.kernel != Kernel::Without;
        let list = self.threat.lists.current.as_ref().filter(|_| in_kernel);
        let posture = self.threat.lists.posture.as_ref().filter(|_| list.is_some());
        ThreatStanding {
            order: self.threat.order.as_ref().map(|order| order.name()),
            list: list.map(|list| list.name.clone()),
            inbound: posture.map_or(ThreatMode::Off, |posture| posture.inbound),
            outbound: posture.map_or(ThreatMode::Off, |posture| posture.outbound),
            elements: list.map_or(0, |list| list.elements()),
            verified_at: list.and(self.progress.threat.verified_at),
            memory: self.threat.memory,
            budget: self.cycle.config.threat_budget,
            failure: self.progress.threat.failure.clone(),
        }
    }

    /// Notes what the platform has just heard.
    pub(crate) fn threat_told(&mut self, told: Option<ThreatStanding>) {
        self.threat.told = told;
    }

    /// Whether the host stands otherwise than the platform was told in this run.
    pub(crate) fn threat_is_untold(&self) -> bool {
        self.threat.told != Some(self.threat_standing())
    }
}
