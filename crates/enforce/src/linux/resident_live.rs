//! Live events: denials and matches, described and reported without waiting for a cycle.
//!
//! They are for display and alerts. Only the recorder's counts, which cycles report, are counted, so live
//! events are not kept on disk.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use xshield_host::files::FileError;
use xshield_host::linux::nflog::LiveFlow;
use xshield_host::linux::programs::{Programs, SocketOwner};
use xshield_host::log_line::LoggedThreat;
use xshield_host::program::Program;
use xshield_policy::{Bound, Direction, Protocol};
use xshield_transport::{
    CancelHandle, ConfigError, Method, Request, Route, Timeouts, Transport, TransportError,
};
use xshield_wire::Bytes;
use xshield_wire::keys::PolicyPublicKey;
use xshield_wire::message::{EventSource, FirewallEvent, Program as Sender, Report};
use xshield_wire::signature::{self, RequestParts, Signer};
use xshield_wire::telemetry::LiveEvent;
use xshield_wire::threat::ThreatMatch;

use crate::client::{pack, to_json};
use crate::config::Config;
use crate::connect;
use crate::environment::RunEnvironment;
use crate::reports;
use crate::resolve::HostResolver;
use crate::state::StateDirectory;
use crate::threat::matches::{self, Context};

/// The time limit of an exchange; later events are no longer live.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two searches for programs; results that come later are no longer live.
const SEARCH_INTERVAL: Duration = Duration::from_millis(250);
/// How long the socket that opened a flow is assumed to still be the one that uses it.
const OPENED_FOR: Duration = Duration::from_secs(10);
/// The most flows whose socket is remembered.
const MOST_OPENERS: usize = 4_096;

/// Why events could not be reported.
#[derive(Debug, thiserror::Error)]
pub enum LiveReportError {
    /// No cycle has set up a session yet, or the last one has expired.
    #[error("there is no session with the platform yet")]
    NoSession,
    /// The session can't be read.
    #[error("reading the session failed")]
    State(#[from] FileError),
    /// The platform could not be reached.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The platform answered with an error.
    #[error("the platform refused live events with HTTP status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

impl LiveReportError {
    /// Whether the platform will never accept this report, so that repeating it is useless.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 404 | 405 | 413 | 415 | 422 })
    }
}

/// Reports live events to the platform over its own connection, in the session that cycles set up.
pub struct LiveReporter {
    transport: Transport,
    state: StateDirectory,
    environment: RunEnvironment,
}

impl LiveReporter {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the CA certificates or a proxy can't be used.
    pub fn new(
        config: &Config,
        program: &Sender,
        state: StateDirectory,
        environment: RunEnvironment,
    ) -> Result<Self, ConfigError> {
        let resolver = HostResolver::of_a_resident(&environment.os);
        let timeouts = Timeouts {
            connect: TIMEOUT,
            stall: TIMEOUT,
            exchange: 2 * TIMEOUT,
            ..Timeouts::default()
        };
        let transport = connect::transport(config, program, resolver, None, timeouts)?;
        Ok(Self { transport, state, environment })
    }

    /// Delivers a report by `route`, the one by which the platform was last reached, and no other.
    ///
    /// # Errors
    /// See [`LiveReportError`]. The platform may have received it nevertheless; sent again with the same batch id,
    /// it is counted once.
    pub fn report(
        &mut self,
        report: &Report,
        route: Option<&Route>,
    ) -> Result<(), LiveReportError> {
        if let Some(route) = route {
            self.transport.prefer(route);
        }
        let now = self.environment.now();
        let session = self.state.session(&mut Vec::new())?;
        let session = session.filter(|session| session.expires > now);
        let session = session.ok_or(LiveReportError::NoSession)?;
        let (path, body) = ("/host/v1/reports", pack(&to_json(report)));
        let signer = Signer { key: &session.key, asset: &session.asset, token: &session.token };
        let parts = RequestParts::new(Method::Post.as_str(), path, &body);
        let nonce = Bytes(self.environment.random());
        let mut headers = signature::sign(signer, &parts, now, nonce).to_vec();
        headers.push(("content-type", "application/json".to_owned()));
        headers.push(("content-encoding", "zstd".to_owned()));
        let method = Method::Post;
        let request = Request { method, path_and_query: path, headers: &headers, body: &body };
        let answer = self.transport.send_once(&request, &CancelHandle::default());
        let answer = answer.map_err(LiveReportError::Unreachable)?;
        match answer.status {
            200..300 => Ok(()),
            status => Err(LiveReportError::Refused { status }),
        }
    }
}

/// Describes flows: their program, and the rule that decided.
pub struct Describer {
    state: StateDirectory,
    keys: Vec<PolicyPublicKey>,
    /// The ruleset in force, and the stamp of its file when it was read.
    bound: Option<(FileStamp, Option<Bound>)>,
    programs: Option<Programs>,
    openers: HashMap<(Protocol, SocketAddr), (Instant, Option<SocketOwner>)>,
    /// Sockets whose program was not found.
    unfound: HashSet<SocketOwner>,
}

type FileStamp = Option<(SystemTime, u64)>;

/// Described flows in the format of reports.
#[derive(Debug, Default)]
pub struct Described {
    /// Flows that the policy denied, or would have denied.
    pub events: Vec<LiveEvent>,
    /// Flows that the threat list matched.
    pub threats: Vec<ThreatMatch>,
}

impl Describer {
    /// A describer for the network namespace of the calling thread. Without the kernel's sock_diag, flows are
    /// described without their programs.
    #[must_use]
    pub fn new(config: &Config, state: StateDirectory) -> Self {
        let programs = Programs::open().ok();
        Self {
            state,
            keys: config.keys_of_stored(),
            bound: None,
            programs: programs.map(|programs| programs.searching_every(SEARCH_INTERVAL)),
            openers: HashMap::new(),
            unfound: HashSet::new(),
        }
    }

    /// Searches for the programs of these flows. Returns a time if not all were found: the search may be
    /// repeated then.
    #[must_use]
    pub fn look_up(&mut self, flows: &[LiveFlow]) -> Option<Instant> {
        let owners: HashSet<_> = flows.iter().filter_map(|flow| self.owner(flow)).collect();
        let programs = self.programs.as_mut()?;
        let unknown = |owner: &SocketOwner, programs: &Programs| programs.known(owner).is_none();
        let mut wanted: Vec<_> = owners.into_iter().filter(|o| unknown(o, programs)).collect();
        wanted.retain(|owner| !self.unfound.contains(owner));
        if wanted.is_empty() {
            return None;
        }
        if !programs.search(wanted.iter().copied()) {
            return Some(programs.next_search());
        }
        if self.unfound.len() >= MOST_OPENERS {
            self.unfound.clear();
        }
        self.unfound.extend(wanted.into_iter().filter(|owner| unknown(owner, programs)));
        None
    }

    /// Describes flows with what is known of their programs. `revision`: the threat list in force.
    #[must_use]
    pub fn describe(&mut self, flows: Vec<LiveFlow>, revision: u64) -> Described {
        self.read_ruleset();
        let mut described = Described::default();
        for live in flows {
            let program = self.owner(&live).and_then(|owner| self.program(&owner));
            match live.flow.threat() {
                Some(found) => described.threats.extend(self.matched(found, program, revision)),
                None => described.events.extend(self.denied(&live, program)),
            }
        }
        described
    }

    fn denied(&self, live: &LiveFlow, program: Option<Program>) -> Option<LiveEvent> {
        let mut event: FirewallEvent = live.flow.event(EventSource::Live)?;
        let bound = self.bound.as_ref().and_then(|(_, bound)| bound.as_ref());
        reports::name_rules(std::slice::from_mut(&mut event), bound);
        let Program { name, uid, user, service, .. } = program.unwrap_or_default();
        event.process = name;
        let uid = uid.or(live.uid).map(|uid| uid.to_string());
        Some(LiveEvent { event, user: user.or(uid), service })
    }

    fn matched(
        &self,
        found: LoggedThreat,
        program: Option<Program>,
        revision: u64,
    ) -> Option<ThreatMatch> {
        let bound = self.bound.as_ref().and_then(|(_, bound)| bound.as_ref());
        let context = Context { bound, ports: &[], revision };
        let flow = matches::live(&[found]).pop()?;
        let found = flow.report(&context, program.as_ref());
        let Program { name, service, .. } = program.unwrap_or_default();
        Some(ThreatMatch { process: name, service, ..found })
    }

    /// The socket that serves the flow, or that opened it.
    fn owner(&mut self, live: &LiveFlow) -> Option<SocketOwner> {
        let programs = self.programs.as_mut()?;
        let flow = &live.flow;
        if !matches!(flow.protocol, Protocol::Tcp | Protocol::Udp) {
            return None;
        }
        let destination = SocketAddr::new(flow.destination, flow.port);
        if flow.heading.direction() == Direction::Inbound {
            return programs.server(flow.protocol, destination);
        }
        let (key, now) = ((flow.protocol, destination), Instant::now());
        if let Some((until, owner)) = self.openers.get(&key)
            && now < *until
        {
            return *owner;
        }
        let local = SocketAddr::new(flow.source, live.source_port);
        let owner = programs.opener(flow.protocol, local, destination);
        if self.openers.len() >= MOST_OPENERS {
            self.openers.clear();
        }
        self.openers.insert(key, (now + OPENED_FOR, owner));
        owner
    }

    fn program(&self, owner: &SocketOwner) -> Option<Program> {
        let programs = self.programs.as_ref()?;
        let known = programs.known(owner).map(|program| (*program).clone());
        Some(known.unwrap_or_else(|| programs.without_process(owner)))
    }

    /// Reads the ruleset in force if a cycle has saved another one.
    fn read_ruleset(&mut self) {
        let stamp = stamp(&self.state.path("enforced"));
        if self.bound.as_ref().is_some_and(|(read, _)| *read == stamp) {
            return;
        }
        let known = self.state.last_known_good(&self.keys, &mut Vec::new()).ok().flatten();
        let bound = known.map(|known| known.ruleset.bind(&known.facts).0);
        self.bound = Some((stamp, bound));
    }
}

fn stamp(path: &PathBuf) -> FileStamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
