//! A platform and one Windows host, with two policies that differ in one port.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xshield_firewall::wfp::model::{EngineState, Filter};
use xshield_firewall::wfp::ours::is_ours;
use xshield_lab::platform::Platform;
use xshield_lab::spark::SparkRun;
use xshield_lab::wine::{Ruling, WineHost, judge};
use xshield_lab::{Lab, Programs, wait};

/// The Windows host.
pub(crate) const HOST: &str = "app";
/// A run under wine takes seconds where other work is done beside it.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

const DOCUMENTS: &str = "\
segment:
  name: app
  criteria: role = 'app'
  templates: [app-tier, quarantine]
  inbound: { level: secure-inbound-paths, mode: enforce }
  outbound: { level: secure-intranet-paths, mode: enforce }
---
template:
  name: app-tier
  action: allow
  inbound:
    - { name: from-web, from: [10.77.0.11, 'fd77::11'], services: [tcp/PORT] }
    - { name: from-outside, from: [203.0.113.66, '2001:db8::66'], services: [tcp/8090] }
  outbound:
    - { name: to-db, to: [10.77.0.13], services: [tcp/5432] }
    - { name: to-outside, to: [203.0.113.66, '2001:db8::66'], services: [tcp/4444] }
---
template:
  name: quarantine
  action: block
  inbound:
    - { name: known-bad, from: [10.77.0.66], services: [any] }
";

/// One of the two policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// 10.77.0.11 reaches 8080.
    Open,
    /// It reaches 8081 instead.
    Closed,
}

impl Policy {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Open => Self::Closed,
            Self::Closed => Self::Open,
        }
    }

    fn port(self) -> &'static str {
        match self {
            Self::Open => "8080",
            Self::Closed => "8081",
        }
    }
}

/// Platform and host, and what the filter engine holds under each policy.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) platform: Platform,
    pub(crate) app: WineHost,
    open: BTreeSet<String>,
    closed: BTreeSet<String>,
}

impl Site {
    /// The host enforces [`Policy::Open`], after it has enforced the other one.
    pub(crate) fn start() -> Result<Self> {
        let programs = Programs::of_this_build()?;
        let windows = programs.windows()?;
        let mut lab = Lab::start(&programs)?;
        let platform = Platform::start(&mut lab, "a password for tests alone", &[])?;
        lab.add_host(HOST, 12)?;
        let app = WineHost::start(&lab, HOST, &windows)?;
        app.configure(&platform.host_configuration(&lab)?, "")?;
        let first = app.run(&lab)?;
        ensure!(first.status() == "no-policy", "{first:?}");
        platform.tag(&lab, HOST, [(&"role".to_owned(), &"app".to_owned())])?;
        let (open, closed) = (BTreeSet::new(), BTreeSet::new());
        let mut site = Self { lab, platform, app, open, closed };
        for policy in [Policy::Closed, Policy::Open] {
            site.commit(policy)?;
            wait::until("the first policies are enforced", LIMIT, || {
                let run = site.app.run(&site.lab)?;
                Ok((site.decides(policy)? && run.status() == "enforcing").then_some(()))
            })?;
            let held = fingerprint(&site.app.state()?)?;
            match policy {
                Policy::Open => site.open = held,
                Policy::Closed => site.closed = held,
            }
        }
        ensure!(site.open != site.closed && site.open.len() > 20, "{:?}", site.open);
        Ok(site)
    }

    /// Applies and commits a policy.
    pub(crate) fn commit(&self, policy: Policy) -> Result<()> {
        let directory = self.lab.directory().join("policy");
        fs::create_dir_all(&directory)?;
        let text = DOCUMENTS.replace("PORT", policy.port());
        fs::write(directory.join("policy.yaml"), text)?;
        self.platform.apply(&self.lab, &directory)
    }

    /// Whether packets are judged as a policy says, by the model of the filter engine.
    fn decides(&self, policy: Policy) -> Result<bool> {
        let state = self.app.state()?;
        let (open, closed) = match policy {
            Policy::Open => (Ruling::Permit, Ruling::Block),
            Policy::Closed => (Ruling::Block, Ruling::Permit),
        };
        for (packet, wanted) in [
            ("in tcp 10.77.0.11:50000 -> :8080", open),
            ("in tcp [fd77::11]:50000 -> :8081", closed),
            ("in tcp 10.77.0.14:50000 -> :8080", Ruling::Block),
            ("in udp 10.77.0.66:50000 -> :514", Ruling::Block),
            ("out tcp -> 10.77.0.13:5432", Ruling::Permit),
            ("out tcp -> 10.77.0.13:5433", Ruling::Block),
            ("out tcp -> 10.77.0.1:8443", Ruling::Permit),
        ] {
            let packet = packet.parse().with_context(|| format!("not a packet: {packet}"))?;
            if judge(&state, &packet)?.ruling != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which of the policies the filter engine holds, each filter of it and nothing else of ours; fails on
    /// anything in between.
    pub(crate) fn in_force(&self) -> Result<Policy> {
        let state = self.app.state()?;
        ensure!(state.dynamic.is_empty(), "a trial is in force");
        let held = fingerprint(&state)?;
        for (policy, wanted) in [(Policy::Open, &self.open), (Policy::Closed, &self.closed)] {
            if held == *wanted {
                ensure!(self.decides(policy)?, "{policy:?} is held and does not decide");
                return Ok(policy);
            }
        }
        let missing: Vec<_> = self.open.difference(&held).collect();
        let more: Vec<_> = held.difference(&self.open).collect();
        bail!(
            "neither policy is in force whole; of the open one, missing {missing:#?}, more {more:#?}"
        )
    }

    /// Runs Spark until it enforces a policy; what it reports is true.
    pub(crate) fn settle(&self, policy: Policy) -> Result<SparkRun> {
        wait::until(&format!("{policy:?} is enforced"), LIMIT, || {
            let run = self.app.run(&self.lab)?;
            ensure!(matches!(run.exit.code(), Some(0..=8)), "{run:?}");
            self.is_true(&run)?;
            let done = run.status() == "enforcing" && self.in_force()? == policy;
            Ok(done.then_some(run))
        })
    }

    /// Fails unless run and platform name the revision that the filters name.
    pub(crate) fn is_true(&self, run: &SparkRun) -> Result<()> {
        let held = self.marked_revision()?;
        ensure!(run.revision() == Some(held), "the filters are of revision {held}: {run:?}");
        let asset = self.asset()?;
        let told = &asset["spark"]["in_force"]["revision"];
        ensure!(told == held, "the filters are of revision {held}, the platform says {told}");
        Ok(())
    }

    /// The asset, as the platform has it.
    pub(crate) fn asset(&self) -> Result<Value> {
        self.platform.json(&self.lab, &["asset", "show", HOST])
    }

    /// The revision that the filters name, as the double keeps them.
    pub(crate) fn marked_revision(&self) -> Result<u64> {
        let store = self.app.engine().load()?;
        let texts = store.filters.values().filter_map(|filter| filter.description.as_deref());
        let marks = texts.filter_map(|text| text.strip_prefix("revision ")?.split_once(','));
        let revisions: BTreeSet<u64> =
            marks.filter_map(|(revision, _)| revision.parse().ok()).collect();
        match revisions.into_iter().collect::<Vec<_>>()[..] {
            [revision] => Ok(revision),
            ref others => bail!("the filters name the revisions {others:?}"),
        }
    }
}

/// What the engine holds of ours, without what differs between revisions of one policy.
fn fingerprint(state: &EngineState) -> Result<BTreeSet<String>> {
    let ours = state.filters.iter().filter(|filter| is_ours(filter.provider.as_ref()));
    let texts: Vec<String> = ours
        .map(|filter| {
            let of_plan = filter.description.split_once(", plan ").map(|(_, plan)| plan);
            let description = of_plan.unwrap_or(&filter.description).into();
            let bare = Filter { id: None, effective_weight: None, description, ..filter.clone() };
            format!("{bare:?}")
        })
        .collect();
    let count = texts.len();
    let texts: BTreeSet<String> = texts.into_iter().collect();
    ensure!(texts.len() == count, "two filters are the same");
    Ok(texts)
}
