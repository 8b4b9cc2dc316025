//! A platform and hosts that run the agent, as shipped.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::{Host, Running};
use crate::lab::Lab;
use crate::platform::Platform;
use crate::programs::Programs;
use crate::{agent, wait};

/// The source and destination of the traffic; nothing is enforced there.
pub(super) const PEER: (&str, u8) = ("peer", 10);
/// The number of the first host with an agent.
const FIRST: u8 = 100;
/// The limit for everything that is waited for.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// The pause between two changes: an agent polls the platform a limited number of times per minute.
pub(super) const REST: Duration = Duration::from_secs(4);

/// Hosts that each run an agent.
pub(super) struct Fixture {
    pub(super) lab: Lab,
    pub(super) platform: Platform,
    pub(super) agents: Vec<Running>,
}

impl Fixture {
    /// Registers a number of hosts and tags them. `configuration`: additional lines of each agent's
    /// configuration.
    pub(super) fn begin(hosts: u8, configuration: &str) -> Result<Self> {
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        lab.add_host(PEER.0, PEER.1)?;
        for number in 0..hosts {
            lab.add_host(&name(number), FIRST + number)?;
        }
        let platform = Platform::start(&mut lab, "a password for measurements", &[])?;
        let key = platform.host_configuration(&lab)?;
        let mut fixture = Self { lab, platform, agents: Vec::new() };
        let tags = BTreeMap::from([("role".to_owned(), "measured".to_owned())]);
        for number in 0..hosts {
            let host = fixture.host(number)?;
            own_log(host)?;
            agent::register(&fixture.lab, host, &key, configuration)?;
            let agent = agent::start_as(&fixture.lab, host, agent::Verbosity::Quiet)?;
            fixture.agents.push(agent);
            fixture.reached(number)?;
            fixture.platform.tag(&fixture.lab, &name(number), &tags)?;
        }
        Ok(fixture)
    }

    pub(super) fn host(&self, number: u8) -> Result<&Host> {
        self.lab.host(&name(number))
    }

    pub(super) fn peer(&self) -> Result<&Host> {
        self.lab.host(PEER.0)
    }

    pub(super) fn status(&self, number: u8) -> Result<Value> {
        agent::status(&self.lab, self.host(number)?)
    }

    fn reached(&self, number: u8) -> Result<()> {
        wait::until("the agent reaches the platform", LIMIT, || {
            let status = self.status(number)?;
            Ok((status["last_cycle"]["outcome"]["platform"] == "reached").then_some(()))
        })
    }

    /// Stores a candidate policy that only allows the peer to reach these services of the hosts.
    pub(super) fn propose(&self, services: &str) -> Result<()> {
        let directory = self.lab.directory().join("policy");
        fs::create_dir_all(&directory)?;
        let peer = Ipv4Addr::new(10, 77, 0, PEER.1);
        let text = format!(
            "segment:
  name: measured
  criteria: role = 'measured'
  templates: [gate]
  inbound: {{ level: secure-inbound-paths, mode: enforce }}
  outbound: {{ level: unsecured, mode: enforce }}
---
template:
  name: gate
  action: allow
  inbound:
    - {{ name: open, from: [{peer}], services: [{services}] }}
"
        );
        fs::write(directory.join("policy.yaml"), text)?;
        let directory = directory.to_str().context("the lab's directory is UTF-8")?;
        self.platform.cli(&self.lab, &["policy", "apply", "-f", directory]).map(drop)
    }

    /// Commits the candidate. Returns when that was requested.
    pub(super) fn synchronize(&self) -> Result<Instant> {
        let begin = Instant::now();
        self.platform.cli(&self.lab, &["policy", "synchronize", "--yes"])?;
        Ok(begin)
    }

    /// Commits, and waits until every agent enforces the policy and holds a poll.
    pub(super) fn commit(&self, services: &str) -> Result<()> {
        let before = self.least_revision()?;
        self.propose(services)?;
        self.synchronize()?;
        wait::until("every agent enforces", LIMIT, || {
            Ok((self.least_revision()? > before).then_some(()))
        })?;
        self.settle()
    }

    /// Waits until every agent holds a poll.
    pub(super) fn settle(&self) -> Result<()> {
        for number in 0..self.count() {
            wait::until("the agent is at rest", LIMIT, || {
                Ok(waits(&self.status(number)?).then_some(()))
            })?;
        }
        Ok(())
    }

    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.agents.len()).unwrap_or(u8::MAX)
    }

    fn least_revision(&self) -> Result<u64> {
        let mut least = u64::MAX;
        for number in 0..self.count() {
            let revision = agent::revision(&self.lab, self.host(number)?)?;
            least = least.min(revision.unwrap_or(0));
        }
        Ok(least)
    }

    /// Fails if an agent has ended: the figures would not be those of an agent.
    pub(super) fn all_live(&mut self) -> Result<()> {
        ensure!(!self.agents.is_empty(), "no host is measured");
        self.agents.iter_mut().try_for_each(Running::still_runs)
    }
}

/// Gives a host its own kernel log, as a syslog daemon writes it. Otherwise its agent would read the kernel's
/// messages about all hosts of the lab.
fn own_log(host: &Host) -> Result<()> {
    let path = host.file("/var/log/kern.log");
    fs::create_dir_all(path.parent().context("the log has no directory")?)?;
    fs::write(&path, "").with_context(|| format!("could not create {}", path.display()))
}

/// Whether an agent holds a poll, over any route.
pub(super) fn waits(status: &Value) -> bool {
    status["notification"].as_str().is_some_and(|text| text.starts_with("waiting"))
}

/// The name of a host with an agent.
pub(super) fn name(number: u8) -> String {
    format!("agent-{number}")
}
