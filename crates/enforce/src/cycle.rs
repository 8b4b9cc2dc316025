//! THE cycle: check in, fetch, verify, resolve, apply, confirm, read back, report.
//!
//! `crate::core::cycle` has the whole cycle on one page; this module carries out its steps. Each part keeps
//! its own result, from which the result of the run is computed at its end.

use xshield_host::identity::Identity;
use xshield_host::lock;
use xshield_host::resolver::ResolverTimeouts;
use xshield_host::spool::Spool;
use xshield_transport::Timeouts;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{HostFacts, Program, ProgramKind};

use crate::client::Client;
use crate::config::Config;
use crate::core::delivery::Delivery;
use crate::core::policy::{PolicyPart, Terms};
use crate::core::result::{Ownership, RunStatus};
pub use crate::cycle_error::CycleError;
use crate::ending::Ending;
use crate::environment::RunEnvironment;
use crate::exchange::Exchange;
use crate::options::RunOptions;
use crate::os::{self, open_threat_table, preflight};
use crate::outcome::RunOutcome;
use crate::parts::Parts;
use crate::resolve::HostResolver;
use crate::routes;
use crate::run::Run;
use crate::state::StateDirectory;
use crate::step::Step;
use crate::{connect, reached, threat};

/// The size limit of the spool, in bytes.
const SPOOL_BYTES: u64 = 64 * 1024 * 1024;

/// One cycle, ready to run.
pub struct Cycle<'a> {
    /// The host's configuration.
    pub config: &'a Config,
    /// The program that runs it.
    pub program: Program,
    /// Clock, randomness, root directory.
    pub environment: &'a RunEnvironment,
    /// The options of the run.
    pub options: RunOptions,
}

impl Cycle<'_> {
    /// Runs the cycle once.
    ///
    /// # Errors
    /// When it could not start, see [`CycleError`].
    pub fn run(&self) -> Result<RunOutcome, CycleError> {
        let preflight = preflight::check(&self.environment.root)?;
        let directory = &self.config.state_directory;
        let state = StateDirectory::open(directory)
            .map_err(|source| CycleError::StateDirectory { path: directory.clone(), source })?;
        self.environment.os.ours_alone(directory)?;
        let Some(_lock) = lock::try_lock(&state.path("lock"))? else {
            return Ok(RunOutcome::new(RunStatus::AnotherRun));
        };
        if self.program.kind == ProgramKind::Spark && state.is_kept_by_a_resident()? {
            return Ok(RunOutcome::new(RunStatus::AnotherRun));
        }
        reached::step(Step::Locked);
        let mut problems = Vec::new();
        let identity =
            Identity::load_or_make(&state.path("identity.key"), || Ok(self.environment.random()))?;
        problems.extend(identity.problem);
        problems.extend(
            self.environment
                .os
                .exposed(&self.environment.config, "the enforcement key and proxies' passwords"),
        );
        let identity_key = identity.identity.key();
        problems.extend(self.config.trust.problem.clone());
        let stored_keys = self.config.keys_of_stored();
        let mut progress = state.progress(&mut problems)?;
        let problems_before = progress.problems.clone();
        let known_good = state.last_known_good(&stored_keys, &mut problems)?;
        let threat =
            threat::shell::read(&state, &stored_keys, &mut problems, Box::new(open_threat_table))?;
        let host = HostFacts {
            name: self.config.host_name(self.environment.os.as_ref()),
            ..os::host_facts(&preflight)?
        };
        let resolver = self.environment.os.resolver(ResolverTimeouts::default());
        let last_route =
            routes::remembered(&progress.routes, progress.proxies.as_ref(), &self.config.proxies);
        let mark = progress.proxies.as_ref();
        routes::begin_anew(&mut progress.routes, mark, &self.config.proxies);
        let mut transport = connect::transport(
            self.config,
            &self.program,
            HostResolver::of_a_run(&resolver),
            last_route,
            Timeouts::default(),
        )?;
        transport.take_over(&self.options.connection);
        let session = state.session(&mut problems)?;
        let client = Client::new(
            transport,
            &self.config.enforcement_key,
            identity_key,
            &host.name,
            self.environment,
            session,
        );
        let terms =
            Terms { trusted: self.config.policy_keys.clone(), probation: self.config.probation };
        let mut parts = Parts {
            run: Run {
                config: self.config,
                program: &self.program,
                environment: self.environment,
                options: &self.options,
                state: &state,
                host: &host,
                memory: self.environment.os.memory(),
                resolver: &resolver,
                progress,
                problems,
                ports: Vec::new(),
                time_servers: None,
                left: Vec::new(),
            },
            exchange: Exchange::new(client),
            policy: PolicyPart::new(known_good, terms),
            threat,
            delivery: Delivery::default(),
            spool: Spool::open(&state.path("spool"), SPOOL_BYTES)?,
            sockets: Vec::new(),
            ownership: Ownership::Ours,
            events: 0,
        };
        let before = parts.enforce(preflight.other_manager());
        let outcome = Ending::conclude(parts, before)?;
        let fingerprint = IdentityFingerprint::of(&identity_key.public());
        Ok(RunOutcome { fingerprint: Some(fingerprint), problems_before, ..outcome })
    }
}
