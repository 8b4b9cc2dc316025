//! The real Docker engine on a host with a policy: a published port, outbound connections of containers, and
//! rules of the engine that stay unchanged.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::docker::{self, Docker};
use xshield_lab::host::Host;
use xshield_lab::platform::Platform;
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::service::Service;
use xshield_lab::spark::SparkRun;
use xshield_lab::{Lab, Programs, spark, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// How long a probe waits for an answer that does not come.
const TIMEOUT: &str = "2";
const PUBLISHED: u16 = 18080;
const FAR: Service = Service { process: "far", tcp: &[7777], udp: &[] };

/// The host `docker` with the engine, two others, and a platform.
struct Fixture {
    lab: Lab,
    platform: Platform,
}

impl Fixture {
    fn set() -> Result<Self> {
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        for (name, number) in [("docker", 20), ("outside", 30), ("other", 31)] {
            lab.add_host(name, number)?;
        }
        lab.serve("outside", &FAR)?;
        let platform = Platform::start(&mut lab, "a password for tests alone", &[])?;
        spark::configure(lab.host("docker")?, &platform.host_configuration(&lab)?)?;
        let fixture = Self { lab, platform };
        let run = fixture.run()?;
        ensure!(run.status() == "no-policy", "{run:?}");
        Ok(fixture)
    }

    fn host(&self) -> Result<&Host> {
        self.lab.host("docker")
    }

    fn run(&self) -> Result<SparkRun> {
        spark::run(&self.lab, self.host()?)
    }

    /// Everything not allowed by these rules is denied and enforced; `forwarded` is the line of that setting.
    fn enforce(&self, forwarded: &str, ports: &str, outbound: &str) -> Result<SparkRun> {
        let directory = self.lab.directory().join("policy");
        fs::create_dir_all(&directory)?;
        let text = format!(
            "segment:
  name: all
  criteria: asset.name = 'docker'
  templates: [open]
  inbound: {{ level: secure-all-ports, mode: enforce }}
  outbound: {{ level: secure-intranet-paths, mode: enforce }}
  {forwarded}
---
template:
  name: open
  action: allow
  ports:
    - {{ name: nothing, from: [192.0.2.1], services: [tcp/9] }}
    {ports}
  outbound:
    - {{ name: nobody, to: [192.0.2.1], services: [tcp/9] }}
    {outbound}
"
        );
        fs::write(directory.join("policy.yaml"), text)?;
        self.platform.apply(&self.lab, &directory)?;
        let policy = self.platform.json(&self.lab, &["asset", "show", "docker"])?;
        let wanted = policy["wanted"]["revision"].as_u64();
        wait::until("the committed policy is enforced", LIMIT, || {
            let run = self.run()?;
            ensure!(run.exit.success(), "{run:?}");
            let newest = wanted.is_none_or(|wanted| run.revision() >= Some(wanted));
            let unchanged = run.json["change"] != "applied";
            Ok(Some(run).filter(|run| newest && unchanged && run.status() == "enforcing"))
        })
    }

    /// Whether a host reaches TCP port 18080 of the engine's host.
    fn reaches(&self, from: &str, to: IpAddr) -> Result<bool> {
        self.connects(from, SocketAddr::new(to, PUBLISHED))
    }

    fn connects(&self, from: &str, to: SocketAddr) -> Result<bool> {
        let script = format!("exec 3<>/dev/tcp/{}/{} && head -c 5 <&3", to.ip(), to.port());
        let mut command = self.lab.host(from)?.command("timeout");
        let output = command.args([TIMEOUT, "bash", "-c", &script]).output()?;
        Ok(output.stdout == b"hello")
    }

    /// Flows of one kind to a port from an address.
    fn events(&self, kind: &str, port: u16, source: &str) -> Result<Vec<Value>> {
        let port = port.to_string();
        let list = ["events", "--asset", "docker", "--kind", kind, "--port", &port];
        let events = self.platform.json(&self.lab, &list)?;
        let items = events["items"].as_array().or(events.as_array()).context("a list of events")?;
        Ok(items.iter().filter(|event| event["source"] == source).cloned().collect())
    }

    fn explain(&self, packet: &str) -> Result<String> {
        self.host()?.run(self.lab.programs().spark()?, ["explain", packet])
    }

    /// The rules of all other programs, without counters.
    fn rules_of_others(&self) -> Result<String> {
        let mut text = String::new();
        for table in self.host()?.run("nft", ["list", "tables"])?.lines() {
            let words: Vec<&str> = table.split_whitespace().collect();
            if words.last().is_some_and(|name| !name.starts_with("xshield")) {
                text += &self.host()?.run("nft", [&["-s", "list"], &words[..]].concat())?;
            }
        }
        ensure!(text.contains("18080") && text.contains("dnat to"), "{text}");
        Ok(text)
    }
}

fn problem<'r>(run: &'r SparkRun, code: &str) -> Option<&'r str> {
    let problems = run.json["problems"].as_array()?;
    problems.iter().find(|problem| problem["code"] == code)?["text"].as_str()
}

#[test]
fn published_ports_and_containers_obey_the_policy() -> Result<()> {
    in_lab("published_ports_and_containers_obey_the_policy", || {
        if !is_real_root()? || !docker::is_installed() {
            eprintln!(
                "SKIPPED: needs root and the Docker engine; run: apt-get install -y docker.io"
            );
            return Ok(());
        }
        let fixture = Fixture::set()?;
        let docker = Docker::start(fixture.host()?)?;
        docker.serve("web", &["--publish", &format!("{PUBLISHED}:80")])?;
        let (v4, v6) = (IpAddr::from(fixture.host()?.v4()), IpAddr::from(fixture.host()?.v6()));
        let outside = fixture.lab.host("outside")?.v4().to_string();
        let source = docker.run(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"])?;
        let says = format!(
            "echo hello | busybox timeout {TIMEOUT} busybox nc -w {TIMEOUT} {outside} 7777 | \
             busybox grep -q hello"
        );
        let out_of = |container: &str| docker.succeeds(container, &["sh", "-c", &says]);
        let goes_out = || out_of("web");
        let from_both = || -> Result<(bool, bool)> {
            Ok((fixture.reaches("outside", v4)?, fixture.reaches("other", v4)?))
        };
        // The engine accepts IPv6 with its proxy, a program on the host.
        ensure!(from_both()? == (true, true), "without a policy");
        ensure!(fixture.reaches("outside", v6)?, "without a policy, by IPv6");
        ensure!(goes_out()?, "without a policy, outwards");
        let before = fixture.rules_of_others()?;

        // Not configured: left alone, and reported.
        let run = fixture.enforce("", "", "")?;
        ensure!(from_both()? == (true, true) && goes_out()?, "left alone");
        ensure!(
            !fixture.reaches("outside", v6)?,
            "what the engine's proxy accepts is the host's own"
        );
        let told = problem(&run, "forwarding-left-alone").context("nobody was told")?;
        for wanted in ["IPv4", "docker0", "tcp/18080", "forwarded: published-ports"] {
            ensure!(told.contains(wanted), "{told}");
        }
        let asked = format!("in tcp {outside}:40000 -> :{PUBLISHED}");
        let explained = fixture.explain(&asked)?;
        for wanted in [
            "allowed by default/left-alone",
            "table ip nat, chain DOCKER translates this port",
            "denied by default/closed",
        ] {
            ensure!(explained.contains(wanted), "{explained}");
        }
        let explained = fixture.explain(&format!("out tcp :40000 -> {outside}:{PUBLISHED}"))?;
        let wanted = "table ip nat, chain DOCKER may translate the destination of this packet";
        ensure!(explained.contains(wanted), "{explained}");
        // Configured explicitly: no problem any more.
        let run = fixture.enforce("forwarded: leave-alone", "", "")?;
        ensure!(from_both()? == (true, true) && problem(&run, "forwarding-left-alone").is_none());

        // Only published ports.
        fixture.enforce("forwarded: published-ports", "", "")?;
        ensure!(from_both()? == (false, false), "closed");
        ensure!(goes_out()?, "what containers open is left alone");
        let run = fixture.run()?;
        ensure!(problem(&run, "forwarding-left-alone").is_none(), "{run:?}");
        let denied = fixture.events("denied", PUBLISHED, &outside)?;
        let wanted = v4.to_string();
        ensure!(
            denied.iter().any(|event| event["destination"] == wanted.as_str()
                && event["direction"] == "inbound"
                && event["packets"].as_u64() > Some(0)),
            "{denied:?}"
        );
        let explained = fixture.explain(&asked)?;
        ensure!(explained.contains("denied by default/closed"), "{explained}");
        ensure!(explained.contains("forwarded, not received"), "{explained}");

        let web = format!("- {{ name: web, from: [{outside}], services: [tcp/{PUBLISHED}] }}");
        fixture.enforce("forwarded: published-ports", &web, "")?;
        ensure!(from_both()? == (true, false), "allowed for one");
        let explained = fixture.explain(&asked)?;
        ensure!(explained.contains("allowed by open/web"), "{explained}");

        // Everything.
        fixture.enforce("forwarded: everything", &web, "")?;
        ensure!(from_both()? == (true, false), "allowed for one");
        ensure!(!goes_out()?, "containers obey the closed outbound");
        fixture.run()?;
        let denied = fixture.events("denied", 7777, &source)?;
        ensure!(
            denied.iter().any(|event| event["destination"] == outside.as_str()
                && event["direction"] == "outbound"),
            "{denied:?}"
        );
        let far = format!("- {{ name: far, to: [{outside}], services: [tcp/7777] }}");
        fixture.enforce("forwarded: everything", &web, &far)?;
        ensure!(goes_out()?, "allowed");

        // A network created in the meantime counts as inside from the next run on.
        docker.run(&["network", "create", "more"])?;
        docker.serve("worker", &["--network", "more"])?;
        fixture.run()?;
        ensure!(out_of("worker")?, "allowed from the new network, too");
        docker.run(&["rm", "--force", "worker"])?;
        docker.run(&["network", "rm", "more"])?;

        ensure!(fixture.rules_of_others()? == before, "the engine's rules are as they were");
        fixture
            .host()?
            .run(fixture.lab.programs().spark()?, ["remove", "--config", spark::CONFIG])?;
        ensure!(fixture.rules_of_others()? == before, "also after removal");
        ensure!(from_both()? == (true, true) && fixture.reaches("outside", v6)?, "removed");
        Ok(())
    })
}
