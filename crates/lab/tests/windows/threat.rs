//! A threat list and the Security log on a Windows host: real packets, judged by the double, become events of
//! its log, and those become events, hits and matches on the platform.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_enforce::step::Step;
use xshield_firewall::wfp::LIST_PROVIDER;
use xshield_lab::external_host::{self, FEED, Feed, V4, V6, reach};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::service::Service;
use xshield_lab::spark::SparkRun;
use xshield_lab::wait;
use xshield_lab::wine::gate::Auditing;

use crate::killed;
use crate::site::{HOST, LIMIT, Policy, Site};

const PASS: [ProbeResult; 2] = [ProbeResult::Passed; 2];
const DROPPED: [ProbeResult; 2] = [ProbeResult::Dropped; 2];
/// What the policy lets the external host reach, and one port that it does not.
const SERVICE: Service = Service { process: "portal", tcp: &[8090, 8091], udp: &[] };
/// Other entries of the list: the double keeps a filter for each, in a file.
const OTHERS: u32 = 60;

/// A Windows host that an external host reaches, and a feed that does not list it yet.
struct Scenario {
    site: Site,
    feed: Feed,
}

impl Scenario {
    fn start() -> Result<Self> {
        let mut site = Site::start()?;
        external_host::add(&mut site.lab)?;
        site.lab.serve(HOST, &SERVICE)?;
        let feed = Feed::add_with(&site.lab, &site.platform, OTHERS)?;
        let scenario = Self { site, feed };
        scenario.enforce("198.51.100.1", Listing::Listed)?;
        ensure!(scenario.inbound(8090)? == PASS, "nothing lists the external host yet");
        ensure!(scenario.outbound()? == PASS, "nothing lists the external host yet");
        Ok(scenario)
    }

    fn inbound(&self, port: u16) -> Result<[ProbeResult; 2]> {
        reach(&self.site.lab, external_host::NAME, HOST, port)
    }

    fn outbound(&self) -> Result<[ProbeResult; 2]> {
        reach(&self.site.lab, HOST, external_host::NAME, 4444)
    }

    /// Lists these addresses besides the others.
    fn list(&self, entries: &[&str]) -> Result<()> {
        self.feed.list(&self.site.lab, &self.site.platform, entries)
    }

    fn list_external_host(&self, more: &[&str]) -> Result<()> {
        let (v4, v6) = (V4.to_string(), V6.to_string());
        self.list(&[&[v4.as_str(), v6.as_str()], more].concat())
    }

    /// Runs Spark until the filter engine has an address on its list, or no more.
    fn enforce(&self, address: &str, wanted: Listing) -> Result<SparkRun> {
        wait::until(&format!("{address} is {wanted:?}"), LIMIT, || {
            let run = self.run()?;
            Ok((self.listing(address)? == wanted).then_some(run))
        })
    }

    /// Runs Spark, which enforces the policy all the time.
    fn run(&self) -> Result<SparkRun> {
        let run = self.site.app.run(&self.site.lab)?;
        ensure!(run.exit.code() == Some(0), "{run:?}");
        ensure!(run.status() == "enforcing", "{run:?}");
        Ok(run)
    }

    fn listing(&self, address: &str) -> Result<Listing> {
        let lookup = ["threat", "lookup", address];
        let (code, found) = self.site.app.verb(&self.site.lab, &lookup)?;
        Ok(match code {
            Some(0) if !found["entry"].is_null() => Listing::Listed,
            _ => Listing::Unlisted,
        })
    }

    fn set_mode(&self, mode: &str) -> Result<SparkRun> {
        let set = ["threat", "mode", "set", mode, "--asset", HOST];
        self.site.platform.cli(&self.site.lab, &set)?;
        let mode = if mode == "inherit" { "block" } else { mode };
        wait::until(&format!("mode {mode} is in force"), LIMIT, || {
            let run = self.run()?;
            let threat = &run.json["threat"];
            Ok((threat["inbound"] == mode && threat["outbound"] == mode).then_some(run))
        })
    }

    fn items(&self, command: &[&str]) -> Result<Vec<Value>> {
        let found = self.site.platform.json(&self.site.lab, command)?;
        let items = found["items"].as_array().or(found.as_array());
        items.cloned().with_context(|| format!("{command:?} printed no list: {found}"))
    }

    /// The platform's matches with the external host's IPv4 address and this port.
    fn matches(&self, port: u64, action: &str) -> Result<Vec<Value>> {
        let events = self.items(&["threat", "events", "--asset", HOST])?;
        let is_one = |event: &&Value| event["port"] == port && event["action"] == action;
        Ok(events.iter().filter(is_one).cloned().collect())
    }

    /// The filters of the list.
    fn entries(&self) -> Result<Vec<String>> {
        let store = self.site.app.engine().load()?;
        let provider = LIST_PROVIDER.to_string();
        let ours = store.filters.values().filter(|f| f.provider.as_ref() == Some(&provider));
        Ok(ours.map(|filter| filter.key.clone()).collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Listed,
    Unlisted,
}

fn packets(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["packets"].as_u64()).sum()
}

#[test]
fn a_windows_host_blocks_and_reports_listed_peers() -> Result<()> {
    in_lab("threat::a_windows_host_blocks_and_reports_listed_peers", || {
        let scenario = Scenario::start()?;
        scenario.site.app.gate().set_auditing(Auditing::Flows);
        flows(&scenario)?;
        blocked(&scenario)?;
        recorded(&scenario)?;
        repaired(&scenario)?;
        killed(&scenario)?;
        scenario.site.app.gate().take_judged().map(drop)
    })
}

/// Flows that policy denies are events of the platform, and those that it permits are hits of their rule, once.
fn flows(scenario: &Scenario) -> Result<()> {
    // Of what was written before the log is read for the first time, nothing is told.
    scenario.run()?;
    ensure!(scenario.inbound(8090)? == PASS && scenario.inbound(8091)? == DROPPED);
    scenario.run()?;
    let denied = |scenario: &Scenario| -> Result<Vec<Value>> {
        let events = scenario.items(&["events", "--asset", HOST, "--kind", "denied"])?;
        Ok(events.iter().filter(|event| event["port"] == 8091).cloned().collect())
    };
    let first = denied(scenario)?;
    ensure!(first.len() == 2, "one by IPv4, one by IPv6: {first:#?}");
    for event in &first {
        ensure!(event["direction"] == "inbound" && event["from"] == "security-log", "{event}");
        ensure!(event["packets"].as_u64().is_some_and(|count| count > 0), "{event}");
    }
    let hits = |scenario: &Scenario| -> Result<u64> {
        let programmed = scenario.site.platform.json(&scenario.site.lab, &["programmed", HOST])?;
        let all = programmed["hits"].as_array().context("hit counts")?;
        let one = all.iter().find(|hit| hit["rule"] == "app-tier/from-outside");
        let count = one.and_then(|hit| hit["packets"].as_u64());
        count.with_context(|| format!("no hits: {programmed}"))
    };
    ensure!(hits(scenario)? == 2, "connections, one by IPv4, one by IPv6: {}", hits(scenario)?);
    scenario.run()?;
    ensure!(denied(scenario)? == first && hits(scenario)? == 2, "counted again");
    Ok(())
}

/// A listed peer is blocked in both directions, although the policy permits it, and is a match.
fn blocked(scenario: &Scenario) -> Result<()> {
    scenario.list_external_host(&[])?;
    let run = scenario.enforce(&V4.to_string(), Listing::Listed)?;
    ensure!(run.json["threat"]["change"] == "changed", "{run:?}");
    ensure!(scenario.inbound(8090)? == DROPPED, "listed");
    ensure!(scenario.outbound()? == DROPPED, "listed");
    let run = scenario.run()?;
    ensure!(run.json["threat"]["matches"].as_u64().is_some_and(|n| n >= 4), "{run:?}");
    for (port, direction) in [(8090, "inbound"), (4444, "outbound")] {
        let events = scenario.matches(port, "blocked")?;
        ensure!(events.len() == 2, "one by IPv4, one by IPv6: {events:#?}");
        for event in &events {
            ensure!(event["direction"] == direction, "{event}");
            ensure!(event["feeds"].to_string().contains(FEED), "{event}");
        }
    }
    let counted = packets(&scenario.matches(8090, "blocked")?);
    scenario.run()?;
    ensure!(packets(&scenario.matches(8090, "blocked")?) == counted, "counted again");
    Ok(())
}

/// In mode event-only listed peers pass, and are matches nevertheless.
fn recorded(scenario: &Scenario) -> Result<()> {
    let run = scenario.set_mode("event-only")?;
    ensure!(run.json["threat"]["list"].is_object(), "{run:?}");
    ensure!(scenario.inbound(8090)? == PASS, "recorded only");
    scenario.run()?;
    let events = scenario.matches(8090, "recorded")?;
    ensure!(events.len() == 2, "one by IPv4, one by IPv6: {events:#?}");
    scenario.set_mode("inherit")?;
    ensure!(scenario.inbound(8090)? == DROPPED, "blocked again");
    Ok(())
}

/// A filter of the list that someone deleted is put back, and the run says so.
fn repaired(scenario: &Scenario) -> Result<()> {
    let before = scenario.entries()?;
    scenario.site.app.engine().edit(|store| {
        store.filters.retain(|_, filter| {
            filter.provider.as_deref() != Some(LIST_PROVIDER.to_string().as_str())
        });
    })?;
    ensure!(scenario.inbound(8090)? == PASS, "nothing blocks it");
    let run = scenario.run()?;
    ensure!(run.json["threat"]["change"] == "repaired", "{run:?}");
    ensure!(run.json["problems"].to_string().contains("drift"), "{run:?}");
    ensure!(scenario.inbound(8090)? == DROPPED && scenario.entries()? == before, "{before:?}");
    Ok(())
}

/// Killed at any step of a list, a run leaves one of the two lists, whole, and the next run finishes.
fn killed(scenario: &Scenario) -> Result<()> {
    let steps = [
        Step::ThreatOrdered,
        Step::ThreatFetched,
        Step::ThreatPrepared,
        Step::ThreatProgrammed,
        Step::ThreatKept,
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let more = format!("192.0.2.{number}");
        let before = scenario.entries()?;
        scenario.list_external_host(&[&more])?;
        killed::kill_at(&scenario.site, step)?;
        ensure!(scenario.inbound(8090)? == DROPPED, "after {step}");
        let left = scenario.entries()?;
        let run = scenario.enforce(&more, Listing::Listed)?;
        ensure!(!run.json["problems"].to_string().contains("drift"), "after {step}: {run:?}");
        let after = scenario.entries()?;
        ensure!(left == before || left == after, "after {step}, neither list is whole");
        ensure!(scenario.inbound(8090)? == DROPPED, "finished after {step}");
    }
    // Removed from the filter engine, but not yet from disk: the next run does not put it back.
    let remove = ["threat", "feed", "remove", FEED];
    scenario.site.platform.cli(&scenario.site.lab, &remove)?;
    killed::kill_at(&scenario.site, Step::ThreatRemoved)?;
    scenario.enforce(&V4.to_string(), Listing::Unlisted)?;
    ensure!(scenario.inbound(8090)? == PASS, "removed");
    ensure!(scenario.entries()?.is_empty(), "filters are left");
    ensure!(scenario.site.in_force()? == Policy::Open, "the policy is as it was");
    Ok(())
}
