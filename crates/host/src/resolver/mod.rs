//! Resolves names: the hosts file first, then DNS, all A and AAAA records through CNAMEs.
//!
//! "No such name" is an answer: addresses leave the ruleset when their grace is over. A missing answer is
//! not: the last good answer stays for a limited time, which is reported. IPv4 and IPv6 are queried and
//! remembered separately, so that a failure of one does not affect the other. The TTL of records is not used:
//! every run queries again.

mod conf;
mod memory;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use xshield_policy::{DomainName, Grace};
use xshield_wire::message::{Problem, UnixSeconds};

pub use conf::{Hosts, ResolvConf, parse_hosts};
use memory::{Family, FamilyAnswer, Freshness, Known, Missing};
pub use memory::{KEPT, RemovalReason};

use crate::problem;

/// How long an old answer may be used while the resolver fails, in seconds: a day.
pub const DEFAULT_KEEP: u64 = 24 * 60 * 60;
/// The most concurrent queries.
const IN_FLIGHT: usize = 64;
/// Where the servers are configured, and the file with names that need no server.
#[cfg(not(windows))]
const CONFIGURATION: &str = "/etc/resolv.conf";
#[cfg(not(windows))]
const HOSTS: &str = "/etc/hosts";
#[cfg(windows)]
const CONFIGURATION: &str = "this host's network adapters (ipconfig /all)";
#[cfg(windows)]
const HOSTS: &str = r"%SystemRoot%\System32\drivers\etc\hosts";
/// The most names in one problem's text.
const LISTED: usize = 5;

/// The last good answers and the addresses in their grace. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cache(BTreeMap<DomainName, Known>);

/// The time of a resolution, and what else determines how long addresses stay.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The current time.
    pub now: UnixSeconds,
    /// For how many seconds the last good answer is used while no server answers.
    pub stale: u64,
    /// The peers with which the host has a connection. Called only if needed.
    pub connected: &'a dyn Fn() -> io::Result<HashSet<IpAddr>>,
}

/// An address that a name no longer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The name.
    pub domain: DomainName,
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub why: RemovalReason,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { domain, address, why } = self;
        write!(f, "{address} is no longer an address of {domain} here: ")?;
        match why {
            RemovalReason::Unanswered(seconds) => write!(f, "last answered {seconds} s ago"),
            RemovalReason::Crowded => write!(
                f,
                "more than {KEPT} addresses that DNS no longer returns \
                 are kept"
            ),
        }
    }
}

/// The addresses of the names, and the problems.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// All requested names; without addresses if there are none.
    pub domains: BTreeMap<DomainName, Vec<IpAddr>>,
    /// Addresses that left in this run.
    pub left: Vec<Left>,
    /// `dns-stale`: an older answer is used. `dns-failed`: there is none, so the name matches only addresses
    /// in their grace. `dns-crowded`: addresses left before their grace was over. `dns-connections-unknown`:
    /// only the grace was considered.
    pub problems: Vec<Problem>,
}

/// The timeouts of the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverTimeouts {
    /// For one attempt with one server.
    pub one_try: Duration,
    /// Attempts after the first.
    pub retries: usize,
    /// For all queries together; whatever is not answered by then has failed.
    pub total: Duration,
}

impl Default for ResolverTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { one_try: seconds(2), retries: 1, total: seconds(10) }
    }
}

/// Why a host name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No server is configured.
    #[error("could not resolve {name}: {CONFIGURATION} names no server that can be asked")]
    NoServer {
        /// The name.
        name: String,
    },
    /// The name doesn't exist or has no address.
    #[error("could not resolve {name}: it has no address in DNS or in {HOSTS}")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// No server answered.
    #[error("could not resolve {name}: {reason}; check the servers of {CONFIGURATION}")]
    Failed {
        /// The name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The async runtime for queries did not start.
    #[error("could not start the runtime for resolving names")]
    Runtime(#[source] io::Error),
}

/// A resolver with the host's configuration.
#[derive(Debug, Clone)]
pub struct Resolver {
    conf: ResolvConf,
    hosts: Hosts,
    port: u16,
    timeouts: ResolverTimeouts,
}

impl Resolver {
    /// Queries these servers, after this hosts file.
    #[must_use]
    pub fn new(conf: ResolvConf, hosts: Hosts, timeouts: ResolverTimeouts) -> Self {
        Self { conf, hosts, port: 53, timeouts }
    }

    /// Queries these servers at another port: for tests and unusual servers.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Resolves `domains` as fully qualified names, all at the same time, and stores the answers in `cache`;
    /// names that are no longer requested are removed. Without domains nothing is started.
    ///
    /// # Errors
    /// When the runtime can't be started; a name that can't be resolved is a problem, not an error.
    pub fn resolve<'a>(
        &self,
        domains: impl IntoIterator<Item = (&'a DomainName, Grace)>,
        cache: &mut Cache,
        moment: Moment<'_>,
    ) -> Result<Resolution, ResolveError> {
        let domains: BTreeMap<&DomainName, Grace> = domains.into_iter().collect();
        cache.0.retain(|domain, _| domains.contains_key(domain));
        let asked = domains.keys().filter(|domain| !self.hosts.contains_key(domain.as_str()));
        let mut said = self.ask(asked.map(|domain| qualified(domain)))?;
        let (mut stale, mut failed) = (Vec::new(), Vec::new());
        for &domain in domains.keys() {
            let answers = match self.hosts.get(domain.as_str()) {
                Some(addresses) => by_family(addresses),
                None => {
                    said.remove(&qualified(domain)).unwrap_or_else(|| [unanswered(), unanswered()])
                }
            };
            let known = cache.0.entry(domain.clone()).or_default();
            let answers = known.understood(answers);
            let worst = [Family::V4, Family::V6]
                .into_iter()
                .zip(answers)
                .map(|(family, answer)| known.settle(family, answer, moment.now, moment.stale))
                .max();
            match worst {
                Some(Freshness::Failed(reason)) => failed.push(format!("{domain} ({reason})")),
                Some(Freshness::Stale(reason)) => stale.push(format!("{domain} ({reason})")),
                Some(Freshness::Fresh) | None => {}
            }
        }
        let mut resolution = let_go(&domains, cache, moment);
        resolution.problems.extend(listed(
            "dns-stale",
            &stale,
            "no answer from DNS; the last good answer is still in use, for a limited time",
        ));
        resolution.problems.extend(listed(
            "dns-failed",
            &failed,
            &format!(
                "no answer from DNS and no earlier answer that is recent enough; rules with these \
                 names do not match the missing addresses; check the servers of {CONFIGURATION}"
            ),
        ));
        Ok(resolution)
    }

    /// The names that a program's name may mean, the most likely first: one without dots is resolved in the
    /// search list before it is resolved itself.
    #[must_use]
    pub fn qualify(&self, name: &DomainName) -> Vec<DomainName> {
        if name.as_str().contains('.') {
            return vec![name.clone()];
        }
        let search = self.conf.search.iter();
        let found = search.filter_map(|domain| format!("{name}.{domain}").try_into().ok());
        found.chain([name.clone()]).collect()
    }

    /// The addresses of a host name as a program on this host would resolve it: literal addresses, the hosts
    /// file, then DNS with the search list. IPv4 first.
    ///
    /// # Errors
    /// [`ResolveError`], with what to check.
    pub fn resolve_host(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let key = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(addresses) = self.hosts.get(&key) {
            return Ok(addresses.clone());
        }
        if self.servers().next().is_none() {
            return Err(ResolveError::NoServer { name: name.to_owned() });
        }
        let candidates = self.candidates(name);
        let said = self.ask(candidates.iter().cloned())?;
        let mut reason = None;
        for answer in candidates.iter().filter_map(|candidate| said.get(candidate)) {
            reason = reason.or_else(|| answer.iter().find_map(|family| family.as_ref().err()));
            let addresses: Vec<IpAddr> = answer.iter().flatten().flatten().copied().collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
        }
        let name = name.to_owned();
        Err(match reason {
            Some(missing) => ResolveError::Failed { name, reason: missing.reason().to_owned() },
            None => ResolveError::NoAddress { name },
        })
    }

    /// The fully qualified names that a program's name may mean, the most likely first. A name that ends in a
    /// dot means itself.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let search = self.conf.search.iter().map(|domain| domain.trim_matches('.'));
        let mut candidates: Vec<String> =
            search.map(|domain| format!("{name}.{domain}.")).collect();
        let dots = name.matches('.').count();
        let place = if dots >= self.conf.ndots { 0 } else { candidates.len() };
        candidates.insert(place, format!("{name}."));
        candidates
    }

    /// The servers that are queried, in their order.
    fn servers(&self) -> impl Iterator<Item = IpAddr> {
        let scoped = &self.conf.scoped;
        self.conf.servers.iter().copied().filter(move |server| !scoped.contains(server))
    }

    /// Queries all names at the same time, for both families.
    fn ask(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, [FamilyAnswer; 2]>, ResolveError> {
        let mut names = names.into_iter().peekable();
        if names.peek().is_none() {
            return Ok(BTreeMap::new());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ResolveError::Runtime)?;
        runtime.block_on(async {
            let resolver =
                self.hickory().map_err(|error| ResolveError::Runtime(io::Error::other(error)))?;
            Ok(ask_all(&resolver, names, Instant::now() + self.timeouts.total).await)
        })
    }

    fn hickory(&self) -> Result<TokioResolver, NetError> {
        let servers = self.servers().map(|server| {
            let mut server = NameServerConfig::udp_and_tcp(server);
            for connection in &mut server.connections {
                connection.port = self.port;
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = self.timeouts.one_try;
        options.attempts = self.timeouts.retries;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        builder.build()
    }
}

/// Removes addresses whose time is over, and returns the remaining ones.
fn let_go(
    domains: &BTreeMap<&DomainName, Grace>,
    cache: &mut Cache,
    Moment { now, connected, .. }: Moment<'_>,
) -> Resolution {
    let mut resolution = Resolution::default();
    let asks = cache.0.iter().any(|(domain, known)| {
        domains.get(domain).is_some_and(|&grace| known.depends_on_connections(grace, now))
    });
    let connected = if asks { connected() } else { Ok(HashSet::new()) };
    let connected = connected.unwrap_or_else(|error| {
        let text = format!(
            "the open connections could not be listed ({error}): addresses that are kept while \
             connected left when their grace was over"
        );
        resolution.problems.push(problem("dns-connections-unknown", text));
        HashSet::new()
    });
    let mut crowded = Vec::new();
    for (&domain, &grace) in domains {
        let Some(known) = cache.0.get_mut(domain) else { continue };
        let left = known.let_go(grace, &connected, now);
        if left.iter().any(|(_, why)| *why == RemovalReason::Crowded) {
            crowded.push(domain.to_string());
        }
        let left = left.into_iter();
        let left = left.map(|(address, why)| Left { domain: domain.clone(), address, why });
        resolution.left.extend(left);
        resolution.domains.insert(domain.clone(), known.addresses());
    }
    cache.0.retain(|_, known| !known.is_empty());
    let text = format!(
        "over {KEPT} addresses that DNS no longer returns are in their grace; those answered \
         longest ago left early; give these names a shorter grace"
    );
    resolution.problems.extend(listed("dns-crowded", &crowded, &text));
    resolution
}

fn qualified(domain: &DomainName) -> String {
    format!("{}.", domain.as_str())
}

fn by_family(addresses: &[IpAddr]) -> [FamilyAnswer; 2] {
    [true, false].map(|v4| {
        let of_family = addresses.iter().filter(|address| address.is_ipv4() == v4);
        Ok(of_family.copied().collect())
    })
}

fn unanswered() -> FamilyAnswer {
    Err(Missing::Failed("no answer in time".to_owned()))
}

async fn ask_all(
    resolver: &TokioResolver,
    names: impl Iterator<Item = String>,
    deadline: Instant,
) -> BTreeMap<String, [FamilyAnswer; 2]> {
    let mut said: BTreeMap<String, [FamilyAnswer; 2]> = BTreeMap::new();
    let families = [RecordType::A, RecordType::AAAA];
    let mut questions =
        names.flat_map(|name| families.map(|family| (name.clone(), family))).peekable();
    let mut waiting = JoinSet::new();
    while questions.peek().is_some() || !waiting.is_empty() {
        while waiting.len() < IN_FLIGHT
            && let Some((name, family)) = questions.next()
        {
            let resolver = resolver.clone();
            waiting.spawn(async move {
                let answer = ask_one(&resolver, &name, family).await;
                (name, family, answer)
            });
        }
        match timeout_at(deadline, waiting.join_next()).await {
            Ok(Some(Ok((name, family, answer)))) => {
                let slots = said.entry(name).or_insert_with(|| [unanswered(), unanswered()]);
                slots[usize::from(family == RecordType::AAAA)] = answer;
            }
            // A query that failed has no answer; the others continue.
            Ok(_) => {}
            Err(_) => break,
        }
    }
    said
}

async fn ask_one(resolver: &TokioResolver, name: &str, family: RecordType) -> FamilyAnswer {
    match resolver.lookup(name, family).await {
        Ok(lookup) => {
            let addresses = lookup.answers().iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            });
            Ok(addresses.collect())
        }
        Err(error) if error.is_no_records_found() => Ok(BTreeSet::new()),
        Err(NetError::Dns(DnsError::ResponseCode(
            code @ (ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr),
        ))) => Err(Missing::Declined(format!("the server answered {code}"))),
        Err(error) => Err(Missing::Failed(error.to_string())),
    }
}

fn listed(code: &str, names: &[String], text: &str) -> Option<Problem> {
    let shown = names.get(..LISTED.min(names.len()))?.join(", ");
    let more = match names.len().saturating_sub(LISTED) {
        0 if names.is_empty() => return None,
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(problem(code, format!("{shown}{more}: {text}")))
}

#[cfg(test)]
mod tests;
