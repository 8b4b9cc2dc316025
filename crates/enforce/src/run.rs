//! The data that every part of a run uses: configuration, remembered state, and what is to be reported.

use xshield_host::resolver::Resolver;
use xshield_policy::TimeServers;
use xshield_wire::message::UnixSeconds;
use xshield_wire::message::{HostFacts, ListeningPort, Problem, Program, Report, ReportBody};

use crate::config::Config;
use crate::environment::RunEnvironment;
use crate::options::RunOptions;
use crate::problems::once;
use crate::progress::Progress;
use crate::state::StateDirectory;

/// The current run.
pub(crate) struct Run<'a> {
    pub(crate) config: &'a Config,
    pub(crate) program: &'a Program,
    pub(crate) environment: &'a RunEnvironment,
    pub(crate) options: &'a RunOptions,
    pub(crate) state: &'a StateDirectory,
    pub(crate) host: &'a HostFacts,
    /// The host's memory in bytes, 0 when it is not known: it bounds the threat list.
    pub(crate) memory: u64,
    pub(crate) resolver: &'a Resolver,
    /// The remembered state.
    pub(crate) progress: Progress,
    /// The problems of this run.
    pub(crate) problems: Vec<Problem>,
    /// The listening ports of this host.
    pub(crate) ports: Vec<ListeningPort>,
    /// The time servers, once they were resolved in this run.
    pub(crate) time_servers: Option<TimeServers>,
    /// Addresses that left the rules because their names no longer resolve to them; one text each.
    pub(crate) left: Vec<String>,
}

impl Run<'_> {
    /// The current time.
    pub(crate) fn now(&self) -> UnixSeconds {
        self.environment.now()
    }

    /// Adds a problem.
    pub(crate) fn note(&mut self, code: &str, text: String) {
        self.problems.push(Problem { code: code.to_owned(), text });
    }

    /// Removes duplicates: each attempt of a run is refused with the same text, and whatever fails because of
    /// it repeats that text as its cause.
    pub(crate) fn tell_once(&mut self) {
        self.problems = once(std::mem::take(&mut self.problems));
    }

    /// Adds a report.
    pub(crate) fn put(&mut self, body: ReportBody) {
        let report = Report::new(self.environment.random(), self.now(), body);
        self.put_report(report);
    }

    /// Adds a report with its batch id. What exceeds the platform's limits is cut, which is reported as a
    /// problem.
    pub(crate) fn put_report(&mut self, mut report: Report) {
        self.problems.extend(report.fit().into_iter().map(Problem::from));
        self.progress.outbox.push(report);
    }
}
