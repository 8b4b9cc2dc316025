//! From what was seen to what the platform has: events, hits, ports; outbox, spool, acknowledgement.

use std::time::Instant;

use xshield_firewall::flows::Delta;
use xshield_firewall::{Capabilities, Firewall, Hit, Losses, Programmed};
use xshield_host::linux::kernel_log::{self, LoggedFlow, Moment, Sources};
use xshield_host::spool::Lane;
use xshield_policy::{Bound, Direction};
use xshield_wire::message::{
    DirectionState, EventKind, EventReport, EventSource, FirewallEvent, Problem, ProgrammedReport,
    Report, ReportBody, UnenforceableRule, UnixSeconds,
};

use crate::behind::Behind;
use crate::client::{pack, to_json};
use crate::cycle::{CycleError, Run};
use crate::paths::{self, RecordedPaths};
use crate::reports::{self, Interval};
use crate::state::problem;
use crate::step::step;
use crate::threat::matches::Matches;

/// Events in one report at most; a flood makes several.
const EVENTS_PER_REPORT: usize = 5_000;
/// No pause between deliveries that the platform asks for is longer, in seconds.
const LONGEST_PAUSE: u64 = 3_600;

/// What the recorders counted since the last run, not yet told.
pub(crate) struct Recorded {
    flows: Vec<Delta>,
    matches: Option<Matches>,
    /// The ruleset that decided about them.
    bound: Option<Bound>,
    interval: Interval,
}

impl Run<'_> {
    /// Reads what the recorders counted since the last run, under the ruleset that decided. It is not
    /// read again: whatever happens next, it is to be [told](Self::tell_flows).
    pub(crate) fn read_flows(&mut self, firewall: &mut Firewall) -> Result<Recorded, CycleError> {
        let dump = firewall.flows()?;
        let now = self.cycle.surroundings.now();
        let since = self.progress.last_collected.replace(now).unwrap_or(now);
        let flows = self.progress.flows.advance(&dump, self.cycle.surroundings.uptime_ms());
        let matches = self.read_matches();
        let interval = Interval { since, until: now };
        Ok(Recorded { flows, matches, bound: self.bound(), interval })
    }

    /// Makes reports of what was recorded and of what the kernel logged. That log may take long to read
    /// (journald is asked by way of its program): what is to be enforced comes first.
    pub(crate) fn tell_flows(&mut self, recorded: Recorded, capabilities: &Capabilities) {
        let Recorded { flows, matches, bound, interval } = recorded;
        let mut events = reports::flow_events(&flows, bound.as_ref(), interval);
        if let Some(bound) = bound.as_ref().filter(|bound| reports::has_program_rules(bound)) {
            let opened = events.iter().filter(|event| event.direction == Direction::Outbound);
            let behind = Behind::of(opened.map(reports::place));
            reports::name_programs(&mut events, bound, &behind);
        }
        if self.cycle.errand.paths == RecordedPaths::Told {
            paths::reports(&events, interval).into_iter().for_each(|body| self.put(body));
        }
        let denials = events.iter().any(|event| event.kind != EventKind::Accepted);
        let mut logged_matches = Vec::new();
        if denials || !capabilities.recorder {
            let logged = self.logged_flows(interval);
            let logged_events = logged.iter().filter_map(|flow| flow.event(EventSource::KernelLog));
            events.extend(self.own_events(logged_events.collect(), bound.as_ref(), interval));
            if !capabilities.recorder {
                logged_matches.extend(logged.iter().filter_map(LoggedFlow::threat));
            }
        }
        self.tell_matches(matches, &logged_matches, bound.as_ref());
        self.spool_losses = self.spool.losses();
        self.progress.lost += self.spool_losses.items;
        self.outcome.events += events.len();
        let mut lost = std::mem::take(&mut self.progress.lost);
        let mut chunks = events.chunks(EVENTS_PER_REPORT).map(<[_]>::to_vec).collect::<Vec<_>>();
        if chunks.is_empty() && lost > 0 {
            chunks.push(Vec::new());
        }
        for events in chunks {
            self.put(ReportBody::Events(EventReport { events, lost: std::mem::take(&mut lost) }));
        }
    }

    /// The ruleset in force, as it is on this host.
    pub(crate) fn bound(&self) -> Option<Bound> {
        self.known_good.as_ref().map(|known| known.ruleset.bind(&known.facts).0)
    }

    /// Flows that found no room in the recorder since the last run. They are read with the ruleset.
    pub(crate) fn count_recorder_losses(&mut self, losses: Losses) {
        let new = losses.since(&mut self.progress.recorder_lost);
        self.progress.lost += new;
        if new > 0 {
            let text = format!("the flow recorder was full: {new} packets are not in the events");
            self.note("recorder-full", text);
        }
    }

    /// Log lines since the last run. Beside the exact counts of the recorder they are what operators'
    /// other tools see, too.
    fn logged_flows(&mut self, interval: Interval) -> Vec<LoggedFlow> {
        let moment = Moment {
            now: interval.until,
            uptime: self.cycle.surroundings.uptime_ms() / 1000,
            boot_id: &self.host.boot_id,
        };
        match Sources::default().read(self.progress.log.as_ref(), moment) {
            Ok(Some(batch)) => {
                self.progress.lost += batch.lost;
                self.progress.log = Some(batch.cursor);
                kernel_log::flows(batch.lines, interval.until)
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                self.outcome.problems.push(problem("kernel-log", &error));
                Vec::new()
            }
        }
    }

    /// What this host logged, with the rules that decided: those of `before` until the end of `interval`,
    /// and those in force now after it. The kernel has one log for all network namespaces.
    fn own_events(
        &self,
        mut events: Vec<FirewallEvent>,
        before: Option<&Bound>,
        interval: Interval,
    ) -> Vec<FirewallEvent> {
        events.retain(|event| reports::is_about(event, &self.host.addresses));
        let is_late = |event: &FirewallEvent| event.last_seen > interval.until;
        let (mut late, mut events): (Vec<_>, Vec<_>) = events.into_iter().partition(is_late);
        reports::name_rules(&mut events, before);
        if !late.is_empty() {
            reports::name_rules(&mut late, self.bound().as_ref());
        }
        events.extend(late);
        events
    }

    /// Adds a slot's last hits, read when it was out of use, to the next report.
    pub(crate) fn count_hits(&mut self, hits: &[Hit]) {
        let differences = reports::hit_differences(hits, &mut self.progress.hits);
        self.progress.hits.clear();
        self.final_hits.extend(differences);
    }

    /// Reports what the kernel returned, if anything is new in it.
    pub(crate) fn report_programmed(&mut self, programmed: &Programmed) {
        let Some(in_force) = self.outcome.in_force else { return };
        let Some(known) = &self.known_good else { return };
        let inbound = DirectionState::of(&known.ruleset.inbound);
        let outbound = DirectionState::of(&known.ruleset.outbound);
        let plan = programmed.digest.to_string();
        if self.progress.hits_of.as_ref() != Some(&plan) {
            self.progress.hits.clear();
            self.progress.hits_of = Some(plan);
        }
        let mut hits = std::mem::take(&mut self.final_hits);
        hits.extend(reports::hit_differences(&programmed.hits, &mut self.progress.hits));
        let text = programmed.to_string();
        let digest = reports::sha256(format!("{in_force:?}\n{text}").as_bytes());
        let is_new = self.progress.programmed_digest != Some(digest);
        if !is_new && hits.is_empty() {
            return;
        }
        self.progress.programmed_digest = Some(digest);
        let rules = self.prepared.as_ref().map_or(&[][..], |prepared| &prepared.unenforceable);
        let unenforceable = rules.iter().map(|rule| UnenforceableRule {
            rule: rule.rule.clone(),
            direction: rule.direction,
            reason: rule.reason.clone(),
        });
        let unenforceable = unenforceable.collect();
        let text = is_new.then_some(text);
        let report = ProgrammedReport { in_force, inbound, outbound, hits, text, unenforceable };
        self.put(ReportBody::Programmed(report));
    }

    /// Reports the listening ports when they have changed.
    pub(crate) fn report_ports(&mut self) {
        let digest = reports::ports_digest(&self.ports);
        if self.progress.ports_digest == Some(digest) {
            return;
        }
        self.progress.ports_digest = Some(digest);
        self.put(ReportBody::ListeningPorts { ports: self.ports.clone() });
    }

    pub(crate) fn put(&mut self, body: ReportBody) {
        let surroundings = self.cycle.surroundings;
        let report = Report::new(surroundings.random(), surroundings.now(), body);
        self.put_report(report);
    }

    /// What the platform would not take whole is cut here, and told.
    pub(crate) fn put_report(&mut self, mut report: Report) {
        self.outcome.problems.extend(report.fit().into_iter().map(Problem::from));
        self.progress.outbox.push(report);
    }

    /// Moves what was written down together with the positions into the spool. A kill in between moves
    /// it again; the batch ids stay, and the platform counts each once.
    pub(crate) fn move_outbox_to_spool(&mut self) -> Result<(), CycleError> {
        if self.progress.outbox.is_empty() {
            return Ok(());
        }
        for report in std::mem::take(&mut self.progress.outbox) {
            let items = match &report.body {
                ReportBody::Events(events) => events.events.len() as u64 + events.lost,
                ReportBody::Threats(threats) => threats.matches.len() as u64 + threats.lost,
                ReportBody::Paths(paths) => paths.paths.len() as u64 + paths.lost,
                _ => 0,
            };
            self.spool.append(&pack(&to_json(&report)), items, lane(&report.body))?;
        }
        self.state.save_progress(&self.progress)?;
        Ok(())
    }

    /// Delivers what is waiting, smallest first, until the platform does not answer or has enough for
    /// now: then what waits stays in the spool until the time that it named.
    pub(crate) fn deliver(&mut self) {
        let now = self.cycle.surroundings.now();
        if self.progress.reports_after.is_some_and(|after| is_ahead(after, now)) {
            self.outcome.waiting = self.spool.waiting();
            return;
        }
        self.progress.reports_after = None;
        let limit = self.cycle.errand.patience.map(|patience| Instant::now() + patience);
        for id in self.spool.pending() {
            if !self.was_reached() || limit.is_some_and(|limit| Instant::now() >= limit) {
                break;
            }
            let record = match self.spool.read(id) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    self.outcome.problems.push(problem("spool", &error));
                    continue;
                }
            };
            match self.client.report(&record) {
                Ok(_) => self.outcome.delivered += 1,
                // What the platform will never take must not keep what comes after it waiting.
                Err(error) if error.is_final() => {
                    self.progress.lost += self.spool.items(id).max(1);
                    self.outcome.problems.push(problem("report-refused", &error));
                }
                Err(error) => {
                    let pause = error.retry_after().map(|seconds| seconds.min(LONGEST_PAUSE));
                    self.progress.reports_after = pause.map(|seconds| now.saturating_add(seconds));
                    self.outcome.problems.push(problem("report-undelivered", &error));
                    break;
                }
            }
            step("delivered");
            if let Err(error) = self.spool.acknowledge(id) {
                self.outcome.problems.push(problem("spool", &error));
            }
        }
        self.outcome.waiting = self.spool.waiting();
    }
}

/// Whether a time up to which nothing is delivered is still to come. One that is further off than any
/// pause was named before the clock was set back.
fn is_ahead(after: UnixSeconds, now: UnixSeconds) -> bool {
    after > now && after - now <= LONGEST_PAUSE
}

/// What adds up may come in any order; of everything else the last word counts, or the order itself.
fn lane(body: &ReportBody) -> Lane {
    match body {
        ReportBody::Events(_) | ReportBody::Threats(_) | ReportBody::Paths(_) => Lane::BySize,
        ReportBody::Programmed(_) => Lane::InOrder(1),
        ReportBody::ListeningPorts { .. } => Lane::InOrder(2),
        ReportBody::Commands { .. } => Lane::InOrder(3),
        ReportBody::Host(_) => Lane::InOrder(4),
        ReportBody::Software(_) => Lane::InOrder(5),
        ReportBody::Live(_) => Lane::InOrder(6),
        ReportBody::Agent { .. } => Lane::InOrder(7),
        ReportBody::DebugLog(_) => Lane::InOrder(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_and_a_clock_that_was_set_back_does_not_prolong_it() {
        for (after, now, ahead) in [
            (1_000, 999, true),
            (1_000, 1_000, false),
            (1_000, 1_001, false),
            (1_000 + LONGEST_PAUSE, 1_000, true),
            (1_001 + LONGEST_PAUSE, 1_000, false),
            (u64::MAX, 0, false),
        ] {
            assert_eq!(is_ahead(after, now), ahead, "{after} {now}");
        }
    }
}
