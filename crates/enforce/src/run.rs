//! What every part of a run works with: the host as it is configured, what runs remember, and what this
//! one has to tell.

use xshield_host::resolver::Resolver;
use xshield_policy::TimeServers;
use xshield_wire::message::UnixSeconds;
use xshield_wire::message::{HostFacts, ListeningPort, Problem, Program, Report, ReportBody};

use crate::config::Config;
use crate::options::RunOptions;
use crate::problems::once;
use crate::progress::Progress;
use crate::state::StateDirectory;
use crate::surroundings::Surroundings;

/// A run under way.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) program: &'a Program,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) options: &'a RunOptions,
    pub(crate) state: &'a StateDirectory,
    pub(crate) host: &'a HostFacts,
    pub(crate) resolver: &'a Resolver,
    /// What runs remember.
    pub(crate) progress: Progress,
    /// What this run found wrong.
    pub(crate) problems: Vec<Problem>,
    /// What listens on this host.
    pub(crate) ports: Vec<ListeningPort>,
    /// The time servers, once they were looked up in this run.
    pub(crate) time_servers: Option<TimeServers>,
    /// Addresses that left the rules because their names no longer have them; one text each.
    pub(crate) left: Vec<String>,
}

impl Run<'_> {
    /// This moment.
    pub(crate) fn now(&self) -> UnixSeconds {
        self.surroundings.now()
    }

    /// Says that something is wrong.
    pub(crate) fn note(&mut self, code: &str, text: String) {
        self.problems.push(Problem { code: code.to_owned(), text });
    }

    /// Leaves out what was told before: each attempt of a run is refused in the same words, and what fails
    /// for that reason names it behind its own.
    pub(crate) fn tell_once(&mut self) {
        self.problems = once(std::mem::take(&mut self.problems));
    }

    /// Has something reported.
    pub(crate) fn put(&mut self, body: ReportBody) {
        let report = Report::new(self.surroundings.random(), self.now(), body);
        self.put_report(report);
    }

    /// The same. What the platform would not take whole is cut here, and told.
    pub(crate) fn put_report(&mut self, mut report: Report) {
        self.problems.extend(report.fit().into_iter().map(Problem::from));
        self.progress.outbox.push(report);
    }
}
