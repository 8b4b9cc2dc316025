//! The agent behind proxies that die, refuse and disconnect: it always finds a route, enforces new policies,
//! and every denied packet is counted once.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::agent;
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::probe::{self, Port, Probe, ProbeResult};
use xshield_lab::proxy::{Behaviour, Proxy};
use xshield_lab::real_proxy::{Access, Kind, RealProxy};
use xshield_lab::shop::Shop;
use xshield_lab::{Host, Running, wait};

const SOON: Duration = Duration::from_secs(90);
/// The host that enforces.
const HOST: &str = "db";
const PROXIES: (&str, u8) = ("proxy", 50);
const SQUID: u16 = 3128;
const TINY: u16 = 4128;
/// `s3cret-proxy`.
const PASSWORD: &str = "czNjcmV0LXByb3h5";
/// A port that no policy opens.
const CLOSED: u16 = 9999;
/// Short, so that counts are delivered soon.
const HEARTBEAT: [(&str, &str); 1] = [("heartbeat-seconds", "3")];

struct Scenario {
    shop: Shop,
    agent: Option<Running>,
    sent: u64,
}

impl Scenario {
    /// The shop with a host for proxies; db can't reach the platform directly.
    fn begin() -> Result<Self> {
        let scenario = Self::unregistered()?;
        let lab = &scenario.shop.lab;
        let configuration = scenario.shop.platform.host_configuration(lab)?;
        agent::register(lab, scenario.db()?, &configuration, "heartbeat-seconds: 3")?;
        Ok(scenario)
    }

    /// As [`Scenario::begin`], but db is not registered.
    fn unregistered() -> Result<Self> {
        let mut shop = Shop::start()?;
        shop.lab.add_host(PROXIES.0, PROXIES.1)?;
        let scenario = Self { shop, agent: None, sent: 0 };
        let attacker = scenario.host("attacker")?;
        let count = format!(
            "table inet count {{
                counter closed {{ }}
                chain output {{
                    type filter hook output priority 0;
                    udp dport {CLOSED} counter name closed
                }}
            }}"
        );
        attacker.run("nft", [&count])?;
        scenario.block_direct_way()?;
        Ok(scenario)
    }

    /// With only the domain and the deployment key, through one proxy.
    fn register_through(&self, proxy: &str) -> Result<()> {
        let (lab, platform) = (&self.shop.lab, &self.shop.platform);
        let key = platform.deployment_key(lab)?;
        let proxy = [
            &format!("--proxy={proxy}"),
            "--proxyUser=spark",
            &format!("--proxyPassword={PASSWORD}"),
        ];
        let domain = platform.address().to_string();
        agent::register_by_key(lab, self.db()?, &domain, &key, &proxy, &HEARTBEAT)
    }

    fn host(&self, name: &str) -> Result<&Host> {
        self.shop.lab.host(name)
    }

    fn db(&self) -> Result<&Host> {
        self.host(HOST)
    }

    fn block_direct_way(&self) -> Result<()> {
        self.db()?.run("ip", ["route", "add", "blackhole", "10.77.0.1/32"]).map(drop)
    }

    fn open_direct_way(&self) -> Result<()> {
        self.db()?.run("ip", ["route", "del", "blackhole", "10.77.0.1/32"]).map(drop)
    }

    fn start_agent(&mut self) -> Result<()> {
        self.agent = Some(agent::start(&self.shop.lab, self.db()?)?);
        Ok(())
    }

    /// As by a service manager.
    fn stop_agent(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            let said = agent.output()?;
            ensure!(agent.stop()?.success(), "{said}");
        }
        Ok(())
    }

    fn start_proxy(&self, kind: Kind) -> Result<RealProxy> {
        let port = match kind {
            Kind::Squid => SQUID,
            Kind::Tinyproxy => TINY,
        };
        RealProxy::start(self.host(PROXIES.0)?, kind, port, Access::Password)
    }

    /// Changes lines of the configuration as operators do.
    fn update_config(&self, proxies: &str, users: &str, passwords: &str) -> Result<()> {
        let param = "configuration.proxy;configuration.proxy-user;configuration.proxy-password";
        let value = format!("{proxies};{users};{passwords}");
        let arguments = ["updateConfig", "--param", param, "--value", &value];
        let output = agent::command(&self.shop.lab, self.db()?, &arguments)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        agent::status(&self.shop.lab, self.db()?)
    }

    /// Waits for a cycle that reached the platform by this route.
    fn reaches_by(&self, route: &str) -> Result<()> {
        wait::until(&format!("the platform is reached by {route}"), SOON, || {
            let status = self.status()?;
            let reached = status["last_cycle"]["outcome"]["platform"] == "reached";
            Ok((reached && used(&status).as_deref() == Some(route)).then_some(()))
        })
        .with_context(|| format!("{:#}", self.status().unwrap_or_default()["last_cycle"]))
    }

    /// Waits for `count` more cycles, all by this route.
    fn stays_with(&self, route: &str, count: usize) -> Result<()> {
        for _ in 0..count {
            let before = self.status()?["last_cycle"]["ended"].clone();
            wait::until("the next cycle", SOON, || {
                let status = self.status()?;
                ensure!(used(&status).as_deref() == Some(route), "left {route}: {status}");
                Ok((status["last_cycle"]["ended"] != before).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Commits a policy that only allows app to reach one port of db, and checks it with packets.
    fn only_open(&self, port: u16) -> Result<()> {
        self.shop.commit_edited(|text| {
            let before = "[segment:app], services: [tcp], process: postgres";
            text.replace(before, &format!("[10.77.0.12], services: [tcp/{port}]"))
        })?;
        wait::until(&format!("port {port} alone is open"), SOON, || {
            let open = |port| Ok::<_, anyhow::Error>(self.probe(port)? == ProbeResult::Passed);
            Ok((open(port)? && !open(other(port))?).then_some(()))
        })
    }

    fn probe(&self, port: u16) -> Result<ProbeResult> {
        let probe = Probe {
            address: IpAddr::from(self.db()?.v4()),
            port: Port::Tcp(port),
            timeout: Duration::from_secs(1),
            nonce: "open?".to_owned(),
        };
        let outcomes = probe::send(self.host("app")?, self.shop.lab.programs(), &[probe])?;
        outcomes.first().copied().context("no outcome")
    }

    /// Sends datagrams to a closed port of db, each from another port.
    fn knock(&mut self, datagrams: u64) -> Result<()> {
        let to = self.db()?.v4();
        let script =
            format!("for i in $(seq {datagrams}); do echo x > /dev/udp/{to}/{CLOSED}; done");
        self.host("attacker")?.run("bash", ["-c", &script])?;
        self.sent += datagrams;
        Ok(())
    }

    /// The number of packets sent by the attacker, as counted by its own kernel.
    fn counted_outside(&self) -> Result<u64> {
        let list = ["-j", "list", "counter", "inet", "count", "closed"];
        let text = self.host("attacker")?.run("nft", list)?;
        let listed: Value = serde_json::from_str(&text)?;
        let items = listed["nftables"].as_array().context("a list")?;
        let counter = items.iter().find_map(|item| item.get("counter")).context("a counter")?;
        counter["packets"].as_u64().context("a number")
    }

    /// The denied packets that the platform has counted.
    fn counted_by_platform(&self) -> Result<u64> {
        let port = CLOSED.to_string();
        let list = ["events", "--asset", HOST, "--kind", "denied", "--port", &port];
        let events = self.shop.platform.json(&self.shop.lab, &list)?;
        let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
        Ok(items.iter().filter_map(|event| event["packets"].as_u64()).sum())
    }

    /// Every packet is counted once, however often the agent is restarted.
    fn each_counted_once(&mut self) -> Result<()> {
        let outside = self.counted_outside()?;
        ensure!(outside == self.sent, "sent {} and counted {outside}", self.sent);
        wait::until("every denied packet is counted", SOON, || {
            Ok((self.counted_by_platform()? >= outside).then_some(()))
        })
        .with_context(|| format!("{:?} of {outside}", self.counted_by_platform()))?;
        self.stop_agent()?;
        self.start_agent()?;
        wait::until("the new agent reaches the platform", SOON, || {
            let outcome = self.status()?["last_cycle"]["outcome"].clone();
            Ok((outcome["platform"] == "reached" && outcome["waiting"] == 0).then_some(()))
        })?;
        let counted = self.counted_by_platform()?;
        ensure!(counted == outside, "{counted} counted of {outside}");
        Ok(())
    }

    /// The password is nowhere readable, neither in plain text nor in base64 nor in a header.
    fn keeps_secrets(&self) -> Result<()> {
        let agent = self.agent.as_ref().context("the agent runs")?;
        let mut texts = vec![agent.output()?, self.shop.platform.log()?];
        for command in ["status", "telemetry", "policy"] {
            let output = agent::command(&self.shop.lab, self.db()?, &[command, "--json"])?;
            texts.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        for secret in ["s3cret", PASSWORD, "c3Bhcms6czNj"] {
            ensure!(texts.iter().all(|text| !text.contains(secret)), "{secret} is shown");
        }
        Ok(())
    }
}

/// The route in use.
fn used(status: &Value) -> Option<String> {
    let routes = status["last_cycle"]["outcome"]["routes"].as_array()?;
    let route = routes.iter().find(|route| route["in_use"] == true)?;
    Some(route["route"].as_str()?.to_owned())
}

/// The policies of these tests open one or the other.
fn other(port: u16) -> u16 {
    if port == 22 { 5432 } else { 22 }
}

fn through(port: u16) -> String {
    format!("proxy 10.77.0.{}:{port}", PROXIES.1)
}

fn address(port: u16) -> String {
    format!("http://10.77.0.{}:{port}", PROXIES.1)
}

#[test]
fn proxies_fail_in_turn_and_no_report_is_lost() -> Result<()> {
    in_lab("proxies_fail_in_turn_and_no_report_is_lost", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: squid gives up root's rights, which takes a real root");
            return Ok(());
        }
        let mut scenario = Scenario::unregistered()?;
        let squid = scenario.start_proxy(Kind::Squid)?;
        let tiny = scenario.start_proxy(Kind::Tinyproxy)?;
        // Only the first is known; the second is added while the agent runs.
        scenario.register_through(&address(SQUID))?;
        ensure!(squid.passed()?.len() == 2, "{}", squid.everything()?);
        scenario.start_agent()?;
        scenario.reaches_by(&through(SQUID))?;
        let both = [SQUID, TINY].map(address).join(",");
        scenario.update_config(&both, "spark,spark", &format!("{PASSWORD},{PASSWORD}"))?;
        scenario.shop.platform.tag(&scenario.shop.lab, HOST, &tags(&scenario.shop)?)?;
        scenario.only_open(5432)?;
        scenario.knock(7)?;
        scenario.reaches_by(&through(SQUID))?;
        ensure!(tiny.passed()?.is_empty(), "{}", tiny.everything()?);

        drop(squid);
        scenario.knock(3)?;
        scenario.reaches_by(&through(TINY))?;
        scenario.only_open(22)?;
        scenario.knock(5)?;
        let squid = scenario.start_proxy(Kind::Squid)?;
        scenario.stays_with(&through(TINY), 3)?;
        ensure!(squid.passed()?.is_empty(), "{}", squid.everything()?);

        drop((squid, tiny));
        scenario.knock(4)?;
        scenario.open_direct_way()?;
        scenario.reaches_by("direct")?;
        scenario.only_open(5432)?;
        let squid = scenario.start_proxy(Kind::Squid)?;
        scenario.knock(6)?;
        scenario.stays_with("direct", 3)?;
        ensure!(squid.passed()?.is_empty(), "{}", squid.everything()?);
        scenario.keeps_secrets()?;
        scenario.each_counted_once()
    })
}

#[test]
fn a_proxy_that_refuses_or_disconnects_is_skipped() -> Result<()> {
    in_lab("a_proxy_that_refuses_or_disconnects_is_skipped", || {
        let mut scenario = Scenario::begin()?;
        let proxies = scenario.host(PROXIES.0)?;
        let programs = scenario.shop.lab.programs();
        let start = |port, behaviour| Proxy::start(proxies, programs, port, behaviour, None);
        // During the handshake, and during the conversation after it.
        let ways = [
            (3001, Behaviour::Refuse),
            (3002, Behaviour::Cut { after: 300 }),
            (3003, Behaviour::Cut { after: 900 }),
            (3004, Behaviour::Connect),
        ];
        let running: Vec<Proxy> =
            ways.iter().map(|&(port, way)| start(port, way)).collect::<Result<_>>()?;
        let list = ways.map(|(port, _)| address(port)).join(",");
        scenario.update_config(&list, "", "")?;
        scenario.start_agent()?;
        scenario.reaches_by(&through(3004))?;
        for proxy in &running {
            ensure!(!proxy.requests()?.is_empty(), "{proxy:?} was never asked");
        }
        scenario.shop.platform.tag(&scenario.shop.lab, HOST, &tags(&scenario.shop)?)?;
        scenario.only_open(5432)?;
        scenario.knock(5)?;
        scenario.each_counted_once()
    })
}

#[test]
fn truncated_answers_do_not_duplicate_reports() -> Result<()> {
    in_lab("truncated_answers_do_not_duplicate_reports", || {
        let mut scenario = Scenario::begin()?;
        scenario.open_direct_way()?;
        scenario.start_agent()?;
        scenario.reaches_by("direct")?;
        scenario.shop.platform.tag(&scenario.shop.lab, HOST, &tags(&scenario.shop)?)?;
        scenario.only_open(5432)?;
        scenario.block_direct_way()?;
        // Each allows slightly more of the conversation than the previous one.
        for (port, after) in (3100..).zip((1_000..6_000).step_by(1_000)) {
            let cut = Proxy::start(
                scenario.host(PROXIES.0)?,
                scenario.shop.lab.programs(),
                port,
                Behaviour::Cut { after },
                None,
            )?;
            scenario.knock(2)?;
            scenario.update_config(&address(port), "", "")?;
            wait::until("the proxy was asked", SOON, || {
                Ok((!cut.requests()?.is_empty()).then_some(()))
            })?;
        }
        scenario.open_direct_way()?;
        scenario.reaches_by("direct")?;
        scenario.each_counted_once()
    })
}

#[test]
fn observations_during_an_outage_are_reported_afterwards() -> Result<()> {
    in_lab("observations_during_an_outage_are_reported_afterwards", || {
        let mut scenario = Scenario::begin()?;
        scenario.open_direct_way()?;
        scenario.start_agent()?;
        scenario.reaches_by("direct")?;
        scenario.shop.platform.tag(&scenario.shop.lab, HOST, &tags(&scenario.shop)?)?;
        scenario.only_open(5432)?;
        scenario.shop.platform.stop()?;
        scenario.knock(8)?;
        wait::until("the agent knows", SOON, || {
            let outcome = scenario.status()?["last_cycle"]["outcome"].clone();
            Ok((outcome["status"] == "platform-unreachable").then_some(()))
        })?;
        // An agent that was killed in the meantime finds its saved state.
        scenario.agent = None;
        scenario.start_agent()?;
        scenario.knock(4)?;
        ensure!(scenario.probe(22)? == ProbeResult::Dropped, "the last policy is not in force");
        ensure!(scenario.probe(5432)? == ProbeResult::Passed, "the last policy is not in force");
        scenario.shop.platform.resume(&scenario.shop.lab)?;
        scenario.reaches_by("direct")?;
        scenario.only_open(22)?;
        scenario.each_counted_once()
    })
}

fn tags(shop: &Shop) -> Result<std::collections::BTreeMap<String, String>> {
    let host = shop.example.hosts.iter().find(|host| host.name == HOST);
    Ok(host.context("the example has no db")?.tags.clone())
}
