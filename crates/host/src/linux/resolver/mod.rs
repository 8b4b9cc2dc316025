//! What names resolve to, now: the hosts file first, then DNS, all A and AAAA records through CNAMEs.
//!
//! "There is no such name" is an answer: addresses leave the ruleset with it. "Nobody answered" is not:
//! the last good answer stays for a bounded time, and that is said. IPv4 and IPv6 are asked and
//! remembered apart, so that one failing doesn't take away what the other said.

mod conf;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use xshield_policy::DomainName;
use xshield_wire::message::{Problem, UnixSeconds};

pub use conf::{Hosts, ResolvConf, hosts, parse_hosts, resolvers};

use super::problem;

/// How long an answer may stand in for a failing resolver, in seconds: a day.
pub const DEFAULT_KEEP: u64 = 24 * 60 * 60;
/// How many questions wait for an answer at a time.
const IN_FLIGHT: usize = 64;
/// Names that are listed in one problem's text.
const LISTED: usize = 5;

/// The last good answers. Kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cache(BTreeMap<DomainName, ByFamily>);

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct ByFamily {
    v4: Option<Answer>,
    v6: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    addresses: BTreeSet<IpAddr>,
    at: UnixSeconds,
}

/// What the names resolve to, and what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Every name that was asked for; without addresses when there are none.
    pub domains: BTreeMap<DomainName, Vec<IpAddr>>,
    /// `dns-stale`: an older answer stands in. `dns-failed`: there is none, so the name matches nothing.
    pub problems: Vec<Problem>,
}

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one try with one server.
    pub one_try: Duration,
    /// Tries after the first.
    pub retries: usize,
    /// For everything together; what is not answered by then has failed.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { one_try: seconds(2), retries: 1, total: seconds(10) }
    }
}

/// Why a host name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No server is configured.
    #[error("could not resolve {name}: /etc/resolv.conf names no server that can be asked")]
    NoServer {
        /// The name.
        name: String,
    },
    /// The name doesn't exist or has no address.
    #[error("could not resolve {name}: it has no address in DNS or in /etc/hosts")]
    NoAddress {
        /// The name.
        name: String,
    },
    /// No server gave an answer.
    #[error("could not resolve {name}: {reason}; check the servers of /etc/resolv.conf")]
    Failed {
        /// The name.
        name: String,
        /// What happened.
        reason: String,
    },
    /// The little runtime for network questions did not start.
    #[error("could not start resolving names")]
    Runtime(#[source] io::Error),
}

/// Asks as this host is configured to ask.
#[derive(Debug, Clone)]
pub struct Resolver {
    conf: ResolvConf,
    hosts: Hosts,
    port: u16,
    patience: Patience,
}

impl Resolver {
    /// Reads `etc/resolv.conf` and `etc/hosts` under `root` (`/` on a real host).
    #[must_use]
    pub fn of_system(root: &Path, patience: Patience) -> Self {
        Self { conf: ResolvConf::read(root), hosts: hosts(root), port: 53, patience }
    }

    /// Asks these servers at another port: for tests and for servers out of the ordinary.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Resolves `domains` as fully qualified names, all at once, and remembers the answers in `cache`;
    /// names that are no longer asked for are forgotten. `keep` is in seconds. Without domains nothing
    /// is started.
    ///
    /// # Errors
    /// When the runtime can't be started; a name that can't be resolved is a problem, not an error.
    pub fn resolve<'a>(
        &self,
        domains: impl IntoIterator<Item = &'a DomainName>,
        cache: &mut Cache,
        now: UnixSeconds,
        keep: u64,
    ) -> Result<Resolution, ResolveError> {
        let domains: BTreeSet<&DomainName> = domains.into_iter().collect();
        cache.0.retain(|domain, _| domains.contains(domain));
        let mut resolution = Resolution::default();
        let mut asked = BTreeMap::new();
        for &domain in &domains {
            match self.hosts.get(domain.as_str()) {
                Some(addresses) => {
                    resolution.domains.insert(domain.clone(), addresses.clone());
                }
                None => {
                    asked.insert(format!("{}.", domain.as_str()), domain);
                }
            }
        }
        let mut said = self.ask(asked.keys().cloned())?;
        let (mut stale, mut failed) = (Vec::new(), Vec::new());
        for (name, domain) in asked {
            let [v4, v6] = said.remove(&name).unwrap_or_else(|| [unanswered(), unanswered()]);
            let known = cache.0.entry(domain.clone()).or_default();
            let settle = |fresh, slot: &mut Option<Answer>| settle(fresh, slot, now, keep);
            let outcomes = [settle(v4, &mut known.v4), settle(v6, &mut known.v6)];
            let kept = [&known.v4, &known.v6].into_iter().flatten();
            let addresses: Vec<IpAddr> =
                kept.flat_map(|answer| answer.addresses.iter().copied()).collect();
            if let Some(Outcome::Failed(reason)) = outcomes.iter().max() {
                failed.push(format!("{} ({reason})", domain.as_str()));
            } else if let Some(Outcome::Stale(reason)) = outcomes.iter().max() {
                stale.push(format!("{} ({reason})", domain.as_str()));
            }
            resolution.domains.insert(domain.clone(), addresses);
        }
        resolution.problems.extend(listed(
            "dns-stale",
            &stale,
            "no answer from DNS; the last good answer is still in use, for a limited time",
        ));
        resolution.problems.extend(listed(
            "dns-failed",
            &failed,
            "no answer from DNS and no earlier answer that is recent enough; rules with these names \
             do not match what DNS did not tell; check the servers of /etc/resolv.conf",
        ));
        Ok(resolution)
    }

    /// The addresses of a host name as a program on this host would get them: literal addresses, the
    /// hosts file, then DNS with the search list. IPv4 first.
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
            Some(reason) => ResolveError::Failed { name, reason: reason.clone() },
            None => ResolveError::NoAddress { name },
        })
    }

    /// The fully qualified names that a program's name may stand for, the likeliest first. A name that
    /// ends in a dot stands for itself.
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

    /// The servers that are asked, in their order.
    fn servers(&self) -> impl Iterator<Item = IpAddr> {
        let scoped = &self.conf.scoped;
        self.conf.servers.iter().copied().filter(move |server| !scoped.contains(server))
    }

    /// Asks for all names at once, for both families.
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
            Ok(ask_all(&resolver, names, Instant::now() + self.patience.total).await)
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
        options.timeout = self.patience.one_try;
        options.attempts = self.patience.retries;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        builder.build()
    }
}

/// All addresses of one family, or why nobody said. No addresses is an answer.
type FamilyAnswer = Result<BTreeSet<IpAddr>, String>;

fn unanswered() -> FamilyAnswer {
    Err("no answer in time".to_owned())
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
            // A question that broke down has no answer; the others go on.
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
        Err(error) => Err(error.to_string()),
    }
}

/// What became of one family of one name. The greater is the worse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Fresh,
    Stale(String),
    Failed(String),
}

/// Puts a fresh answer into the slot, or keeps the one that is there while it may be kept.
fn settle(fresh: FamilyAnswer, slot: &mut Option<Answer>, now: UnixSeconds, keep: u64) -> Outcome {
    let reason = match fresh {
        Ok(addresses) => {
            *slot = Some(Answer { addresses, at: now });
            return Outcome::Fresh;
        }
        Err(reason) => reason,
    };
    // An answer of the future comes from a clock that was wrong: its age is unknown, so it starts now.
    if let Some(answer) = slot
        && answer.at > now
    {
        answer.at = now;
    }
    match slot {
        Some(answer) if now - answer.at <= keep => Outcome::Stale(reason),
        _ => {
            *slot = None;
            Outcome::Failed(reason)
        }
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
