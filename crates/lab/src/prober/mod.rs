//! The prober: random policies and packets, compared with an independent implementation of the documentation.
//!
//! `crates/lab/prober/` (in Python, so that it can't share code with crate `policy`) generates policies and
//! flows, and the result of each according to `docs/operations/policy.md`. This module installs the policies
//! in real kernels with the real programs, and has the packets sent. A flow is judged by what arrived at its
//! receiver, by the answers that came back, and by what the kernel recorded.

mod site;
pub mod soak;
mod station;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::host::Host;
use crate::{spark, wait};
use site::Site;
use station::Station;

/// How long packets may take to arrive.
const SETTLING: Duration = Duration::from_secs(2);

/// The amount of probing.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Determines all random choices.
    pub seed: u64,
    /// The minimum number of flows in total.
    pub flows: u32,
    /// Flows per policy and host.
    pub per_host: u32,
}

/// A lab of hosts under test, the stations that send and receive, and a plan.
#[derive(Debug)]
pub struct Prober {
    /// Before the site, so that they end before their networks do.
    world: Station,
    stations: Vec<Station>,
    site: Site,
    plan: PathBuf,
    policies: u32,
}

/// The results of the flows of one policy.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Comparison {
    /// The number of flows by expected verdict.
    pub counts: Counts,
    /// Flows with an unexpected result.
    pub differences: Vec<Difference>,
}

/// A flow with an unexpected result.
#[derive(Debug, Clone, Deserialize)]
pub struct Difference {
    /// Its number in the plan.
    pub number: u64,
    /// The flow, the actual and the expected result, and why.
    pub text: String,
}

/// The number of flows by expected verdict.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Expected to pass.
    pub allow: u32,
    /// Expected to pass and to be recorded.
    pub would_deny: u32,
    /// Expected to be dropped.
    pub deny: u32,
}

impl Counts {
    /// All flows.
    #[must_use]
    pub fn flows(self) -> u32 {
        self.allow + self.would_deny + self.deny
    }
}

impl Comparison {
    /// Fails if there is a difference, and shows up to ten.
    ///
    /// # Errors
    /// If there is a difference.
    pub fn verify(&self) -> Result<()> {
        if self.differences.is_empty() {
            return Ok(());
        }
        let some: Vec<&str> = self.differences.iter().take(10).map(|d| d.text.as_str()).collect();
        let (wrong, all) = (self.differences.len(), self.counts.flows());
        bail!("{wrong} of {all} flows differ from the documentation:\n{}", some.join("\n"))
    }
}

#[derive(Deserialize)]
struct Planned {
    policies: u32,
}

impl Prober {
    /// Starts the hosts and registers them, creates the plan, and checks that all its flows arrive while
    /// nothing is enforced.
    ///
    /// # Errors
    /// When anything can't be started, or a flow does not arrive.
    pub fn start(extent: &Extent) -> Result<Self> {
        let site = Site::start()?;
        let plan = site.lab.directory().join("plan");
        let mut planning = script("prober.py")?;
        planning.arg("plan").arg("--site").arg(site.description()).arg("--out").arg(&plan);
        planning.args(["--seed", &extent.seed.to_string(), "--flows", &extent.flows.to_string()]);
        planning.args(["--per-host", &extent.per_host.to_string()]);
        let printed = crate::host::succeed(&mut planning).context("could not create a plan")?;
        let Planned { policies } =
            serde_json::from_str(&printed).context("the plan's summary is not readable")?;
        let (world, stations) = site.stations()?;
        let prober = Self { world, stations, site, plan, policies };
        for policy in 0..policies {
            let open = prober.probe_all(policy, Rules::None)?;
            open.verify().context("without any policy")?;
        }
        Ok(prober)
    }

    /// The number of planned policies.
    #[must_use]
    pub fn policies(&self) -> u32 {
        self.policies
    }

    /// A host under test.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.site.lab.host(name)
    }

    /// The planned flows of a policy, as in the plan's file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn flows(&self, policy: u32) -> Result<Vec<serde_json::Value>> {
        let text = std::fs::read_to_string(self.directory(policy).join("flows.json"))?;
        serde_json::from_str(&text).context("the plan's flows are not readable")
    }

    /// Replaces the policy in force on every host; returns the results for open conversations. If the plan
    /// has a version of the policy that must be refused, that is tried first.
    ///
    /// # Errors
    /// When a valid policy is refused or an invalid one accepted; when a conversation that the previous
    /// policy allows can't be opened.
    pub fn change_to(&self, policy: u32) -> Result<Comparison> {
        let directory = self.directory(policy);
        let conversations = directory.join("conversations.json");
        if !conversations.is_file() {
            self.enforce(policy)?;
            return Ok(Comparison::default());
        }
        self.at_once(|station| station.ask_about("listen", &conversations, "listening"))?;
        self.at_once(|station| station.ask_about("open", &conversations, "opened"))?;
        self.compare_conversations(&directory, "open")?
            .verify()
            .context("conversations under the previous policy")?;
        self.enforce(policy)?;
        self.at_once(|station| station.ask("forget", "forgotten"))?;
        self.at_once(|station| station.ask_about("say", &conversations, "said"))?;
        self.at_once(|station| station.ask_about("hear", &conversations, "heard"))?;
        let after = self.compare_conversations(&directory, "after")?;
        self.at_once(|station| station.ask("close", "closed"))?;
        Ok(after)
    }

    fn compare_conversations(&self, directory: &Path, when: &str) -> Result<Comparison> {
        self.at_once(|station| {
            let file = directory.join(format!("{when}-{}.json", station.name()));
            station.ask_about("heard", &file, "written")
        })?;
        let mut comparing = script("prober.py")?;
        comparing.arg("compare").arg(directory).args(["--conversations", when]);
        compared(&mut comparing)
    }

    /// Commits a policy and runs Spark until every host enforces it.
    fn enforce(&self, policy: u32) -> Result<()> {
        let directory = self.directory(policy);
        self.site.tag(&directory.join("tags.json"))?;
        let refused = directory.join("refused");
        if refused.is_dir() {
            self.see_refused(&refused)?;
        }
        let revision = self.site.commit(&directory.join("policy"))?;
        let names = self.site.names();
        let what = format!("revision {revision} is in force on every host");
        wait::until(&what, Duration::from_secs(60), || {
            let runs = spark::run_everywhere(&self.site.lab, &names)?;
            spark::all_succeeded(&runs)?;
            let there = |run: &spark::SparkRun| {
                run.status() == "enforcing" && run.revision() == Some(revision)
            };
            Ok(runs.iter().all(|(_, run)| there(run)).then_some(()))
        })
    }

    fn see_refused(&self, documents: &Path) -> Result<()> {
        let text = std::fs::read_to_string(documents.with_extension("json"))?;
        let rules: Vec<String> = serde_json::from_str(&text)?;
        let Err(error) = self.site.commit(documents) else {
            bail!("committed, though these rules cut the failsafe: {}", rules.join(", "));
        };
        let said = format!("{error:#}");
        ensure!(
            rules.iter().any(|rule| said.contains(&format!("rule {rule} would block"))),
            "refused without naming any of {}: {said}",
            rules.join(", ")
        );
        Ok(())
    }

    /// Sends the flows of a policy in force, and compares.
    ///
    /// # Errors
    /// When they can't be sent; never because of a difference.
    pub fn probe(&self, policy: u32) -> Result<Comparison> {
        self.probe_all(policy, Rules::InForce)
    }

    fn probe_all(&self, policy: u32, rules: Rules) -> Result<Comparison> {
        let directory = self.directory(policy);
        let flows = directory.join("flows.json");
        self.at_once(|station| station.ask("clear", "cleared"))?;
        if rules == Rules::InForce {
            self.list_kernels(&directory, "before")?;
        }
        self.at_once(|station| station.ask_about("send", &flows, "sent"))?;
        // An answer that waits until its neighbour's address is resolved arrives after the others: what
        // differs is compared again for a while.
        let deadline = Instant::now() + SETTLING;
        loop {
            let comparison = self.compare(&directory, rules)?;
            if comparison.differences.is_empty() || Instant::now() >= deadline {
                return Ok(comparison);
            }
        }
    }

    /// Compares what has arrived by now with what is expected.
    fn compare(&self, directory: &Path, rules: Rules) -> Result<Comparison> {
        self.at_once(|station| {
            let file = directory.join(format!("seen-{}.json", station.name()));
            station.ask_about("collect", &file, "collected")
        })?;
        let mut comparing = script("prober.py")?;
        comparing.arg("compare").arg(directory);
        match rules {
            Rules::None => drop(comparing.arg("--open")),
            Rules::InForce => self.list_kernels(directory, "after")?,
        }
        compared(&mut comparing)
    }

    /// Sends a request to all stations concurrently.
    fn at_once(&self, ask: impl Fn(&Station) -> Result<()> + Sync) -> Result<()> {
        let all = self.stations.iter().chain([&self.world]);
        std::thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = all.map(|station| scope.spawn(move || ask(station))).collect();
            for thread in asked {
                thread.join().map_err(|_| anyhow::anyhow!("a station's thread panicked"))??;
            }
            Ok(())
        })
    }

    fn list_kernels(&self, directory: &Path, when: &str) -> Result<()> {
        for name in self.site.names() {
            let listing = self.site.lab.host(name)?.run("nft", ["-j", "list", "ruleset"])?;
            std::fs::write(directory.join(format!("nft-{when}-{name}.json")), listing)?;
        }
        Ok(())
    }

    fn directory(&self, policy: u32) -> PathBuf {
        self.plan.join(format!("{policy:03}"))
    }
}

/// Whether a policy is in force while probes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    None,
    InForce,
}

fn compared(comparing: &mut Command) -> Result<Comparison> {
    let output = comparing.output().context("could not start python3 (package python3)")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("the comparison ended with {}: {said}", output.status)
    })
}

/// One of the prober's scripts.
fn script(name: &str) -> Result<Command> {
    let path = scripts().join(name);
    ensure!(path.is_file(), "{} is missing", path.display());
    let mut command = Command::new("python3");
    command.arg("-B").arg(path);
    Ok(command)
}

/// The directory of the prober's scripts.
#[must_use]
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("prober")
}
