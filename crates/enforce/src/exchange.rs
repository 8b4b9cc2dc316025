//! A run's exchange with the platform: check-ins, their content and their answers.

use xshield_policy::Revision;
use xshield_transport::Route;
use xshield_wire::bounds::{self, Cut};
use xshield_wire::message::{CheckIn, CheckInAnswer, Held, Problem, VERSION};
use xshield_wire::threat::ThreatStanding;

use crate::client::{Client, Connection, ContactError};
use crate::commands;
use crate::core::ports::PolicyStatus;
use crate::core::result::{Contact, ContactFailure};
use crate::options::{AnswerRest, PlatformContact};
use crate::problems::{once, problem};
use crate::routes::{self, RouteReport};
use crate::run::Run;
use crate::succession;

/// The most unreported problems that are kept; the newest stay.
const UNTOLD_KEPT: usize = 50;

/// The host's state when it checks in.
#[derive(Debug, Clone)]
pub(crate) struct CheckInState {
    /// The policy's state.
    pub(crate) policy: PolicyStatus,
    /// The threat list's state.
    pub(crate) threat: ThreatStanding,
}

/// What was last reported to the platform in this run.
struct LastReported {
    problems: Vec<Problem>,
    state_to_report: CheckInState,
    route: Option<Route>,
}

/// What is sent to a platform that wants something older than this host has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum RollbackEvidence {
    /// Nothing: as far as known, the platform is up to date.
    #[default]
    Nothing,
    /// To be sent with the next check-in.
    Next(Box<Held>),
    /// It was sent; once is enough.
    Done,
}

impl RollbackEvidence {
    /// What to send with the next check-in.
    fn take(&mut self) -> Option<Held> {
        match std::mem::take(self) {
            Self::Next(held) => {
                *self = Self::Done;
                Some(*held)
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

/// The exchange of a run.
pub(crate) struct Exchange<'a> {
    pub(crate) client: Client<'a>,
    contact: Contact,
    failure: Option<ContactFailure>,
    told: Option<LastReported>,
    /// Whether the last check-in was refused, and another one would be, too.
    turned_away: bool,
    evidence: RollbackEvidence,
    /// Problems that the platform found with this host: shown here, not reported back.
    found: Vec<Problem>,
    wanted: Option<Revision>,
    answer_rest: AnswerRest,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(client: Client<'a>) -> Self {
        Self {
            client,
            contact: Contact::NotAsked,
            failure: None,
            told: None,
            turned_away: false,
            evidence: RollbackEvidence::default(),
            found: Vec::new(),
            wanted: None,
            answer_rest: AnswerRest::default(),
        }
    }

    /// Whether the platform was reached by the last request.
    pub(crate) fn contact(&self) -> Contact {
        self.contact
    }

    pub(crate) fn was_reached(&self) -> bool {
        self.contact == Contact::Reached
    }

    /// The first failure.
    pub(crate) fn failure(&self) -> Option<ContactFailure> {
        self.failure
    }

    /// The revision that the platform wants.
    pub(crate) fn wanted(&self) -> Option<Revision> {
        self.wanted
    }

    /// The parts of its answers that do not concern the policy.
    pub(crate) fn answer_rest(&self) -> &AnswerRest {
        &self.answer_rest
    }

    /// Takes the problems that the platform found with this host.
    pub(crate) fn take_findings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.found)
    }

    /// Reports the host's state and receives what is pending. Failures are recorded as problems.
    pub(crate) fn check_in(
        &mut self,
        run: &mut Run<'_>,
        state_to_report: CheckInState,
        connection: Connection,
    ) -> Option<CheckInAnswer> {
        if run.options.contact == PlatformContact::Skipped {
            return None;
        }
        let route = self.client.current_route().cloned();
        let mut check_in = self.words(run, &state_to_report);
        note_cuts(run, &check_in.fit());
        let mut answer = self.client.check_in(&check_in, connection);
        // The transport sent the request twice because a route broke after it had arrived.
        if answer.as_ref().is_err_and(ContactError::is_replay) {
            check_in.sequence = next_sequence(run);
            answer = self.client.check_in(&check_in, connection);
        }
        self.keep_session(run);
        match answer {
            Ok(answer) => {
                self.contact = Contact::Reached;
                self.turned_away = false;
                run.progress.answered = Some(check_in.sequence);
                run.progress.untold.clear();
                run.progress.last_contact = Some(run.now());
                self.told =
                    Some(LastReported { problems: run.problems.clone(), state_to_report, route });
                self.notice_another_asset(run);
                self.take_answer(run, &answer);
                commands::obey(run, &answer);
                Some(answer)
            }
            Err(error) => {
                self.turned_away = error.was_reached() && !error.is_temporary();
                self.failed(run, &error);
                None
            }
        }
    }

    fn words(&mut self, run: &mut Run<'_>, state_to_report: &CheckInState) -> CheckIn {
        CheckIn {
            version: VERSION,
            sequence: next_sequence(run),
            program: run.program.clone(),
            host: run.host.clone(),
            status: state_to_report.policy.status.clone(),
            in_force: state_to_report.policy.in_force,
            problems: once([&run.progress.untold[..], &run.problems[..]].concat()),
            threat: Some(state_to_report.threat.clone()),
            routes: self.routes(run).into_iter().map(Into::into).collect(),
            interval: run.options.interval,
            configuration: run.progress.configuration.as_ref().map(|set| set.version),
            usage: run.options.usage,
            previous: run.progress.answered,
            held: self.evidence.take(),
            trust: run.config.trust.sequence.max(self.answer_rest.followed),
        }
    }

    /// Processes the parts of an answer that are neither policy nor commands.
    fn take_answer(&mut self, run: &mut Run<'_>, answer: &CheckInAnswer) {
        self.found.clone_from(&answer.problems);
        self.wanted = answer.wanted.map(|wanted| wanted.revision);
        if let Some(configuration) = &answer.configuration {
            run.progress.configuration = Some(configuration.clone());
        }
        self.answer_rest = AnswerRest {
            next_check_in: Some(answer.next_check_in),
            seen: answer.seen.clone(),
            configuration: run.progress.configuration.clone(),
            resends: run.progress.resends,
            followed: self.answer_rest.followed,
        };
        if let Some(shown) = &answer.trust {
            self.answer_rest.followed =
                succession::follow(run, shown).or(self.answer_rest.followed);
        }
    }

    /// An asset that was deleted and registered again has received no reports yet.
    fn notice_another_asset(&mut self, run: &mut Run<'_>) {
        let Some(asset) = self.client.asset() else { return };
        let before = run.progress.told_to.replace(asset.clone());
        if before.is_some_and(|before| before != asset) {
            run.progress.tell_everything_again();
        }
    }

    /// Saves a new session for the next run; without it the next run sets up another.
    pub(crate) fn keep_session(&mut self, run: &mut Run<'_>) {
        if let Some(session) = self.client.take_new_session()
            && let Err(error) = run.state.save_session(&session)
        {
            run.problems.push(problem("session-unsaved", &error));
        }
    }

    /// Records that a request to the platform failed.
    pub(crate) fn failed(&mut self, run: &mut Run<'_>, error: &ContactError) {
        let reached = error.was_reached();
        self.contact = if reached { Contact::Reached } else { Contact::Unreachable };
        let (failure, code) = match error {
            ContactError::Unreachable(_) => (ContactFailure::Unreachable, "platform-unreachable"),
            ContactError::Refused { .. } if error.is_temporary() => {
                (ContactFailure::Unreachable, "platform-busy")
            }
            ContactError::Refused { .. } | ContactError::Session(_) => {
                (ContactFailure::Refused, "platform-refused")
            }
            ContactError::Garbled { .. } | ContactError::Packed { .. } => {
                (ContactFailure::Garbled, "platform-garbled")
            }
        };
        self.failure.get_or_insert(failure);
        run.problems.push(problem(code, error));
    }

    /// Sends the platform the newest envelope that it signed for this host, once per run; returns what it
    /// wants then.
    pub(crate) fn show(
        &mut self,
        run: &mut Run<'_>,
        state_to_report: CheckInState,
        held: Held,
    ) -> Option<CheckInAnswer> {
        if self.evidence != RollbackEvidence::Nothing || held == Held::default() {
            return None;
        }
        self.evidence = RollbackEvidence::Next(Box::new(held));
        self.check_in(run, state_to_report, Connection::Any)
    }

    /// Reports what was found after the check-in; what can't be reported now is reported by the next run.
    /// After a refusal nothing is sent: it would be refused again.
    pub(crate) fn tell_the_rest(&mut self, run: &mut Run<'_>, state_to_report: CheckInState) {
        let is_told = self.told.as_ref().is_some_and(|told| {
            told.problems == run.problems
                && told.state_to_report.threat == state_to_report.threat
                && told.state_to_report.policy.in_force == state_to_report.policy.in_force
                && told.route.as_ref() == self.client.current_route()
        });
        if self.was_reached() && !is_told && !self.turned_away {
            self.check_in(run, state_to_report, Connection::Any);
        }
        let told = self.told.as_ref().map_or(&[][..], |told| &told.problems);
        let untold = &mut run.progress.untold;
        for problem in &run.problems {
            if !told.contains(problem) && !untold.contains(problem) {
                untold.push(problem.clone());
            }
        }
        let excess = untold.len().saturating_sub(UNTOLD_KEPT);
        untold.drain(..excess);
    }

    /// The current state of the routes to the platform.
    pub(crate) fn routes(&self, run: &Run<'_>) -> Vec<RouteReport> {
        routes::reports(self.client.routes(), &run.progress.routes, self.contact, run.now())
    }
}

/// Makes every loss of problems that are reported to the platform visible on the host, too. The number of
/// problems changes during a run.
fn note_cuts(run: &mut Run<'_>, cuts: &[Cut]) {
    let told = cuts.iter().filter(|cut| cut.what != bounds::PROBLEMS_CUT);
    for problem in told.copied().map(Problem::from) {
        if !run.problems.contains(&problem) {
            run.problems.push(problem);
        }
    }
}

/// Increases from run to run, even if the state was lost: no run checks in more than once per millisecond.
fn next_sequence(run: &mut Run<'_>) -> u64 {
    let now = run.environment.now_millis();
    run.progress.sequence = (run.progress.sequence + 1).max(now);
    run.progress.sequence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollback_evidence_is_sent_with_one_check_in() {
        let mut evidence = RollbackEvidence::Nothing;
        assert_eq!(evidence.take(), None);
        assert_eq!(evidence, RollbackEvidence::Nothing);
        evidence = RollbackEvidence::Next(Box::default());
        assert_eq!(evidence.take(), Some(Held::default()));
        assert_eq!((evidence.take(), evidence), (None, RollbackEvidence::Done));
    }
}
