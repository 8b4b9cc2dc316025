//! The agent's route when its proxies or their list change while it holds a poll.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::privilege::in_lab;
use xshield_lab::proxy::{Behaviour, Proxy};
use xshield_lab::shop::Shop;
use xshield_lab::{Host, Running, agent, wait};

const SOON: Duration = Duration::from_secs(90);
/// Shorter than the platform holds a poll: a change within it is not due to the poll's end.
const WHILE_HELD: Duration = Duration::from_secs(40);
const HOST: &str = "db";
const PROXIES: (&str, u8) = ("proxy", 50);

struct Scenario {
    shop: Shop,
    agent: Option<Running>,
}

impl Scenario {
    fn begin() -> Result<Self> {
        let mut shop = Shop::start()?;
        shop.lab.add_host(PROXIES.0, PROXIES.1)?;
        Ok(Self { shop, agent: None })
    }

    fn proxy(&self, port: u16, authorization: Option<&str>) -> Result<Proxy> {
        let (lab, way) = (&self.shop.lab, Behaviour::Connect);
        Proxy::start(lab.host(PROXIES.0)?, lab.programs(), port, way, authorization)
    }

    /// Registers with `more` arguments and starts the agent.
    fn start_agent(&mut self, more: &[&str], heartbeat: &str) -> Result<()> {
        let (lab, platform) = (&self.shop.lab, &self.shop.platform);
        let key = platform.deployment_key(lab)?;
        let domain = platform.address().to_string();
        let settings = [("heartbeat-seconds", heartbeat)];
        agent::register_by_key(lab, self.db()?, &domain, &key, more, &settings)?;
        self.agent = Some(agent::start(lab, self.db()?)?);
        Ok(())
    }

    fn db(&self) -> Result<&Host> {
        self.shop.lab.host(HOST)
    }

    fn status(&self) -> Result<Value> {
        agent::status(&self.shop.lab, self.db()?)
    }

    fn update(&self, key: &str, value: &str) -> Result<()> {
        let param = format!("configuration.{key}");
        let arguments = ["updateConfig", "--param", &param, "--value", value];
        let output = agent::command(&self.shop.lab, self.db()?, &arguments)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    fn waits_by(&self, route: &str, within: Duration) -> Result<()> {
        let expected = format!("waiting, by {route}");
        wait::until(&expected, within, || {
            Ok((self.status()?["notification"] == expected.as_str()).then_some(()))
        })
        .with_context(|| format!("{:#}", self.status().unwrap_or_default()))
    }

    /// The heartbeat interval is long: what arrives within this time came by notification.
    fn hears_news(&self) -> Result<()> {
        let (lab, platform) = (&self.shop.lab, &self.shop.platform);
        let made = platform.json(lab, &["command", "run-now", "--asset", HOST])?;
        let id = made["id"].as_str().context("a command has an id")?;
        wait::until("the agent hears of a command", WHILE_HELD, || {
            let shown = platform.cli(lab, &["command", "show", id])?;
            Ok(shown.contains("done").then_some(()))
        })
    }
}

fn through(port: u16) -> String {
    format!("proxy 10.77.0.{}:{port}", PROXIES.1)
}

fn address(port: u16) -> String {
    format!("http://10.77.0.{}:{port}", PROXIES.1)
}

#[test]
fn notifications_follow_a_changed_list_and_a_failed_proxy() -> Result<()> {
    in_lab("notifications_follow_a_changed_list_and_a_failed_proxy", || {
        let mut scenario = Scenario::begin()?;
        let (first, second) = (scenario.proxy(3001, None)?, scenario.proxy(3002, None)?);
        scenario.start_agent(&[&format!("--proxy={}", address(3001))], "3600")?;
        scenario.waits_by(&through(3001), SOON)?;

        scenario.update("proxy", &address(3002))?;
        scenario.waits_by(&through(3002), WHILE_HELD)?;
        let asked = first.requests()?.len();
        scenario.hears_news()?;
        // One connection may serve both: cycle and poll pass it to each other.
        ensure!(!second.requests()?.is_empty(), "nobody came by the second proxy");
        ensure!(first.requests()?.len() == asked, "{:?}", first.requests()?);

        // No heartbeat is due for an hour: the failed proxy is noticed by the poll held through it.
        drop(second);
        scenario.waits_by("direct", WHILE_HELD)?;
        scenario.hears_news()
    })
}

#[test]
fn notifications_leave_a_silent_proxy() -> Result<()> {
    in_lab("notifications_leave_a_silent_proxy", || {
        let mut scenario = Scenario::begin()?;
        let (first, _second) = (scenario.proxy(3001, None)?, scenario.proxy(3002, None)?);
        let both = format!("--proxy={},{}", address(3001), address(3002));
        scenario.start_agent(&[&both], "3")?;
        scenario.waits_by(&through(3001), SOON)?;
        first.pause()?;
        scenario.waits_by(&through(3002), WHILE_HELD)
    })
}

#[test]
fn a_changed_password_makes_a_proxy_usable_again() -> Result<()> {
    in_lab("a_changed_password_makes_a_proxy_usable_again", || {
        let mut scenario = Scenario::begin()?;
        // u:right
        let proxy = scenario.proxy(3001, Some("Basic dTpyaWdodA=="))?;
        let wrong = [
            &format!("--proxy={}", address(3001)),
            "--proxyUser=u",
            // wrong
            "--proxyPassword=d3Jvbmc=",
        ];
        scenario.start_agent(&wrong, "3600")?;
        scenario.waits_by("direct", SOON)?;
        let refused = proxy.requests()?;
        ensure!(refused.iter().all(|request| request.contains(" | 407 ")), "{refused:?}");
        ensure!(!refused.is_empty(), "the proxy was never asked");
        // right
        scenario.update("proxy-password", "cmlnaHQ=")?;
        scenario.waits_by(&through(3001), WHILE_HELD)?;
        scenario.hears_news()
    })
}
