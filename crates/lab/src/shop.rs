//! The shop's hosts as a lab: every host runs every service, so that a service would answer on each blocked
//! port.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::example::Example;
use crate::kernel::Kernel;
use crate::lab::Lab;
use crate::matrix::{Expectation, Flow, Matrix};
use crate::oracle::Oracle;
use crate::platform::Platform;
use crate::probe::{Port, ProbeResult};
use crate::programs::{Programs, WindowsPrograms};
use crate::service::Service;
use crate::spark::SparkRun;
use crate::wine::WineHost;
use crate::{spark, wait};

/// The services on every host of the shop.
pub const SERVICES: &[Service] = &[
    Service { process: "sshd", tcp: &[22], udp: &[] },
    Service { process: "nginx", tcp: &[80, 443], udp: &[] },
    Service { process: "shop-app", tcp: &[8080], udp: &[] },
    Service { process: "postgres", tcp: &[5432], udp: &[] },
    Service { process: "syslogd", tcp: &[], udp: &[514] },
];

/// Every port of the services, and ping.
#[must_use]
pub fn ports() -> Vec<Port> {
    let tcp = SERVICES.iter().flat_map(|service| service.tcp).copied().map(Port::Tcp);
    let udp = SERVICES.iter().flat_map(|service| service.udp).copied().map(Port::Udp);
    tcp.chain(udp).chain([Port::Ping]).collect()
}

/// The example's hosts, each with all services, without a platform.
///
/// # Errors
/// When the lab can't be made.
pub fn lab(example: &Example) -> Result<Lab> {
    let mut lab = Lab::start(&Programs::of_this_build()?)?;
    for host in &example.hosts {
        lab.add_host(&host.name, host.number)?;
        for service in SERVICES {
            lab.serve(&host.name, service)?;
        }
    }
    Ok(lab)
}

/// The shop with a running platform.
#[derive(Debug)]
pub struct Shop {
    /// Hosts and platform.
    pub lab: Lab,
    /// The platform on its host.
    pub platform: Platform,
    /// Policy, hosts and table.
    pub example: Example,
    /// Those of the hosts that run Windows.
    pub windows: Vec<WineHost>,
}

/// The tables of Spark if no threat list is in force.
const TABLES: [&str; 1] = ["inet xshield"];

impl Shop {
    /// Lab and platform, checked to be open. No host is registered, no policy applied.
    ///
    /// # Errors
    /// When either can't be started, or a port is closed though nothing is enforced.
    pub fn start() -> Result<Self> {
        let example = Example::shop()?;
        let mut lab = lab(&example)?;
        let mut before = before(&example);
        before.probe(&lab)?;
        before.verify()?;
        let platform = Platform::start(&mut lab, "a password for tests alone", &[])?;
        Ok(Self { lab, platform, example, windows: Vec::new() })
    }

    /// As [`Shop::start`], with Windows on these hosts.
    ///
    /// # Errors
    /// When anything can't be started.
    pub fn start_with_windows(names: &[&str]) -> Result<Self> {
        Self::start_with(&Programs::of_this_build()?.windows()?, names)
    }

    /// The same with these programs.
    ///
    /// # Errors
    /// As of [`Shop::start_with_windows`].
    pub fn start_with(programs: &WindowsPrograms, names: &[&str]) -> Result<Self> {
        let mut shop = Self::start()?;
        for name in names {
            shop.windows.push(WineHost::start(&shop.lab, name, programs)?);
        }
        Ok(shop)
    }

    /// The hosts that run Linux.
    fn linux_names(&self) -> Vec<&str> {
        let is_linux = |name: &&str| self.windows.iter().all(|host| host.name() != *name);
        self.example.host_names().into_iter().filter(is_linux).collect()
    }

    /// Runs Spark on every host.
    fn run_everywhere(&self) -> Result<Vec<(&str, SparkRun)>> {
        let mut runs = spark::run_everywhere(&self.lab, &self.linux_names())?;
        for host in &self.windows {
            runs.push((host.name(), host.run(&self.lab)?));
        }
        Ok(runs)
    }

    /// As [`Shop::start`], then registers, commits and enforces.
    ///
    /// # Errors
    /// When any step fails.
    pub fn start_enforced() -> Result<Self> {
        let shop = Self::start()?;
        shop.register()?;
        shop.commit()?;
        shop.enforce()?;
        Ok(shop)
    }

    /// The first run on every host: it creates its identity, registers, and learns that there is no policy.
    ///
    /// # Errors
    /// When a run fails.
    pub fn register(&self) -> Result<()> {
        let configuration = self.platform.host_configuration(&self.lab)?;
        for name in self.linux_names() {
            spark::configure(self.lab.host(name)?, &configuration)?;
        }
        for host in &self.windows {
            host.configure(&configuration, "")?;
        }
        spark::all_succeeded(&self.run_everywhere()?)
    }

    /// Tags the assets, applies the example's documents and commits them.
    ///
    /// # Errors
    /// When the platform refuses.
    pub fn commit(&self) -> Result<()> {
        for host in &self.example.hosts {
            self.platform.tag(&self.lab, &host.name, &host.tags)?;
        }
        self.platform.apply(&self.lab, &self.example.directory)
    }

    /// Applies and commits the example's documents after `edit` has changed their text.
    ///
    /// # Errors
    /// When the platform refuses them.
    pub fn commit_edited(&self, edit: impl Fn(&str) -> String) -> Result<()> {
        let directory = self.lab.directory().join("edited");
        std::fs::create_dir_all(&directory)?;
        for entry in std::fs::read_dir(&self.example.directory)?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(".yaml") {
                let text = std::fs::read_to_string(entry.path())?;
                std::fs::write(directory.join(name), edit(&text))?;
            }
        }
        self.platform.apply(&self.lab, &directory)
    }

    /// Runs Spark until every host enforces what the platform wants. The platform compiles after it has
    /// answered, so a run immediately after a change can be too early. Returns the revision.
    ///
    /// # Errors
    /// When a run fails, or a host does not get there.
    pub fn enforce(&self) -> Result<u64> {
        wait::until("every host enforces the committed policy", Duration::from_secs(60), || {
            let runs = self.run_everywhere()?;
            spark::all_succeeded(&runs)?;
            let enforcing = runs.iter().all(|(_, run)| run.status() == "enforcing");
            let revisions: Vec<Option<u64>> = runs.iter().map(|(_, run)| run.revision()).collect();
            let same = revisions.windows(2).all(|pair| pair[0] == pair[1]);
            Ok(if enforcing && same { revisions.first().copied().flatten() } else { None })
        })
    }

    /// Checks every Linux kernel, through nft, for our table and no other.
    ///
    /// # Errors
    /// When it is not so.
    pub fn check_kernels(&self) -> Result<()> {
        for name in self.linux_names() {
            let tables = Kernel::read(self.lab.host(name)?)?.tables();
            if tables != TABLES {
                bail!("nft lists the tables {tables:?} on {name}, expected {TABLES:?}");
            }
        }
        Ok(())
    }

    /// The example's policy, evaluated without the platform.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn oracle(&self) -> Result<Oracle> {
        let (policy, hosts) = (&self.example.policy, self.example.described());
        Oracle::new(&self.lab, policy, &hosts, SERVICES, &[self.platform.address()])
    }

    /// Probes every cell and compares with the example's table and policy.
    ///
    /// # Errors
    /// The matrix, when a cell is wrong.
    pub fn verify(&self) -> Result<()> {
        let mut matrix = after(&self.example, &self.oracle()?);
        matrix.probe(&self.lab)?;
        matrix.verify()
    }
}

/// Every pair × port, all expected to pass: a cell that is blocked later must be open first.
#[must_use]
pub fn before(example: &Example) -> Matrix {
    Matrix::of(&example.host_names(), &ports(), |_| Expectation::passes("nothing is enforced yet"))
}

/// Every pair × port as in the example's table. If the policy itself, evaluated by the oracle, differs, the
/// cell is wrong in any case and names both.
#[must_use]
pub fn after(example: &Example, oracle: &Oracle) -> Matrix {
    Matrix::of(&example.host_names(), &ports(), |flow| expectation(example, oracle, flow))
}

fn expectation(example: &Example, oracle: &Oracle, flow: &Flow) -> Expectation {
    let judged = oracle.expect(flow);
    let table = example.table.passes(flow);
    match (table, judged.outcome == ProbeResult::Passed) {
        (true, true) | (false, false) => judged,
        (true, false) => contradiction(&format!("the table says pass, but {}", judged.because)),
        (false, true) => contradiction(&format!("the table says drop, but {}", judged.because)),
    }
}

/// An expectation that no probe between hosts with services can meet.
fn contradiction(because: &str) -> Expectation {
    Expectation { outcome: ProbeResult::Unreachable, because: because.to_owned() }
}
