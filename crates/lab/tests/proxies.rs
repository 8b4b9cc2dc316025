//! Spark behind proxies: their order, keeping the choice, falling back to a direct connection, and the
//! confidentiality of the password.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::matrix::{Expectation, Matrix};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::Port;
use xshield_lab::proxy::{Behaviour, Proxy};
use xshield_lab::service::Service;
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

/// The proxies' host.
const HOST: &str = "proxy";
const NUMBER: u8 = 50;
const SILENT: u16 = 3128;
const REFUSING: u16 = 3129;
const WORKING: u16 = 3130;
/// A port of that host without a proxy.
const OTHER: u16 = 9999;

/// `spark` and `s3cret proxy`, as a header and in the form of the configuration.
const AUTHORIZATION: &str = "Basic c3Bhcms6czNjcmV0IHByb3h5";
const PASSWORD: &str = "czNjcmV0IHByb3h5";
const WRONG_PASSWORD: &str = "bm90IHRoYXQgb25l";
/// What only the working proxy may receive.
const SECRETS: [&str; 4] = ["s3cret", "c3Bhcms6", PASSWORD, WRONG_PASSWORD];

/// The shop with its policy in force, and proxies that web does not have configured yet.
struct Fixture {
    shop: Shop,
    /// web's configuration without proxies.
    plain: String,
    silent: Proxy,
    refusing: Proxy,
    working: Option<Proxy>,
}

impl Fixture {
    fn set() -> Result<Self> {
        let mut shop = Shop::start()?;
        shop.lab.add_host(HOST, NUMBER)?;
        shop.lab.serve(HOST, &Service { process: "other", tcp: &[OTHER], udp: &[] })?;
        let start = |port, behaviour| {
            Proxy::start(shop.lab.host(HOST)?, shop.lab.programs(), port, behaviour, None)
        };
        let silent = start(SILENT, Behaviour::Silent)?;
        let refusing = start(REFUSING, Behaviour::Refuse)?;
        let mut fixture = Self { shop, plain: String::new(), silent, refusing, working: None };
        fixture.start_working()?;
        fixture.probe_other(Expectation::passes("nothing is enforced yet"))?;
        fixture.shop.register()?;
        fixture.shop.commit()?;
        fixture.shop.enforce()?;
        fixture.plain = fs::read_to_string(fixture.shop.lab.host("web")?.file(spark::CONFIG))?;
        fixture.probe_other(Expectation::drops("no rule"))?;
        Ok(fixture)
    }

    fn start_working(&mut self) -> Result<()> {
        let (host, programs) = (self.shop.lab.host(HOST)?, self.shop.lab.programs());
        let credentials = Some(AUTHORIZATION);
        self.working =
            Some(Proxy::start(host, programs, WORKING, Behaviour::Connect, credentials)?);
        Ok(())
    }

    /// Probes the port without a proxy from web.
    fn probe_other(&self, expected: Expectation) -> Result<()> {
        let all = Matrix::of(&["web", HOST], &[Port::Tcp(OTHER)], |_| expected.clone());
        let mut cells = all.only(|flow| flow.from == "web");
        cells.probe(&self.shop.lab)?;
        cells.verify()
    }

    fn configure(&self, proxies: &str, users: &str, passwords: &str) -> Result<()> {
        let path = self.shop.lab.host("web")?.file(spark::CONFIG);
        let plain = &self.plain;
        let lines =
            format!("proxy: '{proxies}'\nproxy-user: '{users}'\nproxy-password: '{passwords}'\n");
        Ok(fs::write(path, format!("{plain}{lines}"))?)
    }

    fn run(&self) -> Result<SparkRun> {
        let run = spark::run(&self.shop.lab, self.shop.lab.host("web")?)?;
        ensure!(run.exit.code() == Some(0), "{run:?}");
        for secret in SECRETS {
            ensure!(!format!("{run:?}").contains(secret), "{secret} in {run:?}");
        }
        Ok(run)
    }

    /// The number of requests that the working proxy received.
    fn heard(&self) -> Result<usize> {
        Ok(self.working.as_ref().context("the proxy runs")?.requests()?.len())
    }
}

/// The route in use.
fn used(run: &SparkRun) -> Option<&str> {
    let routes = run.json["routes"].as_array()?;
    routes.iter().find(|route| route["in_use"] == true)?["route"].as_str()
}

impl Fixture {
    /// A route of web as the platform knows it.
    fn known(&self, route: &str) -> Result<Value> {
        let asked = ["asset", "show", "web"];
        let asset = self.shop.platform.json(&self.shop.lab, &asked)?;
        let routes = asset["spark"]["routes"].as_array().context("web told its routes")?;
        let known = routes.iter().find(|known| known["route"] == route);
        known.cloned().with_context(|| format!("no {route} in {routes:?}"))
    }
}

/// Why a route last failed.
fn failure<'a>(found: &'a Value, route: &str) -> Option<&'a str> {
    let routes = found["routes"].as_array()?;
    let found = routes.iter().find(|found| found["route"] == route)?;
    found["last_failure"]["reason"].as_str()
}

fn route(port: u16) -> String {
    format!("proxy 10.77.0.{NUMBER}:{port}")
}

/// Addresses as operators write them.
fn listed(ports: &[u16]) -> String {
    let urls = ports.iter().map(|port| format!("http://10.77.0.{NUMBER}:{port}"));
    urls.collect::<Vec<_>>().join(",")
}

#[test]
fn the_working_proxy_is_found_kept_and_replaced_when_it_fails() -> Result<()> {
    in_lab("the_working_proxy_is_found_kept_and_replaced_when_it_fails", || {
        let mut fixture = Fixture::set()?;

        // web's own rules did not allow any of them before.
        fixture.configure(
            &listed(&[SILENT, REFUSING, WORKING]),
            ",,spark",
            &format!(",,{PASSWORD}"),
        )?;
        let began = Instant::now();
        let run = fixture.run()?;
        ensure!(began.elapsed() < Duration::from_secs(20), "late: {:?}", began.elapsed());
        ensure!(used(&run) == Some(&route(WORKING)), "{run:?}");
        let said = |port| failure(&run.json, &route(port)).unwrap_or_default();
        ensure!(said(SILENT).contains("did not answer in time"), "{run:?}");
        ensure!(said(REFUSING).contains("502"), "{run:?}");
        ensure!(run.json["problems"].to_string().contains("proxy-failed"), "{run:?}");
        fixture.probe_other(Expectation::drops("only the proxies' ports were opened"))?;
        // The platform knows the route as soon as the run has ended.
        let known = |port| fixture.known(&route(port));
        for (port, kind) in [(SILENT, "timed-out"), (REFUSING, "proxy-failed")] {
            let known = known(port)?;
            let failure = &known["last_failure"];
            ensure!(failure["kind"] == kind && known["in_use"] == false, "{known}");
            ensure!(failure["at"].as_u64() > Some(1_700_000_000), "{known}");
        }
        ensure!(known(WORKING)?["in_use"] == true, "{}", known(WORKING)?);
        ensure!(known(WORKING)?["last_worked"].is_u64(), "{}", known(WORKING)?);

        // The credentials reached their proxy, and no other.
        let requests = fixture.working.as_ref().context("the proxy runs")?.requests()?;
        let wanted = format!("CONNECT 10.77.0.1:8443 HTTP/1.1 | {AUTHORIZATION} | 200");
        ensure!(!requests.is_empty(), "the working proxy heard nothing");
        ensure!(requests.iter().all(|request| request.starts_with(&wanted)), "{requests:#?}");
        for other in [&fixture.silent, &fixture.refusing] {
            let requests = other.requests()?;
            ensure!(requests.len() == 1, "{requests:#?}");
            ensure!(requests[0].contains("| no credentials |"), "{requests:#?}");
        }

        // A new policy is fetched and confirmed through the proxy, which the next run tries first.
        fixture.shop.commit_edited(|text| {
            text.replace("to-app, to: [segment:app]", "to-app, to: [192.0.2.1]")
        })?;
        let before = fixture.heard()?;
        let revision = run.revision();
        let run = wait::until("web enforces the new policy", Duration::from_secs(60), || {
            let run = fixture.run()?;
            Ok((run.revision() > revision).then_some(run))
        })?;
        ensure!(run.json["change"] == "applied" && used(&run) == Some(&route(WORKING)), "{run:?}");
        ensure!(fixture.heard()? > before + 1, "the trial was not confirmed over a new connection");
        ensure!(fixture.silent.requests()?.len() == 1, "the choice did not stick");
        ensure!(failure(&run.json, &route(SILENT)).is_some(), "the last failure is still told");

        // The same list in another order is tried from the start without a failure: that, too, is reported in
        // the same run.
        fixture.configure(&listed(&[WORKING, SILENT, REFUSING]), "spark", PASSWORD)?;
        ensure!(used(&fixture.run()?) == Some(route(WORKING).as_str()));
        let known = fixture.known(&route(WORKING))?;
        ensure!(known["in_use"] == true, "{known}");

        // It dies: direct, and the direct route is kept when it is back.
        fixture.working = None;
        let run = fixture.run()?;
        ensure!(used(&run) == Some("direct"), "{run:?}");
        let said = failure(&run.json, &route(WORKING)).unwrap_or_default();
        ensure!(said.contains("refused the connection"), "{run:?}");
        fixture.start_working()?;
        let before = fixture.heard()?;
        ensure!(used(&fixture.run()?) == Some("direct"));
        ensure!(fixture.heard()? == before, "the choice did not stick");

        let log = fixture.shop.platform.log()?;
        ensure!(SECRETS.iter().all(|secret| !log.contains(secret)), "{log}");
        Ok(())
    })
}

#[test]
fn a_wrong_proxy_password_is_named_and_a_changed_list_is_tried_from_the_start() -> Result<()> {
    in_lab("a_wrong_proxy_password_is_named_and_a_changed_list_is_tried_from_the_start", || {
        let fixture = Fixture::set()?;
        ensure!(used(&fixture.run()?) == Some("direct"));

        fixture.configure(&listed(&[WORKING]), "spark", WRONG_PASSWORD)?;
        let run = fixture.run()?;
        ensure!(used(&run) == Some("direct"), "{run:?}");
        let problems = run.json["problems"].to_string();
        ensure!(problems.contains("proxy-authentication") && problems.contains("407"), "{run:?}");

        // From now on, the platform is only reachable through the proxy, which web's rules in force don't
        // contain.
        let web = fixture.shop.lab.host("web")?;
        web.run("ip", ["route", "add", "blackhole", "10.77.0.1/32"])?;
        let over_ipv6 = format!("proxy [fd77::{NUMBER}]:{WORKING}");
        fixture.configure(&format!("http://[fd77::{NUMBER}]:{WORKING}"), "spark", PASSWORD)?;
        let run = fixture.run()?;
        ensure!(used(&run) == Some(&over_ipv6), "{run:?}");
        ensure!(run.json["problems"].as_array().is_some_and(Vec::is_empty), "{run:?}");

        let status = |arguments: &[&str]| -> Result<String> {
            let output = spark::command(&fixture.shop.lab, web, arguments)?.output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let json: Value = serde_json::from_str(&status(&["status", "--json"])?)?;
        ensure!(json["routes"][0]["route"] == over_ipv6.as_str(), "{json:#}");
        ensure!(json["routes"][0]["in_use"] == true, "{json:#}");
        let text = status(&["status"])?;
        ensure!(text.contains(&format!("{over_ipv6}, in use")), "{text}");

        // An invalid configuration changes nothing.
        fixture.configure("http://proxy.shop.test:3128", "", "")?;
        let run = spark::run(&fixture.shop.lab, web)?;
        ensure!(run.exit.code() == Some(2), "{run:?}");
        ensure!(run.json["error"].to_string().contains("proxy 1 is a host name"), "{run:?}");
        Ok(())
    })
}
