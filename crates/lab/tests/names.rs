//! Names whose addresses change between two runs: which addresses stay in the rules, which leave, and what
//! happens to connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshield_lab::dns::Dns;
use xshield_lab::example::Example;
use xshield_lab::hold::{Held, Link};
use xshield_lab::platform::{self, Platform};
use xshield_lab::privilege::in_lab;
use xshield_lab::probe::{self, Port, Probe, ProbeResult};
use xshield_lab::service::Service;
use xshield_lab::shop::{self, Shop};
use xshield_lab::spark::{self, SparkRun};
use xshield_lab::{host::Host, wait};

/// Addresses through which the name rotates; laptop has them in addition to its own.
const ROTATING: u8 = 8;
const HTTPS: u16 = 443;

fn rotating(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + number)
}

/// A shop whose hosts use a DNS server, in which web may reach `network:cdn` and inbound traffic is not
/// restricted.
struct Scenario {
    shop: Shop,
    dns: Dns,
}

impl Scenario {
    /// `network`: settings of the network `cdn.shop.test`, besides its name.
    fn begin(network: &str) -> Result<Self> {
        let shop = Shop::start()?;
        let dns = Dns::start(shop.lab.host(platform::HOST)?, shop.lab.programs())?;
        let laptop = shop.lab.host("laptop")?;
        for number in 0..ROTATING {
            let address = format!("{}/24", rotating(number));
            laptop.run("ip", ["address", "add", &address, "dev", "eth0"])?;
        }
        let scenario = Self { shop, dns };
        for number in 0..ROTATING {
            ensure!(
                scenario.reaches(number)?,
                "address {number} is closed though nothing is enforced"
            );
        }
        scenario.answer(0)?;
        scenario.shop.register()?;
        for host in &scenario.shop.example.hosts {
            scenario.shop.platform.tag(&scenario.shop.lab, &host.name, &host.tags)?;
        }
        let to_app = "- { name: to-app, to: [segment:app], services: [tcp/8080] }";
        let to_cdn = "- { name: cdn, to: [\"network:cdn\"], services: [tcp/443] }";
        let quarantined = "network:\n  name: quarantined";
        let cdn = format!("network: {{ name: cdn, domains: [cdn.shop.test]{network} }}\n---\n");
        scenario.shop.commit_edited(|text| {
            text.replace(to_app, &format!("{to_app}\n    {to_cdn}"))
                .replace(quarantined, &format!("{cdn}{quarantined}"))
                .replace("inbound: { level: secure-all-ports, mode: enforce }", "")
        })?;
        scenario.shop.enforce()?;
        Ok(scenario)
    }

    fn web(&self) -> Result<&Host> {
        self.shop.lab.host("web")
    }

    fn answer(&self, number: u8) -> Result<()> {
        self.dns.answer(&[&format!("cdn.shop.test {}", rotating(number))])
    }

    /// Whether web can open a connection to an address now.
    fn reaches(&self, number: u8) -> Result<bool> {
        let probe = Probe {
            address: IpAddr::from(rotating(number)),
            port: Port::Tcp(HTTPS),
            timeout: Duration::from_millis(900),
            nonce: format!("rotating-{number}"),
        };
        let outcome = probe::send(self.web()?, self.shop.lab.programs(), &[probe])?;
        Ok(outcome == [ProbeResult::Passed])
    }

    fn hold(&self, number: u8) -> Result<Held> {
        let to = SocketAddr::from((rotating(number), HTTPS));
        Held::open(self.web()?, self.shop.lab.programs(), to)
    }

    /// One run on web with a clock that is ahead by this many seconds.
    fn run_at(&self, ahead: i64) -> Result<SparkRun> {
        let run = run_at(&self.shop, "web", ahead)?;
        ensure!(run.status() == "enforcing", "{run:?}");
        Ok(run)
    }
}

fn run_at(shop: &Shop, host: &str, ahead: i64) -> Result<SparkRun> {
    let host = shop.lab.host(host)?;
    let clock = host.dir().join("clock");
    std::fs::write(&clock, ahead.to_string())?;
    let mut command =
        spark::command(&shop.lab, host, &["run", "--config", spark::CONFIG, "--json"])?;
    let output = command.env("XSHIELD_CLOCK", &clock).output()?;
    Ok(SparkRun {
        exit: output.status,
        json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn left(run: &SparkRun) -> Vec<String> {
    let left = run.json["left"].as_array().into_iter().flatten();
    left.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[test]
fn a_rotating_dns_name_ends_no_connection_and_old_addresses_leave_after_the_grace() -> Result<()> {
    let name = "a_rotating_dns_name_ends_no_connection_and_old_addresses_leave_after_the_grace";
    in_lab(name, || {
        let scenario = Scenario::begin(", grace: 60s")?;
        let mut held = scenario.hold(0)?;
        for number in 1..ROTATING {
            ensure!(!scenario.reaches(number)?, "address {number} was not answered yet");
            scenario.answer(number)?;
            let run = scenario.run_at(i64::from(number))?;
            ensure!(left(&run).is_empty(), "{run:?}");
            ensure!(scenario.reaches(number)?, "address {number} was answered");
            ensure!(held.link()? == Link::Alive, "cut when address {number} was answered");
        }
        // A minute later, to the second: the connection's address was last resolved before that.
        let run = scenario.run_at(i64::from(ROTATING) + 60)?;
        let left = left(&run);
        ensure!(left.len() == usize::from(ROTATING) - 1, "{left:?}");
        for number in 0..ROTATING - 1 {
            let named = left.iter().any(|text| text.starts_with(&format!("{} ", rotating(number))));
            ensure!(named, "{number} is not in {left:?}");
            ensure!(!scenario.reaches(number)?, "address {number} should have left");
        }
        ensure!(scenario.reaches(ROTATING - 1)?, "the address that is answered now");
        ensure!(held.link()? == Link::Cut, "what is stale leaves, connections included");
        Ok(())
    })
}

#[test]
fn with_while_connected_an_address_stays_until_its_connection_ends() -> Result<()> {
    in_lab("with_while_connected_an_address_stays_until_its_connection_ends", || {
        let scenario = Scenario::begin(", grace: 0s, while-connected: true")?;
        let mut held = scenario.hold(0)?;
        scenario.answer(1)?;
        let run = scenario.run_at(1)?;
        ensure!(left(&run).is_empty(), "{run:?}");
        ensure!(scenario.reaches(1)?, "the address that is answered now");
        scenario.answer(2)?;
        // No connection uses the second one: it leaves in the first run without it.
        let run = scenario.run_at(2)?;
        let first = format!("{} is no longer an address of cdn.shop.test", rotating(1));
        ensure!(left(&run).len() == 1 && left(&run)[0].starts_with(&first), "{run:?}");
        ensure!(!scenario.reaches(1)?, "it left");
        ensure!(held.link()? == Link::Alive, "the first one is connected");
        ensure!(scenario.reaches(0)?, "and is in the rules for as long as it is");
        drop(held);
        wait::until("the first address leaves", Duration::from_secs(20), || {
            Ok((left(&scenario.run_at(3)?).len() == 1).then_some(()))
        })?;
        ensure!(!scenario.reaches(0)?, "it left");
        Ok(())
    })
}

#[test]
fn new_resolvers_and_platform_addresses_are_allowed_before_use() -> Result<()> {
    let name = "new_resolvers_and_platform_addresses_are_allowed_before_use";
    in_lab(name, || {
        let example = Example::shop()?;
        let mut lab = shop::lab(&example)?;
        let named = format!("https://platform.shop.test:{}", platform::PORT);
        let platform =
            Platform::start(&mut lab, "a password for tests alone", std::slice::from_ref(&named))?;
        let shop = Shop { lab, platform, example, windows: Vec::new() };
        let record = |address: &str| format!("platform.shop.test {address}");
        let (first, second) = ("10.77.0.1", "10.77.0.111");
        let old = Dns::start(shop.lab.host(platform::HOST)?, shop.lab.programs())?;
        old.answer(&[&record(first)])?;
        let new = Dns::start(shop.lab.host("laptop")?, shop.lab.programs())?;
        new.answer(&[&record(first)])?;
        shop.register()?;
        // From here on web only knows the platform by its name.
        let web = shop.lab.host("web")?;
        let text = shop.platform.host_configuration(&shop.lab)?;
        let by_address = format!("https://{first}:{}", platform::PORT);
        ensure!(text.contains(&by_address), "{text}");
        spark::configure(web, &text.replace(&by_address, &named))?;
        for host in &shop.example.hosts {
            shop.platform.tag(&shop.lab, &host.name, &host.tags)?;
        }
        shop.commit_edited(|text| {
            // The laptop answers.
            text.replace("inbound: { level: secure-all-ports, mode: enforce }", "")
        })?;
        shop.enforce()?;
        let explained = || -> Result<String> {
            let asked = ["explain", "out udp -> 10.77.0.20:53"];
            let output = spark::command(&shop.lab, web, &asked)?.output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        // The rules in force do not allow web to query the other server.
        ensure!(explained()?.contains("default/closed"), "{}", explained()?);

        drop(old);
        let resolv_conf = |text: &str| std::fs::write(web.file("/etc/resolv.conf"), text);
        resolv_conf("nameserver 10.77.0.20\n")?;
        let run = spark::run(&shop.lab, web)?;
        ensure!((run.status(), run.exit.code()) == ("enforcing", Some(0)), "{run:?}");
        ensure!(explained()?.contains("failsafe/dns"), "{}", explained()?);

        // And the platform moves, so that its name resolves to an address that is in no rule.
        let home = shop.lab.host(platform::HOST)?;
        home.run("ip", ["address", "add", &format!("{second}/24"), "dev", "eth0"])?;
        let reaches = || -> Result<ProbeResult> {
            let probe = Probe {
                address: second.parse()?,
                port: Port::Tcp(platform::PORT),
                timeout: Duration::from_millis(900),
                nonce: "no-tls".to_owned(),
            };
            let outcome = probe::send(web, shop.lab.programs(), &[probe])?;
            outcome.first().copied().context("no outcome")
        };
        ensure!(reaches()? == ProbeResult::Dropped, "not yet in any rule");
        new.answer(&[&record(second)])?;
        let run = spark::run(&shop.lab, web)?;
        ensure!((run.status(), run.exit.code()) == ("enforcing", Some(0)), "{run:?}");
        ensure!(reaches()? != ProbeResult::Dropped, "the platform's address of now");

        // A name that resolves differently at each run.
        for address in [first, second, first, second] {
            new.answer(&[&record(address)])?;
            let run = spark::run(&shop.lab, web)?;
            ensure!((run.status(), run.exit.code()) == ("enforcing", Some(0)), "{run:?}");
        }
        Ok(())
    })
}

#[test]
fn configured_time_servers_are_reached_and_others_are_not() -> Result<()> {
    in_lab("configured_time_servers_are_reached_and_others_are_not", || {
        let mut scenario = Scenario::begin("")?;
        for host in ["laptop", "attacker"] {
            let ntp = Service { process: "ntpd", tcp: &[], udp: &[123] };
            scenario.shop.lab.serve(host, &ntp)?;
        }
        let (laptop, attacker) =
            (scenario.shop.lab.host("laptop")?, scenario.shop.lab.host("attacker")?);
        let servers: [IpAddr; 3] = [laptop.v4().into(), attacker.v4().into(), laptop.v6().into()];
        let answers = || -> Result<Vec<bool>> {
            let probe = |address| Probe {
                address,
                port: Port::Udp(123),
                timeout: Duration::from_millis(900),
                nonce: format!("time-{address}"),
            };
            let probes = servers.map(probe);
            let outcomes = probe::send(scenario.web()?, scenario.shop.lab.programs(), &probes)?;
            Ok(outcomes.into_iter().map(|outcome| outcome == ProbeResult::Passed).collect())
        };
        ensure!(answers()? == [false; 3], "no time server is configured");
        let conf = scenario.web()?.file("/etc/chrony.conf");
        let configure = |text: &str| std::fs::write(&conf, text);
        scenario.dns.answer(&[&format!("time.shop.test {}", attacker.v4())])?;
        configure(&format!("server {} iburst\npool time.shop.test\n", laptop.v4()))?;
        scenario.run_at(0)?;
        let reached = answers()?;
        ensure!(reached == [true, true, false], "{reached:?}");
        // What is no longer configured leaves in the same run.
        configure(&format!("server {}\n", laptop.v6()))?;
        scenario.run_at(1)?;
        let reached = answers()?;
        ensure!(reached == [false, false, true], "{reached:?}");
        Ok(())
    })
}
