//! Spark behind widely used proxies: squid and tinyproxy, killed, paused, with a wrong password, over a very
//! slow connection.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::real_proxy::{Access, Kind, RealProxy};
use xshield_lab::shop::Shop;
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::wait;

/// The proxies' host.
const HOST: &str = "proxy";
const NUMBER: u8 = 50;
const SQUID: u16 = 3128;
const TINY: u16 = 4128;

/// `s3cret-proxy`.
const PASSWORD: &str = "czNjcmV0LXByb3h5";

struct Fixture {
    shop: Shop,
    /// web's configuration without proxies.
    plain: String,
}

impl Fixture {
    /// The shop with its policy in force; web reaches the platform only through proxies.
    fn set() -> Result<Self> {
        let mut shop = Shop::start()?;
        shop.lab.add_host(HOST, NUMBER)?;
        shop.register()?;
        shop.commit()?;
        shop.enforce()?;
        let plain = fs::read_to_string(shop.lab.host("web")?.file(spark::CONFIG))?;
        shop.lab.host("web")?.run("ip", ["route", "add", "blackhole", "10.77.0.1/32"])?;
        Ok(Self { shop, plain })
    }

    fn start(&self, kind: Kind, port: u16, access: Access) -> Result<RealProxy> {
        RealProxy::start(self.shop.lab.host(HOST)?, kind, port, access)
    }

    fn configure(&self, users: &str, passwords: &str) -> Result<()> {
        let path = self.shop.lab.host("web")?.file(spark::CONFIG);
        let plain = &self.plain;
        let proxies = [SQUID, TINY].map(|port| format!("http://10.77.0.{NUMBER}:{port}")).join(",");
        let lines =
            format!("proxy: '{proxies}'\nproxy-user: '{users}'\nproxy-password: '{passwords}'\n");
        Ok(fs::write(path, format!("{plain}{lines}"))?)
    }

    fn run(&self) -> Result<SparkRun> {
        let run = spark::run(&self.shop.lab, self.shop.lab.host("web")?)?;
        for secret in ["s3cret", PASSWORD] {
            ensure!(!format!("{run:?}").contains(secret), "{secret} in {run:?}");
        }
        Ok(run)
    }

    fn reaches(&self, port: u16) -> Result<SparkRun> {
        let run = self.run()?;
        let wanted = format!("proxy 10.77.0.{NUMBER}:{port}");
        ensure!(run.exit.code() == Some(0) && used(&run) == Some(wanted.as_str()), "{run:?}");
        Ok(run)
    }
}

/// The route in use.
fn used(run: &SparkRun) -> Option<&str> {
    let routes = run.json["routes"].as_array()?;
    routes.iter().find(|route| route["in_use"] == true)?["route"].as_str()
}

#[test]
fn tinyproxy_takes_over_when_squid_dies_or_hangs() -> Result<()> {
    in_lab("tinyproxy_takes_over_when_squid_dies_or_hangs", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: squid gives up root's rights, which takes a real root");
            return Ok(());
        }
        let fixture = Fixture::set()?;
        let squid = fixture.start(Kind::Squid, SQUID, Access::Password)?;
        let tiny = fixture.start(Kind::Tinyproxy, TINY, Access::Password)?;
        fixture.configure("spark,spark", &format!("{PASSWORD},{PASSWORD}"))?;
        fixture.reaches(SQUID)?;
        ensure!(!squid.passed()?.is_empty(), "{}", squid.everything()?);
        ensure!(tiny.passed()?.is_empty(), "{}", tiny.everything()?);

        // It accepts connections and never answers.
        squid.pause()?;
        fixture.reaches(TINY)?;
        squid.resume()?;
        let heard = tiny.passed()?.len();
        fixture.reaches(TINY)?;
        ensure!(tiny.passed()?.len() > heard, "the choice did not stick");

        // Dead: the next one is tried, which is the first again.
        drop(tiny);
        fixture.reaches(SQUID)?;
        drop(squid);
        let run = fixture.run()?;
        ensure!(run.status() == "platform-unreachable", "{run:?}");

        // One comes back, and a new policy is fetched and confirmed through it.
        let tiny = fixture.start(Kind::Tinyproxy, TINY, Access::Password)?;
        let before = fixture.reaches(TINY)?.revision();
        fixture.shop.commit_edited(|text| {
            text.replace("to-app, to: [segment:app]", "to-app, to: [192.0.2.1]")
        })?;
        wait::until("web enforces the new policy", Duration::from_secs(60), || {
            Ok((fixture.reaches(TINY)?.revision() > before).then_some(()))
        })?;
        let passed = tiny.passed()?;
        ensure!(passed.len() > 2, "{passed:?}");
        Ok(())
    })
}

#[test]
fn a_407_of_squid_or_tinyproxy_is_not_a_dead_proxy() -> Result<()> {
    in_lab("a_407_of_squid_or_tinyproxy_is_not_a_dead_proxy", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: squid gives up root's rights, which takes a real root");
            return Ok(());
        }
        let fixture = Fixture::set()?;
        let _squid = fixture.start(Kind::Squid, SQUID, Access::Password)?;
        let _tiny = fixture.start(Kind::Tinyproxy, TINY, Access::Password)?;
        // No credentials for the first, wrong ones for the second.
        fixture.configure(",spark", ",d3Jvbmc=")?;
        let run = fixture.run()?;
        ensure!(run.status() == "platform-unreachable", "{run:?}");
        let refused = |problem: &&serde_json::Value| problem["code"] == "proxy-authentication";
        let problems = run.json["problems"].as_array().cloned().unwrap_or_default();
        ensure!(problems.iter().filter(refused).count() == 2, "{run:?}");

        fixture.configure("spark", PASSWORD)?;
        fixture.reaches(SQUID)?;
        Ok(())
    })
}

#[test]
fn a_very_slow_connection_is_not_taken_for_a_failure() -> Result<()> {
    in_lab("a_very_slow_connection_is_not_taken_for_a_failure", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: squid gives up root's rights, which takes a real root");
            return Ok(());
        }
        let fixture = Fixture::set()?;
        let squid = fixture.start(Kind::Squid, SQUID, Access::Open)?;
        fixture.configure("", "")?;
        let slow = ["qdisc", "add", "dev", "eth0", "root", "tbf"];
        let rate = ["rate", "56kbit", "burst", "1600", "latency", "2s"];
        fixture.shop.lab.host(HOST)?.run("tc", slow.iter().chain(&rate))?;
        fixture.reaches(SQUID)?;
        ensure!(!squid.passed()?.is_empty(), "{}", squid.everything()?);
        Ok(())
    })
}
