//! The end of a run: what it found is reported, saved and delivered.

use xshield_wire::message::UnixSeconds;
use xshield_wire::telemetry::LogEnd;

use crate::agent_events::{self, Before, RunFindings};
use crate::core::cycle::{Conclusion, conclude};
use crate::core::delivery::Delivery;
use crate::cycle_error::CycleError;
use crate::delivery::HostDelivery;
use crate::diagnostics::Diagnosing;
use crate::os;
use crate::outcome::RunOutcome;
use crate::parts::Parts;
use crate::routes::{self, ProxyListDigest};
use crate::step::Step;
use crate::{commands, reached};

/// What delivery may change after the positions were saved.
#[derive(Default)]
struct Unsaved {
    lost: u64,
    pause: Option<UnixSeconds>,
}

/// The end of a run.
pub(super) struct Ending<'p, 'a> {
    parts: &'p mut Parts<'a>,
    before: Before,
    unsaved: Unsaved,
}

impl<'a> Ending<'_, 'a> {
    /// Reports, saves and delivers what the run found, and returns its outcome.
    pub(super) fn conclude(mut parts: Parts<'_>, before: Before) -> Result<RunOutcome, CycleError> {
        let status = parts.status();
        conclude(&mut Ending { parts: &mut parts, before, unsaved: Unsaved::default() })?;
        parts.exchange.client.hand_over(&parts.run.options.connection);
        // Whatever prevented the delivery of reports may have prevented the check-in before.
        parts.run.tell_once();
        Ok(parts.outcome(status))
    }

    /// What the next run is to know of this one.
    fn remember(&mut self) {
        let Self { parts, before, .. } = self;
        let run = &mut parts.run;
        run.progress.last_run = Some(run.now());
        run.progress.routes = parts.exchange.routes(run);
        let proxies = &run.config.proxies;
        if !run.progress.proxies.as_ref().is_some_and(|mark| mark.is_of(proxies)) {
            run.progress.proxies = Some(ProxyListDigest::new(proxies, run.environment.random()));
        }
        let routes = run.progress.routes.clone();
        let findings = RunFindings {
            before,
            contact: parts.exchange.contact(),
            in_force: parts.policy.in_force(),
            change: parts.policy.change(),
            threat: parts.threat.change(),
            routes: &routes,
            spool_losses: parts.delivery.losses(),
        };
        agent_events::report(run, &findings);
        run.progress.problems = run.problems.clone();
    }

    fn mail(&mut self) -> (&mut Delivery, HostDelivery<'_, 'a>) {
        let Parts { run, exchange, spool, delivery, .. } = &mut *self.parts;
        (delivery, HostDelivery::new(run, exchange, spool))
    }
}

impl Conclusion for Ending<'_, '_> {
    type Error = CycleError;

    fn report_the_rest(&mut self) {
        let parts = &mut *self.parts;
        parts.run.problems.extend(routes::problems(&parts.exchange.client.routes()));
        let state_to_report = parts.state_to_report();
        parts.exchange.tell_the_rest(&mut parts.run, state_to_report);
        parts.run.problems.append(&mut parts.exchange.take_findings());
        parts.run.tell_once();
    }

    fn save(&mut self) -> Result<(), CycleError> {
        self.remember();
        let run = &mut self.parts.run;
        commands::publish_debug_log(run, LogEnd::Open);
        run.state.save_progress(&run.progress)?;
        reached::step(Step::Saved);
        Ok(())
    }

    fn fill_spool(&mut self) -> Result<(), CycleError> {
        let (delivery, mut mail) = self.mail();
        delivery.settle_losses(&mut mail)?;
        delivery.move_outbox(&mut mail)?;
        reached::step(Step::Spooled);
        Ok(())
    }

    fn deliver(&mut self) {
        let progress = &self.parts.run.progress;
        self.unsaved = Unsaved { lost: progress.lost, pause: progress.reports_after };
        let (delivery, mut mail) = self.mail();
        delivery.deliver(&mut mail);
    }

    fn serve_diagnostics(&mut self) -> Result<(), CycleError> {
        let standing = self.parts.state_to_report().policy;
        let last_known_good = self.parts.policy.proven().map(|known| known.ruleset.in_force());
        let Parts { run, exchange, spool, delivery, .. } = &mut *self.parts;
        let system = os::diagnostic_facts;
        let mut diagnosing =
            Diagnosing { run, exchange, delivery, spool, standing, last_known_good, system };
        diagnosing.serve()?;
        diagnosing.leave();
        commands::publish_debug_log(&mut self.parts.run, LogEnd::Open);
        Ok(())
    }

    fn save_again(&mut self) -> Result<(), CycleError> {
        let Parts { run, exchange, .. } = &mut *self.parts;
        exchange.keep_session(run);
        let routes = exchange.routes(run);
        let progress = &mut run.progress;
        let Unsaved { lost, pause } = self.unsaved;
        let is_unsaved =
            progress.lost != lost || progress.reports_after != pause || !progress.outbox.is_empty();
        if is_unsaved || routes != progress.routes {
            progress.routes = routes;
            run.state.save_progress(progress)?;
        }
        Ok(())
    }
}
