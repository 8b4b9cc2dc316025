//! The parts of a run, as the cycle calls them.

use xshield_firewall::{FirewallError, Generation};
use xshield_host::spool::Spool;
use xshield_wire::message::{CheckInAnswer, Status};

use crate::agent_events::Before;
use crate::client::Connection;
use crate::config::Provisioning;
use crate::core::cycle::enforce;
use crate::core::delivery::Delivery;
use crate::core::policy::{Failed, LastReadBack, PolicyPart};
use crate::core::ports::PolicyStatus;
use crate::core::result::{OtherManager, Ownership, PartResults, RunStatus};
use crate::core::threat::{ThreatPart, ThreatWork};
use crate::delivery::HostDelivery;
use crate::exchange::{CheckInState, Exchange};
use crate::options::LiveLogging;
use crate::os::{self, Firewall, ListeningSocket, Recorded, RecordedMatches, SocketsError};
use crate::outcome::RunOutcome;
use crate::run::Run;
use crate::shell::Shell;
use crate::step::Step;
use crate::summary::PolicySummary;
use crate::threat::shell::{self, ThreatShell};
use crate::threat::{report, store::Store};
use crate::{commands, programmed_report, reached, rollback};

/// Why the kernel and the host could not be read.
#[derive(Debug, thiserror::Error)]
enum InspectionError {
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error(transparent)]
    Sockets(#[from] SocketsError),
}

/// What a run reads from the kernel at its beginning.
pub(super) struct Inspection {
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
    /// Reports that wait on disk.
    pub(super) spool: Spool,
    /// What listens on this host.
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
    /// Enforces, or changes nothing if another program manages the firewall. Returns the initial state.
    pub(super) fn enforce(&mut self, other_manager: Option<OtherManager>) -> Before {
        let before = self.begin();
        match other_manager {
            None => enforce(self),
            Some(other) => self.stand_back(other),
        }
        before
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
        before
    }

    /// Opens the kernel's firewall, and lists the listening sockets of this host.
    fn listen(&mut self) -> Result<Firewall, InspectionError> {
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
            LiveLogging::Off => None,
            LiveLogging::Unchanged => before,
            LiveLogging::To(group) if before == Some(group) => Some(group),
            LiveLogging::To(group) if os::can_hand_over(firewall) => Some(group),
            LiveLogging::To(_) => {
                let text = "this kernel can't send packets to a log group (nfnetlink_log, named \
                            counters): denials and matches are reported only at heartbeats";
                self.run.note("live-unavailable", text.to_owned());
                None
            }
        };
        self.policy.hand_to(group);
    }

    fn last_seen(&self) -> LastReadBack {
        match &self.run.progress.generation {
            None => LastReadBack::Never,
            Some((boot, generation)) if *boot == self.run.host.boot_id => {
                LastReadBack::At(Generation(*generation))
            }
            Some(_) => LastReadBack::BeforeThisBoot,
        }
    }

    fn with_threats(&mut self, act: impl FnOnce(&mut ThreatWork<'_, ThreatShell<'_, 'a>>)) {
        let store = Store::new(self.run.state);
        let (run, exchange) = (&mut self.run, &mut self.exchange);
        let mut world = ThreatShell { run, exchange, store, introduce: os::introduce };
        let (threat, policy) = (&mut self.threat, &self.policy);
        act(&mut ThreatWork { threat, policy, world: &mut world });
    }

    /// How the host stands, in the words of a check-in.
    pub(super) fn state_to_report(&self) -> CheckInState {
        let PolicyStatus { status, in_force } = self.policy.standing();
        let status = match self.ownership {
            Ownership::Ours => status,
            Ownership::Foreign(by) => Status::Blocked { by: by.to_owned() },
        };
        CheckInState {
            policy: PolicyStatus { status, in_force },
            threat: shell::standing(&self.threat, &self.run),
        }
    }

    fn say_how_it_stands(&mut self) -> Option<CheckInAnswer> {
        let state_to_report = self.state_to_report();
        self.exchange.check_in(&mut self.run, state_to_report, Connection::Any)
    }

    fn let_catch_up(&mut self, answer: CheckInAnswer) -> CheckInAnswer {
        let state_to_report = self.state_to_report();
        let Self { run, exchange, policy, threat, .. } = self;
        rollback::let_catch_up(answer, run, exchange, state_to_report, policy, threat)
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

    /// The status computed from the results of the parts.
    pub(super) fn status(&self) -> RunStatus {
        let results = PartResults {
            ownership: self.ownership,
            policy: self.policy.failure(),
            contact: self.exchange.failure(),
            threat: self.run.progress.threat.failure.as_deref(),
            in_force: self.policy.in_force().is_some(),
        };
        results.status()
    }

    pub(super) fn outcome(self, status: RunStatus) -> RunOutcome {
        let in_force = self.policy.in_force();
        let known = self.policy.proven().filter(|_| in_force.is_some());
        RunOutcome {
            status,
            in_force,
            policy: known.map(|known| PolicySummary::of(&known.ruleset)),
            wanted: self.exchange.wanted(),
            change: self.policy.change(),
            platform: self.exchange.contact(),
            routes: self.exchange.routes(&self.run),
            events: self.events,
            delivered: self.delivery.delivered(),
            waiting: self.delivery.waiting(),
            threat: shell::outcome(&self.threat, &self.run),
            live: self.policy.live(),
            generation: self.run.progress.generation.as_ref().map(|(_, known)| *known),
            answer_rest: self.exchange.answer_rest().clone(),
            fingerprint: None,
            left: self.run.left,
            problems: self.run.problems,
            problems_before: Vec::new(),
        }
    }
}

impl crate::core::cycle::Cycle for Parts<'_> {
    type Inspection = Inspection;

    /// If the userland tool can't be installed, enforcement continues.
    fn provision(&mut self) {
        os::provision(&mut self.run);
    }

    fn inspect(&mut self) -> Result<Inspection, Failed> {
        let mut firewall = match self.listen() {
            Ok(firewall) => firewall,
            Err(error) => return self.policy.checked(Err(error), shell!(self)),
        };
        let last = self.last_seen();
        let looked = self.policy.inspect(&mut firewall, shell!(self), last);
        self.policy.checked(looked, shell!(self))?;
        let recorded = os::read_flows(&mut self.run, &mut firewall, &self.policy);
        let mut recorded = self.policy.checked(recorded, shell!(self))?;
        recorded.matches = report::read_matches(&mut self.threat, &mut self.run);
        reached::step(Step::Collected);
        Ok(Inspection { firewall, recorded })
    }

    fn repair(&mut self, seen: &mut Inspection) -> Result<(), Failed> {
        let repaired = self.policy.repair(&mut seen.firewall, shell!(self));
        self.policy.checked(repaired, shell!(self))
    }

    fn settle_threats(&mut self) {
        self.with_threats(|threats| threats.settle());
    }

    fn check_in(&mut self) -> Option<CheckInAnswer> {
        let answer = self.say_how_it_stands().map(|answer| self.let_catch_up(answer));
        reached::step(Step::CheckedIn);
        answer
    }

    fn follow_policy(&mut self, seen: &mut Inspection, answer: Option<&CheckInAnswer>) {
        let contact = self.exchange.contact();
        let followed = self.policy.follow(&mut seen.firewall, shell!(self), answer, contact);
        // The reason is kept as the part's result.
        let _ = self.policy.checked(followed, shell!(self));
        programmed_report::report(&mut self.run, &self.policy);
    }

    fn follow_threats(&mut self, answer: Option<&CheckInAnswer>) {
        self.with_threats(|threats| threats.follow(answer));
    }

    fn report_observations(&mut self, seen: Option<Inspection>) {
        let Some(Inspection { firewall, recorded }) = seen else { return };
        let losses = {
            let Self { run, exchange, spool, delivery, .. } = self;
            delivery.look_at_losses(&HostDelivery::new(run, exchange, spool))
        };
        let (events, RecordedMatches { matches, logged, bound }) =
            os::tell_flows(&mut self.run, recorded, &self.policy, &firewall, losses.items);
        self.events += events;
        report::tell_matches(&mut self.threat, &mut self.run, matches, logged, bound.as_ref());
        os::tell_foreign_drops(&mut self.run, &self.threat, bound.as_ref());
        programmed_report::tell_ports(&mut self.run);
    }

    fn install_boot_unit(&mut self) {
        let has_something_to_restore = self.policy.proven().is_some() || self.threat.has_list();
        if self.run.config.boot_unit == Provisioning::Install && has_something_to_restore {
            os::install_boot_unit(&mut self.run);
        }
    }
}
