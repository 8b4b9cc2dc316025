//! Live reports of agents: denials and matches arrive long before the next heartbeat, and each packet is
//! shown or counted as lost. The recorder's counts remain the authoritative ones.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::external_host::{self, Feed, V4, reach};
use xshield_lab::kernel::Kernel;
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::ProbeResult;
use xshield_lab::shop::Shop;
use xshield_lab::{Running, agent, wait};

/// Far shorter than the heartbeat interval: within it, only live reports arrive.
const SOON: Duration = Duration::from_secs(60);
const RARE_HEARTBEAT: &str = "heartbeat-seconds: 3600";
/// A port that nothing serves and no rule opens.
const CLOSED: u16 = 9009;

/// A shop in which one host runs an agent.
struct Scenario {
    shop: Shop,
    host: &'static str,
}

impl Scenario {
    /// With additional lines of the agent's configuration. Nothing is enforced yet.
    fn set(host: &'static str, more: &str) -> Result<(Self, Running)> {
        let mut shop = Shop::start()?;
        external_host::add(&mut shop.lab)?;
        // The others are assets as well, so that they have tags: Spark registers them, and does not run
        // again.
        shop.register()?;
        let configuration = shop.platform.host_configuration(&shop.lab)?;
        let there = shop.lab.host(host)?;
        agent::register(&shop.lab, there, &configuration, &format!("{RARE_HEARTBEAT}\n{more}"))?;
        let running = agent::start(&shop.lab, there)?;
        let scenario = Self { shop, host };
        scenario.count_arrivals()?;
        Ok((scenario, running))
    }

    /// Commits the shop's policy and waits until the agent enforces it.
    fn enforce(&self) -> Result<()> {
        self.shop.commit()?;
        wait::until("the agent enforces", SOON, || {
            Ok(agent::revision(&self.shop.lab, self.there()?)?.map(drop))
        })
    }

    fn there(&self) -> Result<&xshield_lab::Host> {
        self.shop.lab.host(self.host)
    }

    fn status(&self) -> Result<Value> {
        agent::status(&self.shop.lab, self.there()?)
    }

    /// Waits until the rules log packets to the agent's group.
    fn listens(&self) -> Result<()> {
        wait::until("the rules hand packets to the agent", SOON, || {
            let status = self.status()?;
            let listening = status["live"]["standing"]["state"] == "listening";
            Ok((listening && self.logs_to_a_group()?).then_some(()))
        })
    }

    fn logs_to_a_group(&self) -> Result<bool> {
        let kernel = Kernel::read(self.there()?)?;
        let found = kernel.of_kind("rule").any(|rule| rule.to_string().contains("\"group\""));
        Ok(found)
    }

    /// Counts packets that arrive at the closed port before our tables see them.
    fn count_arrivals(&self) -> Result<()> {
        let table = format!(
            "table inet count {{
                counter arrived {{ }}
                chain arrival {{
                    type filter hook prerouting priority -300;
                    udp dport {CLOSED} counter name arrived
                }}
            }}"
        );
        self.there()?.run("nft", [table]).map(drop)
    }

    fn arrived(&self) -> Result<u64> {
        self.counter("count", "arrived")
    }

    /// The value of a counter according to `nft`.
    fn counter(&self, table: &str, name: &str) -> Result<u64> {
        let list = ["-j", "list", "counter", "inet", table, name];
        let listed: Value = serde_json::from_str(&self.there()?.run("nft", list)?)?;
        let items = listed["nftables"].as_array().context("nft lists nothing")?;
        let counter = items.iter().find_map(|item| item.get("counter")).context("no counter")?;
        counter["packets"].as_u64().context("no count")
    }

    /// Sends datagrams to the closed port, from one socket at full speed.
    fn send(&self, from: &str, datagrams: u32) -> Result<()> {
        let to = self.there()?.v4();
        let script = format!(
            "use IO::Socket::INET;
             my $s = IO::Socket::INET->new(PeerAddr => '{to}', PeerPort => {CLOSED}, Proto => 'udp');
             $s->send('x') for 1..{datagrams};"
        );
        self.shop.lab.host(from)?.run("perl", ["-e", &script]).map(drop)
    }

    /// The output of `xshield live` for the host.
    fn live(&self) -> Result<Vec<Value>> {
        let show = ["live", "--once", "--json", "--asset", self.host];
        let text = self.shop.platform.cli(&self.shop.lab, &show)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Packets to the closed port that were shown, and those reported as lost.
    fn shown_and_lost(&self) -> Result<(u64, u64)> {
        let live = self.live()?;
        let of_port = live.iter().filter(|event| event["port"] == CLOSED);
        let lost = live.iter().filter_map(|event| event["lost"].as_u64()).sum();
        Ok((packets(of_port), lost))
    }

    /// Waits until every logged packet is shown or reported as lost, at least a number of them at the closed
    /// port; returns how many of those were shown, and all that were lost. Others are denied as well, such as
    /// remaining packets of the platform's connections.
    fn all_told(&self, least: u64) -> Result<(u64, u64)> {
        wait::until("each packet is shown or told as lost", SOON, || {
            let shown = packets(self.live()?.iter());
            let (of_port, lost) = self.shown_and_lost()?;
            let all = shown + lost == self.counter("xshield", "live")?;
            Ok((all && of_port + lost >= least).then_some((of_port, lost)))
        })
    }

    /// Runs a complete cycle, and returns the platform's count for the closed port.
    fn recorded(&self) -> Result<u64> {
        // One may have been running.
        for _ in 0..2 {
            let before = self.status()?["cycles"].as_u64();
            agent::command(&self.shop.lab, self.there()?, &["run"])?;
            wait::until("a cycle has ended", SOON, || {
                Ok((self.status()?["cycles"].as_u64() > before).then_some(()))
            })?;
        }
        let port = CLOSED.to_string();
        let list = ["events", "--asset", self.host, "--kind", "denied", "--port", &port];
        Ok(packets(items(&self.shop.platform.json(&self.shop.lab, &list)?)?.iter()))
    }

    fn cli(&self, arguments: &[&str]) -> Result<()> {
        self.shop.platform.cli(&self.shop.lab, arguments).map(drop)
    }
}

fn items(listed: &Value) -> Result<&Vec<Value>> {
    listed["items"].as_array().or(listed.as_array()).context("a list")
}

fn packets<'a>(events: impl Iterator<Item = &'a Value>) -> u64 {
    events.filter_map(|event| event["packets"].as_u64()).sum()
}

#[test]
fn a_denial_is_seen_at_once_with_its_process_and_counted_once() -> Result<()> {
    in_lab("a_denial_is_seen_at_once_with_its_process_and_counted_once", || {
        let (scenario, mut running) = Scenario::set("db", "")?;
        let lab = &scenario.shop.lab;
        ensure!(
            reach(lab, "attacker", "db", 5432)? == [ProbeResult::Passed; 2],
            "without a policy"
        );
        scenario.enforce()?;
        scenario.listens()?;
        ensure!(
            reach(lab, "attacker", "db", 5432)? == [ProbeResult::Dropped; 2],
            "with the policy"
        );
        let attacker = lab.host("attacker")?.v4().to_string();
        let event = wait::until("the denial is seen", SOON, || {
            let live = scenario.live()?;
            let of = |event: &&Value| event["port"] == 5432 && event["source"] == attacker.as_str();
            Ok(live.iter().find(of).cloned())
        })?;
        ensure!(event["kind"] == "denied" && event["direction"] == "inbound", "{event}");
        ensure!(event["process"] == "postgres" && event["user"] == "root", "{event}");
        ensure!(event["rule"] == "quarantine/known-bad" && event["from"] == "live", "{event}");

        scenario.send("attacker", 25)?;
        wait::until("every packet is seen", SOON, || {
            Ok((scenario.shown_and_lost()? == (25, 0)).then_some(()))
        })?;
        for _ in 0..2 {
            ensure!(scenario.recorded()? == 25, "the recorder's count");
        }
        ensure!(scenario.shown_and_lost()? == (25, 0), "nothing was shown twice");
        let told = scenario.status()?["live"]["counts"].clone();
        ensure!(told["lost"] == 0, "{told}");
        running.still_runs()
    })
}

#[test]
fn live_events_dropped_in_a_flood_are_counted() -> Result<()> {
    in_lab("live_events_dropped_in_a_flood_are_counted", || {
        let (scenario, mut running) = Scenario::set("db", "")?;
        scenario.enforce()?;
        scenario.listens()?;
        scenario.send("attacker", 100_000)?;
        let arrived = scenario.arrived()?;
        ensure!(arrived > 50_000, "{arrived} of 100,000 packets arrived");
        let told = scenario.all_told(arrived)?;
        ensure!(told.0 > 0 && told.1 > 0, "{told:?}");
        for _ in 0..2 {
            ensure!(scenario.recorded()? == arrived, "the recorder's count");
        }
        ensure!(scenario.all_told(arrived)?.0 == told.0, "nothing was told twice");
        running.still_runs()
    })
}

#[test]
fn a_match_is_alerted_at_once_and_once() -> Result<()> {
    in_lab("a_match_is_alerted_at_once_and_once", || {
        let (scenario, mut running) = Scenario::set("web", "")?;
        let (lab, platform) = (&scenario.shop.lab, &scenario.shop.platform);
        scenario.enforce()?;
        scenario.listens()?;
        let feed = Feed::add(lab, platform)?;
        ensure!(
            reach(lab, external_host::NAME, "web", 443)?[0] == ProbeResult::Passed,
            "not listed yet"
        );
        // No receiver accepts it; that alerts are raised is seen on the platform.
        scenario.cli(&["channel", "syslog", "siem", "--host", "192.0.2.1"])?;
        let rule = ["alert", "rule", "set", "met", "--when", "any-match", "--channel", "siem"];
        scenario.cli(&[&rule[..], &["--throttle", "0s"]].concat())?;
        feed.list(lab, platform, &[V4.to_string()])?;
        wait::until("the external host is blocked", SOON, || {
            let cut = reach(lab, external_host::NAME, "web", 443)?[0] == ProbeResult::Dropped;
            Ok(cut.then_some(()))
        })?;
        scenario.send(external_host::NAME, 40)?;

        let threats = || -> Result<Vec<Value>> {
            let listed = platform.json(lab, &["threat", "events", "--asset", "web"])?;
            let events = items(&listed)?.iter();
            let of = |event: &&Value| event["port"] == CLOSED || event["port"] == 443;
            Ok(events.filter(of).cloned().collect())
        };
        let alerts = || -> Result<Vec<Value>> {
            Ok(items(&platform.json(lab, &["alert", "list", "--rule", "met"])?)?.clone())
        };
        wait::until("both flows are told", SOON, || {
            Ok((threats()?.len() == 2 && alerts()?.len() == 2).then_some(()))
        })?;
        let served = threats()?.into_iter().find(|event| event["port"] == 443);
        let served = served.context("the match at the open port")?;
        ensure!(served["process"] == "nginx" && served["packets"] == 0, "{served}");
        ensure!(served["feeds"].to_string().contains(external_host::FEED), "{served}");
        ensure!(served["rule"] == "web-tier/customers", "{served}");
        let seen = scenario.live()?;
        ensure!(seen.iter().any(|event| event["remote"] == V4.to_string()), "{seen:?}");

        // Counted packets were seen before they are read, even in the very first reading.
        let told = SystemTime::now();
        wait::until("the clock goes on", SOON, || {
            Ok((told.elapsed()? > Duration::from_secs(1)).then_some(()))
        })?;
        for _ in 0..2 {
            scenario.recorded()?;
            let counted = threats()?;
            let at_port = counted.iter().filter(|event| event["port"] == CLOSED);
            ensure!(packets(at_port) == 40, "{counted:?}");
            ensure!(counted.len() == 2, "one event per flow: {counted:?}");
            ensure!(alerts()?.len() == 2, "one alert per flow: {:?}", alerts()?);
        }
        running.still_runs()
    })
}

#[test]
fn with_live_events_off_no_rule_logs_and_a_killed_agent_resumes() -> Result<()> {
    in_lab("with_live_events_off_no_rule_logs_and_a_killed_agent_resumes", || {
        let (scenario, running) = Scenario::set("db", "live-group: 77")?;
        scenario.enforce()?;
        scenario.listens()?;
        scenario.send("attacker", 10)?;
        wait::until("they are seen", SOON, || {
            Ok((scenario.shown_and_lost()? == (10, 0)).then_some(()))
        })?;
        // As in a crash.
        drop(running);
        scenario.send("attacker", 5)?;
        let mut running = agent::start(&scenario.shop.lab, scenario.there()?)?;
        scenario.listens()?;
        scenario.send("attacker", 7)?;
        wait::until("those that came while it ran are seen", SOON, || {
            Ok((scenario.shown_and_lost()? == (17, 0)).then_some(()))
        })?;
        ensure!(scenario.recorded()? == 22, "the recorder missed none");

        let list = Kernel::read(scenario.there()?)?;
        ensure!(list.of_kind("rule").any(|rule| rule.to_string().contains("77")), "its group");
        scenario.cli(&["host-config", "set", "live-events=off"])?;
        wait::until("no rule logs to a group", SOON, || {
            let off = scenario.status()?["live"]["standing"]["state"] == "off";
            Ok((off && !scenario.logs_to_a_group()?).then_some(()))
        })?;
        let tables = Kernel::read(scenario.there()?)?;
        ensure!(tables.in_table("xshield", "counter").count() == 0, "nor counts for it");
        scenario.send("attacker", 3)?;
        ensure!(scenario.recorded()? == 25, "the recorder counts on");
        ensure!(scenario.shown_and_lost()? == (17, 0), "nothing is shown");
        scenario.cli(&["host-config", "set", "live-events=on"])?;
        scenario.listens()?;
        running.still_runs()
    })
}

#[test]
fn a_log_group_in_use_by_another_program_is_survived() -> Result<()> {
    in_lab("a_log_group_in_use_by_another_program_is_survived", || {
        let (scenario, running) = Scenario::set("db", "")?;
        scenario.enforce()?;
        scenario.listens()?;
        ensure!(running.stop()?.success());
        // `NFULNL_CFG_CMD_BIND` of group 7733, as any other program would.
        let script =
            "$| = 1; socket(S, 16, 3, 12) or die; bind(S, pack('SSLL', 16, 0, 0, 0)) or die;
            my $m = pack('CCn', 0, 0, 7733) . pack('SSCx3', 5, 1, 1);
            send(S, pack('LSSLL', 16 + length($m), 4 << 8 | 1, 5, 1, 0) . $m, 0) or die;
            recv(S, my $a, 4096, 0); print unpack('l', substr($a, 16)) ? 'refused' : 'held';
            sleep 600;";
        let mut command = scenario.there()?.command("perl");
        command.args(["-e", script]);
        let holder = scenario.there()?.spawn("holder", command)?;
        wait::until("the group is held", SOON, || {
            Ok((holder.output()?.contains("held")).then_some(()))
        })?;
        let mut running = agent::start(&scenario.shop.lab, scenario.there()?)?;
        let reason = wait::until("the agent says so", SOON, || {
            let standing = scenario.status()?["live"]["standing"].clone();
            Ok((standing["state"] == "failed").then(|| standing["reason"].to_string()))
        })?;
        ensure!(reason.contains("another program holds it"), "{reason}");
        wait::until("the other program is handed nothing", SOON, || {
            Ok((!scenario.logs_to_a_group()?).then_some(()))
        })?;
        scenario.send("attacker", 4)?;
        ensure!(scenario.recorded()? == 4, "enforced and counted all the same");
        drop(holder);
        // Retried once a minute, and at once when the configuration is read again.
        let pid = scenario.status()?["pid"].to_string();
        scenario.there()?.run("kill", ["-HUP", &pid])?;
        scenario.listens()?;
        running.still_runs()
    })
}

#[test]
fn undelivered_live_events_are_counted_when_the_platform_is_back() -> Result<()> {
    in_lab("undelivered_live_events_are_counted_when_the_platform_is_back", || {
        let (mut scenario, mut running) = Scenario::set("db", "")?;
        scenario.enforce()?;
        scenario.listens()?;
        scenario.send("attacker", 10)?;
        wait::until("they are seen", SOON, || {
            Ok((scenario.shown_and_lost()? == (10, 0)).then_some(()))
        })?;
        let given_up = |scenario: &Scenario, least: u64| {
            wait::until("the agent gives up showing them", SOON, || {
                let lost = scenario.status()?["live"]["counts"]["lost"].as_u64();
                Ok((lost >= Some(least)).then_some(()))
            })
        };

        scenario.shop.platform.stop()?;
        scenario.send("attacker", 30)?;
        given_up(&scenario, 30)?;
        let Shop { lab, platform, .. } = &mut scenario.shop;
        platform.resume(lab)?;
        let (shown, lost) = scenario.all_told(40)?;
        ensure!(shown == 10 && lost >= 30, "{shown} shown, {lost} lost");

        // It accepts what was sent, but does not answer in time.
        let serves = scenario.shop.lab.host(xshield_lab::platform::HOST)?;
        let pid = serves.run("pidof", ["xshield"])?;
        serves.run("kill", ["-STOP", pid.trim()])?;
        scenario.send("attacker", 20)?;
        let paused = given_up(&scenario, 50);
        serves.run("kill", ["-CONT", pid.trim()])?;
        paused?;
        scenario.all_told(60)?;
        for _ in 0..2 {
            ensure!(scenario.recorded()? == 60, "the recorder's count");
        }
        scenario.all_told(60)?;
        running.still_runs()
    })
}

#[test]
fn live_events_name_the_opener_and_show_would_deny() -> Result<()> {
    in_lab("live_events_name_the_opener_and_show_would_deny", || {
        let (scenario, mut running) = Scenario::set("web", "")?;
        let lab = &scenario.shop.lab;
        ensure!(reach(lab, "web", "db", 5432)? == [ProbeResult::Passed; 2], "without a policy");
        scenario.enforce()?;
        scenario.listens()?;
        let db = lab.host("db")?.v4().to_string();
        let open = format!(
            "use IO::Socket::INET; IO::Socket::INET->new(PeerAddr => '{db}', PeerPort => 5432,
             Timeout => 5);"
        );
        let seen = |kind: &str| {
            wait::until("the flow is seen", SOON, || {
                let of = |event: &&Value| event["kind"] == kind && event["destination"] == *db;
                Ok(scenario.live()?.iter().find(of).cloned())
            })
        };
        // Nothing answers: the attempt ends by itself.
        let _ = scenario.there()?.command("perl").args(["-e", &open]).status()?;
        let event = seen("denied")?;
        ensure!(event["direction"] == "outbound" && event["process"] == "perl", "{event}");
        ensure!(event["user"] == "root" && event["port"] == 5432, "{event}");

        scenario.shop.commit_edited(|text| text.replace("mode: enforce", "mode: test"))?;
        wait::until("nothing is denied any more", SOON, || {
            Ok((reach(lab, "attacker", "web", 9999)?[0] == ProbeResult::Refused).then_some(()))
        })?;
        let _ = scenario.there()?.command("perl").args(["-e", &open]).status()?;
        let event = seen("would-deny")?;
        ensure!(event["direction"] == "outbound" && event["port"] == 5432, "{event}");
        running.still_runs()
    })
}
