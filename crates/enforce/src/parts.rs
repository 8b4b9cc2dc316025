//! The parts of a run, as the cycle calls them.

use xshield_firewall::{FirewallError, Generation};
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{CheckInAnswer, Status};
use xshield_wire::telemetry::LogEnd;

use crate::agent_events::{self, Before, Happened};
use crate::client::Connection;
use crate::config::Provisioning;
use crate::core::cycle::enforce;
use crate::core::policy::{Failed, LastSeen, PolicyPart};
use crate::core::ports::PolicyStatus;
use crate::core::result::{OtherManager, Ownership, PartResults, RunStatus};
use crate::cycle_error::CycleError;
use crate::delivery::Delivery;
use crate::diagnostics::Diagnosing;
use crate::exchange::{Exchange, Says};
use crate::options::Handing;
use crate::os::{self, Firewall, ListeningSocket, Recorded, RecordedMatches, SocketsError};
use crate::outcome::Outcome;
use crate::routes::{self, ProxiesMark};
use crate::run::Run;
use crate::shell::Shell;
use crate::step::Step;
use crate::summary::PolicyInShort;
use crate::threat::{ThreatPart, ThreatWork};
use crate::{commands, programmed_report, reached, rollback};

/// Why the kernel and the host could not be read.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error(transparent)]
    Sockets(#[from] SocketsError),
}

/// What a run reads from the kernel at its beginning.
pub(super) struct Look {
    firewall: Firewall,
    recorded: Recorded,
}

/// The parts of a run.
pub(super) struct Parts<'a> {
    pub(super) run: Run<'a>,
    pub(super) exchange: Exchange<'a>,
    pub(super) policy: PolicyPart,
    pub(super) threat: ThreatPart,
    pub(super) delivery: Delivery,
    /// The listening sockets of this host.
    pub(super) sockets: Vec<ListeningSocket>,
    pub(super) ownership: Ownership,
    /// Flow events found in this run.
    pub(super) events: usize,
}

/// The other parts of a run, as the policy part uses them.
macro_rules! shell {
    ($parts:expr) => {
        &mut Shell {
            run: &mut $parts.run,
            exchange: &mut $parts.exchange,
            threat: &$parts.threat,
            sockets: &$parts.sockets,
        }
    };
}

impl<'a> Parts<'a> {
    /// Enforces, or changes nothing if another program manages the firewall, and completes the run.
    pub(super) fn run(
        mut self,
        other_manager: Option<OtherManager>,
        fingerprint: IdentityFingerprint,
    ) -> Result<Outcome, CycleError> {
        let before = self.begin();
        match other_manager {
            None => enforce(&mut self),
            Some(other) => self.stand_back(other),
        }
        let outcome = self.finish(&before)?;
        Ok(Outcome { fingerprint: Some(fingerprint), ..outcome })
    }

    /// Takes the options of the run and the initial state.
    fn begin(&mut self) -> Before {
        let progress = &self.run.progress;
        let used = progress.routes.iter().find(|report| report.in_use);
        let before = Before {
            in_force: self.policy.proven().map(|known| known.ruleset.in_force()),
            route: used.map(|report| report.route.clone()),
            configuration: progress.configuration.as_ref().map(|set| set.version),
        };
        commands::resume_debug_log(&mut self.run);
        let options = self.run.options;
        for report in &options.reports {
            if !self.run.progress.outbox.iter().any(|waiting| waiting.batch == report.batch) {
                self.run.put_report(report.clone());
            }
        }
        self.threat.read_memory(&self.run.surroundings.root);
        before
    }

    /// Opens the kernel's firewall, and lists the listening sockets of this host.
    fn listen(&mut self) -> Result<Firewall, LookError> {
        let mut firewall = os::open_firewall()?;
        os::follow_connections(&mut self.run, &mut firewall, self.threat.has_list());
        self.settle_live(&mut firewall);
        self.sockets = os::listening_sockets(&mut self.run)?;
        self.run.ports = os::ports(&self.sockets);
        Ok(firewall)
    }

    /// Sets the log group to which the rules send packets. A new group is used only if the kernel supports
    /// it.
    fn settle_live(&mut self, firewall: &mut Firewall) {
        let before = self.policy.live();
        let group = match self.run.options.live {
            Handing::Nobody => None,
            Handing::AsBefore => before,
            Handing::To(group) if before == Some(group) => Some(group),
            Handing::To(group) if os::can_hand_over(firewall) => Some(group),
            Handing::To(_) => {
                let text = "this kernel can't send packets to a log group (nfnetlink_log, named \
                            counters): denials and matches are reported only at heartbeats";
                self.run.note("live-unavailable", text.to_owned());
                None
            }
        };
        self.policy.hand_to(group);
    }

    fn last_seen(&self) -> LastSeen {
        match &self.run.progress.generation {
            None => LastSeen::Never,
            Some((boot, generation)) if *boot == self.run.host.boot_id => {
                LastSeen::At(Generation(*generation))
            }
            Some(_) => LastSeen::BeforeThisBoot,
        }
    }

    fn threat_work(&mut self) -> ThreatWork<'_, 'a> {
        ThreatWork {
            threat: &mut self.threat,
            run: &mut self.run,
            exchange: &mut self.exchange,
            policy: &self.policy,
            introduce: os::introduce,
        }
    }

    /// The host's state as a check-in reports it.
    fn says(&self) -> Says {
        let PolicyStatus { status, in_force } = self.policy.standing();
        let status = match self.ownership {
            Ownership::Ours => status,
            Ownership::Foreign(by) => Status::Blocked { by: by.to_owned() },
        };
        Says { policy: PolicyStatus { status, in_force }, threat: self.threat.standing(&self.run) }
    }

    fn say_how_it_stands(&mut self) -> Option<CheckInAnswer> {
        let says = self.says();
        self.exchange.check_in(&mut self.run, says, Connection::Any)
    }

    fn let_catch_up(&mut self, answer: CheckInAnswer) -> CheckInAnswer {
        let says = self.says();
        let Self { run, exchange, policy, threat, .. } = self;
        rollback::let_catch_up(answer, run, exchange, says, policy, threat.order())
    }

    /// Another program manages this host's firewall: nothing is changed, and the platform is informed.
    fn stand_back(&mut self, OtherManager { by, text }: OtherManager) {
        self.run.note(&format!("blocked-{by}"), text);
        self.ownership = Ownership::Foreign(by);
        let last = self.last_seen();
        if let Ok(mut firewall) = os::open_firewall() {
            self.policy.look_only(&mut firewall, last);
        }
        self.threat.look_only();
        self.say_how_it_stands();
    }

    /// Saves the positions, then delivers waiting reports.
    fn finish(mut self, before: &Before) -> Result<Outcome, CycleError> {
        let status = self.status();
        self.run.problems.extend(routes::problems(&self.exchange.client.routes()));
        let says = self.says();
        self.exchange.tell_the_rest(&mut self.run, says);
        self.run.problems.append(&mut self.exchange.take_findings());
        self.run.tell_once();
        self.remember(before);
        commands::publish_debug_log(&mut self.run, LogEnd::Open);
        self.run.state.save_progress(&self.run.progress)?;
        reached::step(Step::Saved);
        self.delivery.settle_losses()?;
        self.delivery.move_outbox(&mut self.run)?;
        reached::step(Step::Spooled);
        let (lost, pause) = (self.run.progress.lost, self.run.progress.reports_after);
        self.delivery.deliver(&mut self.run, &mut self.exchange);
        let standing = self.says().policy;
        let mut diagnosing = Diagnosing {
            run: &mut self.run,
            exchange: &mut self.exchange,
            delivery: &mut self.delivery,
            standing,
            last_known_good: self.policy.proven().map(|known| known.ruleset.in_force()),
            system: os::diagnostic_facts,
        };
        diagnosing.serve()?;
        diagnosing.leave();
        commands::publish_debug_log(&mut self.run, LogEnd::Open);
        self.exchange.keep_session(&mut self.run);
        let routes = self.exchange.routes(&self.run);
        let progress = &mut self.run.progress;
        let is_unsaved =
            progress.lost != lost || progress.reports_after != pause || !progress.outbox.is_empty();
        if is_unsaved || routes != progress.routes {
            progress.routes = routes;
            self.run.state.save_progress(progress)?;
        }
        self.exchange.client.hand_over(&self.run.options.connection);
        // Whatever prevented the delivery of reports may have prevented the check-in before.
        self.run.tell_once();
        Ok(self.outcome(status))
    }

    /// The status computed from the results of the parts.
    fn status(&self) -> RunStatus {
        let results = PartResults {
            ownership: self.ownership,
            policy: self.policy.failure(),
            contact: self.exchange.failure(),
            threat: self.run.progress.threat.failure.as_deref(),
            in_force: self.policy.in_force().is_some(),
        };
        results.status()
    }

    /// Saves what the next run needs to know about this one.
    fn remember(&mut self, before: &Before) {
        let run = &mut self.run;
        run.progress.last_run = Some(run.now());
        run.progress.routes = self.exchange.routes(run);
        let proxies = &run.config.proxies;
        if !run.progress.proxies.as_ref().is_some_and(|mark| mark.is_of(proxies)) {
            run.progress.proxies = Some(ProxiesMark::new(proxies, run.surroundings.random()));
        }
        let routes = run.progress.routes.clone();
        let happened = Happened {
            before,
            contact: self.exchange.contact(),
            in_force: self.policy.in_force(),
            change: self.policy.change(),
            threat: self.threat.change(),
            routes: &routes,
            spool_losses: self.delivery.losses(),
        };
        agent_events::tell(run, &happened);
        run.progress.problems = run.problems.clone();
    }

    fn outcome(self, status: RunStatus) -> Outcome {
        let in_force = self.policy.in_force();
        let known = self.policy.proven().filter(|_| in_force.is_some());
        Outcome {
            status,
            in_force,
            policy: known.map(|known| PolicyInShort::of(&known.ruleset)),
            wanted: self.exchange.wanted(),
            change: self.policy.change(),
            platform: self.exchange.contact(),
            routes: self.exchange.routes(&self.run),
            events: self.events,
            delivered: self.delivery.delivered(),
            waiting: self.delivery.waiting(),
            threat: self.threat.outcome(&self.run),
            live: self.policy.live(),
            generation: self.run.progress.generation.as_ref().map(|(_, known)| *known),
            heard: self.exchange.heard().clone(),
            fingerprint: None,
            left: self.run.left,
            problems: self.run.problems,
        }
    }
}

impl crate::core::cycle::Cycle for Parts<'_> {
    type Look = Look;

    /// If the userland tool can't be installed, enforcement continues.
    fn provision(&mut self) {
        os::provision(&mut self.run);
    }

    fn look(&mut self) -> Result<Look, Failed> {
        let mut firewall = match self.listen() {
            Ok(firewall) => firewall,
            Err(error) => return self.policy.checked(Err(error), shell!(self)),
        };
        let last = self.last_seen();
        let looked = self.policy.look(&mut firewall, shell!(self), last);
        self.policy.checked(looked, shell!(self))?;
        let recorded = os::read_flows(&mut self.run, &mut firewall, &self.policy);
        let mut recorded = self.policy.checked(recorded, shell!(self))?;
        recorded.matches = self.threat.read_matches(&mut self.run);
        reached::step(Step::Collected);
        Ok(Look { firewall, recorded })
    }

    fn mend(&mut self, seen: &mut Look) -> Result<(), Failed> {
        let mended = self.policy.mend(&mut seen.firewall, shell!(self));
        self.policy.checked(mended, shell!(self))
    }

    fn settle_threats(&mut self) {
        self.threat_work().settle();
    }

    fn check_in(&mut self) -> Option<CheckInAnswer> {
        let answer = self.say_how_it_stands().map(|answer| self.let_catch_up(answer));
        reached::step(Step::CheckedIn);
        answer
    }

    fn follow_policy(&mut self, seen: &mut Look, answer: Option<&CheckInAnswer>) {
        let contact = self.exchange.contact();
        let followed = self.policy.follow(&mut seen.firewall, shell!(self), answer, contact);
        // The reason is kept as the part's result.
        let _ = self.policy.checked(followed, shell!(self));
        programmed_report::tell(&mut self.run, &self.policy);
    }

    fn follow_threats(&mut self, answer: Option<&CheckInAnswer>) {
        self.threat_work().follow(answer);
    }

    fn tell(&mut self, seen: Option<Look>) {
        let Some(Look { firewall, recorded }) = seen else { return };
        let losses = self.delivery.look_at_losses();
        let (events, RecordedMatches { matches, logged, bound }) =
            os::tell_flows(&mut self.run, recorded, &self.policy, &firewall, losses.items);
        self.events += events;
        self.threat.tell_matches(&mut self.run, matches, &logged, bound.as_ref());
        programmed_report::tell_ports(&mut self.run);
    }

    fn install_boot_unit(&mut self) {
        let has_something_to_restore = self.policy.proven().is_some() || self.threat.has_list();
        if self.run.config.boot_unit == Provisioning::Install && has_something_to_restore {
            os::install_boot_unit(&mut self.run);
        }
    }
}
