//! From a feed to packets dropped in the kernel, and back to the platform as events. Everything that must be
//! blocked passed before.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_enforce::step::Step;
use xshield_lab::external_host::{self, Feed, V4, V6, enforce_listing, others, reach};
use xshield_lab::hold::{Held, Link};
use xshield_lab::kernel::Kernel;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::shop::Shop;
use xshield_lab::smtp::{Options, SmtpServer};
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::terminal::Terminal;
use xshield_lab::wait;

const LIMIT: Duration = Duration::from_secs(60);
const PASS: [ProbeResult; 2] = [ProbeResult::Passed; 2];

/// An enforced shop, an external host that reaches web, and a feed that does not list it yet.
struct Scenario {
    shop: Shop,
    feed: Feed,
}

impl Scenario {
    fn set() -> Result<Self> {
        let mut shop = Shop::start_enforced()?;
        external_host::add(&mut shop.lab)?;
        let feed = Feed::add(&shop.lab, &shop.platform)?;
        let scenario = Self { shop, feed };
        scenario.enforce("web", "198.51.100.1", true)?;
        ensure!(
            scenario.reach(external_host::NAME, "web", 443)? == PASS,
            "nothing lists the external host yet"
        );
        Ok(scenario)
    }

    fn list(&self, entries: &[&str]) -> Result<()> {
        self.feed.list(&self.shop.lab, &self.shop.platform, entries)
    }

    /// Lists the external host by both addresses.
    fn list_external_host(&self) -> Result<()> {
        self.list(&[&V4.to_string(), &V6.to_string()])
    }

    fn enforce(&self, host: &str, address: &str, listed: bool) -> Result<Value> {
        enforce_listing(&self.shop.lab, host, address.parse()?, listed)
    }

    /// Runs the platform's command line.
    fn command(&self, arguments: &[&str]) -> Result<()> {
        self.shop.platform.cli(&self.shop.lab, arguments).map(drop)
    }

    fn reach(&self, from: &str, to: &str, port: u16) -> Result<[ProbeResult; 2]> {
        reach(&self.shop.lab, from, to, port)
    }

    fn run(&self, host: &str) -> Result<SparkRun> {
        spark::run(&self.shop.lab, self.shop.lab.host(host)?)
    }

    /// Sends datagrams from the external host, each from another port.
    fn send(&self, to: &str, port: u16, datagrams: u32) -> Result<()> {
        let to = self.shop.lab.host(to)?.v4();
        let script = format!("for i in $(seq {datagrams}); do echo x > /dev/udp/{to}/{port}; done");
        self.shop.lab.host(external_host::NAME)?.run("bash", ["-c", &script]).map(drop)
    }

    /// The platform's threat events of a host and a port of it.
    fn events(&self, host: &str, port: u64) -> Result<Vec<Value>> {
        let list = ["threat", "events", "--asset", host];
        let events = self.shop.platform.json(&self.shop.lab, &list)?;
        let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
        Ok(items.iter().filter(|event| event["port"] == port).cloned().collect())
    }

    /// A working connection of the external host to web.
    fn held(&self) -> Result<Held> {
        let web = SocketAddr::new(self.shop.lab.host("web")?.v4().into(), 80);
        let external = self.shop.lab.host(external_host::NAME)?;
        Held::open(external, self.shop.lab.programs(), web)
    }
}

fn dropped(outcomes: [ProbeResult; 2]) -> bool {
    outcomes == [ProbeResult::Dropped; 2]
}

fn packets(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["packets"].as_u64()).sum()
}

#[test]
fn a_listed_peer_is_blocked_reported_and_unblocked() -> Result<()> {
    in_lab("a_listed_peer_is_blocked_reported_and_unblocked", || {
        let scenario = Scenario::set()?;
        let mut held = scenario.held()?;
        let laptop = SocketAddr::new(scenario.shop.lab.host("web")?.v4().into(), 80);
        let mut innocent =
            Held::open(scenario.shop.lab.host("laptop")?, scenario.shop.lab.programs(), laptop)?;

        scenario.list_external_host()?;
        let run = scenario.enforce("web", &V4.to_string(), true)?;
        ensure!(run["threat"]["change"] == "changed", "{run}");
        ensure!(held.link()? == Link::Cut, "the running connection");
        ensure!(innocent.link()? == Link::Alive, "the connection of others");
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "new connections");
        scenario.send("web", 514, 7)?;

        let run = scenario.run("web")?;
        ensure!(run.exit.success(), "{run:?}");
        let events = scenario.events("web", 443)?;
        let event = events.iter().find(|event| event["remote"] == V4.to_string());
        let event = event.with_context(|| format!("an event of {V4}: {events:?}"))?;
        ensure!(event["action"] == "blocked" && event["direction"] == "inbound", "{event}");
        ensure!(event["process"] == "nginx", "{event}");
        ensure!(event["feeds"].to_string().contains(external_host::FEED), "{event}");
        ensure!(event["rule"] == "web-tier/customers", "{event}");
        ensure!(events.iter().any(|event| event["remote"] == V6.to_string()), "{events:?}");
        let counted = packets(&scenario.events("web", 514)?);
        ensure!(counted == 7, "{counted} of 7 packets were counted");

        scenario.list(&[])?;
        scenario.enforce("web", &V4.to_string(), false)?;
        ensure!(scenario.reach(external_host::NAME, "web", 443)? == PASS, "unlisted");
        ensure!(innocent.link()? == Link::Alive, "the connection of others");
        Ok(())
    })
}

#[test]
fn an_unenforceable_policy_does_not_block_the_threat_list() -> Result<()> {
    in_lab("an_unenforceable_policy_does_not_block_the_threat_list", || {
        let scenario = Scenario::set()?;
        let web = scenario.shop.lab.host("web")?;
        // A table owned by a running program can't be changed by others (Linux 5.12).
        let mut owner = web.command("nft");
        owner.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut owner = owner.spawn()?;
        let mut commands = owner.stdin.take().context("a pipe")?;
        std::io::Write::write_all(
            &mut commands,
            b"delete table inet xshield\nadd table inet xshield { flags owner; }\n",
        )?;
        let run = wait::until("the policy can't be put back", LIMIT, || {
            let run = scenario.run("web")?;
            Ok((run.exit.code() == Some(1)).then_some(run))
        })?;
        ensure!(run.status() == "failed" && run.json["in_force"].is_null(), "{run:?}");
        ensure!(
            scenario.reach(external_host::NAME, "web", 443)? == PASS,
            "the external host is not listed"
        );

        scenario.list_external_host()?;
        wait::until("the list is in force", LIMIT, || {
            let run = scenario.run("web")?;
            ensure!(run.status() == "failed", "{run:?}");
            Ok(dropped(scenario.reach(external_host::NAME, "web", 443)?).then_some(()))
        })?;
        let asset = scenario.shop.platform.json(&scenario.shop.lab, &["asset", "show", "web"])?;
        ensure!(asset["spark"]["status"]["state"] == "failed", "{asset}");
        ensure!(asset["spark"]["in_force"].is_null(), "nothing of it is in the kernel: {asset}");

        drop(commands);
        owner.wait()?;
        wait::until("the policy is back", LIMIT, || {
            let run = scenario.run("web")?;
            Ok((run.status() == "enforcing").then_some(()))
        })?;
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "still listed");
        Ok(())
    })
}

#[test]
fn a_match_is_mailed_with_process_and_feed() -> Result<()> {
    in_lab("a_match_is_mailed_with_process_and_feed", || {
        let scenario = Scenario::set()?;
        let network = scenario.shop.lab.host(xshield_lab::platform::HOST)?.network();
        // Sockets stay in the network in which they were created.
        let listener = std::thread::spawn(move || -> Result<TcpListener> {
            network.enter()?;
            Ok(TcpListener::bind("127.0.0.1:0")?)
        });
        let listener = listener.join().map_err(|_| anyhow::anyhow!("no mail server"))??;
        let receiver = SmtpServer::start(listener, Options::default())?;
        let port = receiver.address().port().to_string();
        scenario.command(&[
            "channel",
            "mail",
            "ops",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--security",
            "plain",
            "--allow-unencrypted",
            "--allow-private",
            "--from",
            "xshield@example.com",
            "--to",
            "ops@example.com",
        ])?;
        scenario.command(&[
            "alert",
            "rule",
            "set",
            "met",
            "--when",
            "any-match",
            "--channel",
            "ops",
        ])?;

        scenario.list(&[&V4.to_string()])?;
        scenario.enforce("web", &V4.to_string(), true)?;
        scenario.reach(external_host::NAME, "web", 443)?;
        scenario.run("web")?;
        let mails = receiver.wait_for(1, LIMIT);
        let mail = mails.first().context("no mail came")?;
        let text = mail.text();
        for part in ["Malicious IP Match", "web", "nginx", external_host::FEED, &V4.to_string()] {
            ensure!(text.contains(part), "{part} is not in the mail:\n{text}");
        }
        Ok(())
    })
}

#[test]
fn outbound_flows_to_a_listed_peer_are_blocked() -> Result<()> {
    in_lab("outbound_flows_to_a_listed_peer_are_blocked", || {
        let scenario = Scenario::set()?;
        ensure!(scenario.reach("laptop", external_host::NAME, 4444)? == PASS, "nothing is listed");
        scenario.list_external_host()?;
        scenario.enforce("laptop", &V4.to_string(), true)?;
        ensure!(dropped(scenario.reach("laptop", external_host::NAME, 4444)?), "listed");
        scenario.run("laptop")?;
        let events = scenario.events("laptop", 4444)?;
        let outbound = events.iter().filter(|event| event["direction"] == "outbound").count();
        ensure!(outbound == 2, "one by IPv4, one by IPv6: {events:?}");
        Ok(())
    })
}

#[test]
fn matches_are_counted_once_despite_killed_runs() -> Result<()> {
    in_lab("matches_are_counted_once_despite_killed_runs", || {
        let scenario = Scenario::set()?;
        scenario.list_external_host()?;
        scenario.enforce("web", &V4.to_string(), true)?;
        let mut sent = 0;
        for step in [Step::Collected, Step::CheckedIn, Step::Saved, Step::Spooled, Step::Delivered]
        {
            scenario.send("web", 514, 3)?;
            sent += 3;
            killed_at(&scenario, "web", step)?;
        }
        let run = scenario.run("web")?;
        ensure!(run.exit.success(), "{run:?}");
        let counted = packets(&scenario.events("web", 514)?);
        ensure!(counted == sent, "{counted} of {sent} packets were counted");
        Ok(())
    })
}

/// Runs Spark so that it is killed at `step`; the platform may need a moment to compile a change, so a run
/// that came too early is repeated.
fn killed_at(scenario: &Scenario, host: &str, step: Step) -> Result<()> {
    let lab = &scenario.shop.lab;
    wait::until(&format!("a run is killed at {step}"), LIMIT, || {
        let mut command = lab.host(host)?.command("env");
        command.arg(format!("XSHIELD_KILL_AT={step}")).arg(lab.programs().spark()?);
        command.args(["run", "--config", spark::CONFIG]);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok((!matches!(status.code(), Some(0..=8))).then_some(()))
    })
}

#[test]
fn a_run_killed_at_any_step_leaves_a_complete_list_and_the_next_run_finishes() -> Result<()> {
    in_lab("a_run_killed_at_any_step_leaves_a_complete_list_and_the_next_run_finishes", || {
        let scenario = Scenario::set()?;
        // Always listed, always dropped: whichever of the two lists is in force.
        scenario.list_external_host()?;
        scenario.enforce("web", &V4.to_string(), true)?;
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "listed");
        let steps = [
            Step::ThreatOrdered,
            Step::ThreatFetched,
            Step::ThreatPrepared,
            Step::ThreatProgrammed,
            Step::ThreatKept,
        ];
        for (number, step) in steps.into_iter().enumerate() {
            let more = format!("192.0.2.{number}");
            scenario.list(&[&V4.to_string(), &V6.to_string(), &more])?;
            killed_at(&scenario, "web", step)?;
            ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "after {step}");
            let run = scenario.enforce("web", &more, true)?;
            ensure!(!run["problems"].to_string().contains("drift"), "after {step}: {run}");
            ensure!(
                dropped(scenario.reach(external_host::NAME, "web", 443)?),
                "finished after {step}"
            );
        }
        // Removed from the kernel, but not yet from disk: the next run does not restore it.
        scenario.command(&["threat", "feed", "remove", external_host::FEED])?;
        killed_at(&scenario, "web", Step::ThreatRemoved)?;
        scenario.enforce("web", &V4.to_string(), false)?;
        ensure!(scenario.reach(external_host::NAME, "web", 443)? == PASS, "taken out");
        Ok(())
    })
}

#[test]
fn event_only_records_and_does_not_block() -> Result<()> {
    in_lab("event_only_records_and_does_not_block", || {
        let scenario = Scenario::set()?;
        scenario.list_external_host()?;
        scenario.enforce("web", &V4.to_string(), true)?;
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "listed and blocked");
        let list = |web: &xshield_lab::Host| -> Result<Vec<Value>> {
            let kernel = Kernel::read(web)?;
            let sets = kernel.in_table("xshield_threat", "set");
            let lists = sets.filter(|set| set["name"].to_string().contains("hosts"));
            Ok(lists.map(|set| serde_json::json!([set["handle"], set["elem"]])).collect())
        };
        let web = scenario.shop.lab.host("web")?;
        let before = list(web)?;

        scenario.command(&["threat", "mode", "set", "event-only", "--asset", "web"])?;
        let run = wait::until("web only records", LIMIT, || {
            let run = scenario.run("web")?;
            Ok((run.json["threat"]["inbound"] == "event-only").then_some(run.json))
        })?;
        ensure!(run["threat"]["change"] == "posture", "{run}");
        ensure!(list(web)? == before, "the list itself was not touched");
        ensure!(scenario.reach(external_host::NAME, "web", 443)? == PASS, "recorded only");
        scenario.run("web")?;
        let events = scenario.events("web", 443)?;
        for action in ["recorded", "blocked"] {
            ensure!(events.iter().any(|event| event["action"] == action), "{action}: {events:?}");
        }

        scenario.command(&["threat", "mode", "set", "inherit", "--asset", "web"])?;
        wait::until("web blocks again", LIMIT, || {
            let run = scenario.run("web")?;
            Ok((run.json["threat"]["inbound"] == "block").then_some(()))
        })?;
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "blocked again");
        Ok(())
    })
}

#[test]
fn an_exception_allows_one_address_of_a_listed_prefix() -> Result<()> {
    in_lab("an_exception_allows_one_address_of_a_listed_prefix", || {
        let scenario = Scenario::set()?;
        scenario.list(&["203.0.113.0/24", "2001:db8::/64"])?;
        scenario.enforce("web", &V4.to_string(), true)?;
        ensure!(
            dropped(scenario.reach(external_host::NAME, "web", 443)?),
            "both prefixes are listed"
        );
        let exception = ["threat", "exception", "add", &V4.to_string(), "--reason", "a customer"];
        scenario.command(&exception)?;
        scenario.enforce("web", &V4.to_string(), false)?;
        let outcomes = scenario.reach(external_host::NAME, "web", 443)?;
        ensure!(outcomes == [ProbeResult::Passed, ProbeResult::Dropped], "{outcomes:?}");
        scenario.enforce("web", "203.0.113.67", true)?;
        Ok(())
    })
}

#[test]
fn at_a_terminal_a_large_download_shows_progress() -> Result<()> {
    in_lab("at_a_terminal_a_large_download_shows_progress", || {
        let scenario = Scenario::set()?;
        let large: Vec<String> = others(47, 150_000).map(|address| address.to_string()).collect();
        scenario.list(&large.iter().map(String::as_str).collect::<Vec<_>>())?;
        let web = scenario.shop.lab.host("web")?;
        let program = scenario.shop.lab.programs().spark()?;
        let program = program.to_str().context("its path is no text")?;
        // The order may not exist yet, and the platform delays hosts with too many requests.
        let shown = wait::until("the list comes", LIMIT, || {
            let terminal =
                Terminal::run(web.command("sh"), program, &["run", "--config", spark::CONFIG])?;
            let (code, shown) = terminal.end()?;
            Ok((code == 0 && shown.contains("threat list: ")).then_some(shown))
        })?;
        ensure!(shown.contains("\rdownloading the threat list: "), "{shown:?}");
        let (_, after) = shown.rsplit_once("downloading").context("it is shown")?;
        let (_, after) = after.split_once("\r\u{1b}[K").context("it is taken away again")?;
        ensure!(after.starts_with("enforcing"), "{shown:?}");

        // It is not shown elsewhere.
        scenario.list(&[])?;
        scenario.enforce("web", "47.0.0.0", false)?;
        scenario.list(&large.iter().map(String::as_str).collect::<Vec<_>>())?;
        let said = wait::until("the list comes again", LIMIT, || {
            let run = scenario.run("web")?;
            let changed = run.json["threat"]["change"] != "none";
            Ok(changed.then_some(run.stderr))
        })?;
        ensure!(said.is_empty(), "{said}");
        Ok(())
    })
}

#[test]
fn a_delta_damaged_in_transit_causes_a_full_fetch() -> Result<()> {
    in_lab("a_delta_damaged_in_transit_causes_a_full_fetch", || {
        let scenario = Scenario::set()?;
        scenario.list_external_host()?;
        for host in ["web", "db"] {
            scenario.enforce(host, &V4.to_string(), true)?;
        }
        // The delta is created on request: another host requests it first.
        scenario.list(&[&V4.to_string(), &V6.to_string(), "192.0.2.78"])?;
        scenario.enforce("db", "192.0.2.78", true)?;
        let files = scenario.shop.platform.threat_files()?;
        let mut damaged = 0;
        for file in files {
            let mut bytes = std::fs::read(&file)?;
            if bytes.get(4) == Some(&b'D') {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&file, bytes)?;
                damaged += 1;
            }
        }
        ensure!(damaged > 0, "the platform keeps changes");
        let run = scenario.run("web")?;
        ensure!(run.json["problems"].to_string().contains("threat-delta-refused"), "{run:?}");
        ensure!(run.json["threat"]["change"] == "loaded", "{run:?}");
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "listed all the same");
        scenario.enforce("web", "192.0.2.78", true)?;
        Ok(())
    })
}

#[test]
fn a_list_changed_by_others_is_repaired() -> Result<()> {
    in_lab("a_list_changed_by_others_is_repaired", || {
        let scenario = Scenario::set()?;
        scenario.list_external_host()?;
        scenario.enforce("web", &V4.to_string(), true)?;
        let web = scenario.shop.lab.host("web")?;
        let before = Kernel::read(web)?.programmed();
        for damage in [
            "nft delete element inet xshield_threat hosts4_a { 203.0.113.66 } 2>/dev/null ||
             nft delete element inet xshield_threat hosts4_b { 203.0.113.66 }",
            "nft 'flush chain inet xshield_threat input; flush chain inet xshield_threat output'",
            "nft delete table inet xshield_threat",
        ] {
            web.run("sh", ["-ec", damage])?;
            let [v4, _] = scenario.reach(external_host::NAME, "web", 443)?;
            ensure!(v4 == ProbeResult::Passed, "{damage}: {v4}");
            let run = scenario.run("web")?;
            ensure!(run.json["threat"]["change"] == "repaired", "{damage}: {run:?}");
            ensure!(run.json["problems"].to_string().contains("drift"), "{damage}: {run:?}");
            ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "{damage}");
        }
        // Whichever the slot.
        let plain = |lines: Vec<String>| -> Vec<String> {
            let mut plain: Vec<String> =
                lines.iter().map(|line| line.replace("_b\"", "_a\"")).collect();
            plain.sort();
            plain
        };
        let after = Kernel::read(web)?.programmed();
        ensure!(plain(before).len() == plain(after).len(), "the kernel holds what it held");
        Ok(())
    })
}

#[test]
fn a_hundred_thousand_entries_arrive_as_a_delta() -> Result<()> {
    in_lab("a_hundred_thousand_entries_arrive_as_a_delta", || {
        let scenario = Scenario::set()?;
        let (lab, platform) = (&scenario.shop.lab, &scenario.shop.platform);
        let text = |entry: IpAddr| entry.to_string();
        // The kernel's set has room for the rest: the whole list need not be loaded.
        let mut entries: Vec<String> = external_host::others(44, 90_000).map(text).collect();
        scenario.feed.list(lab, platform, &entries)?;
        scenario.enforce("web", &entries[0], true)?;

        entries.extend(external_host::others(45, 100_000).map(text));
        entries.extend([V4.to_string(), V6.to_string()]);
        scenario.feed.list(lab, platform, &entries)?;
        let run = scenario.enforce("web", &V4.to_string(), true)?;
        ensure!(run["threat"]["change"] == "changed", "{run}");
        ensure!(run["threat"]["list"]["entries"].as_u64() > Some(150_000), "{run}");
        ensure!(dropped(scenario.reach(external_host::NAME, "web", 443)?), "listed");
        let web = lab.host("web")?;
        for address in external_host::others(45, 100_000).step_by(33_333) {
            let found = external_host::look_up(lab, web, address)?;
            ensure!(found.is_some_and(|found| !found["entry"].is_null()), "{address}");
        }
        let kernel = Kernel::read(web)?;
        let sets = kernel.in_table("xshield_threat", "set");
        let most = sets.filter_map(|set| set["elem"].as_array().map(Vec::len)).max();
        let expected = 100_000 + 90_000 + 3_000 + 1;
        ensure!(most == Some(expected), "{most:?} elements in the largest set");
        Ok(())
    })
}
