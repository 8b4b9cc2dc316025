//! The packages' units under systemd: in their sandboxes, on machines.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xshield_lab::kernel::Kernel;
use xshield_lab::machine::Machine;
use xshield_lab::platform::Platform;
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::probe::{self, Port, Probe, ProbeResult};
use xshield_lab::service::Service;
use xshield_lab::{Host, Lab, Programs, spark, wait};

/// Far longer than any of it takes.
const SOON: Duration = Duration::from_secs(30);
const AGENT: &str = "ctagent.service";
const RESTORE: &str = "xshield-restore.service";
const SHOP_APP: Service = Service { process: "shop-app", tcp: &[8080], udp: &[] };
/// Only the app reaches the database, and only its backup reaches the app.
const POLICY: &str = "\
segment:
  name: db
  criteria: role = 'db'
  templates: [db-tier]
  inbound: { level: secure-inbound-paths, mode: enforce }
  outbound: { level: secure-intranet-paths, mode: enforce }
---
segment:
  name: app
  criteria: role = 'app'
---
template:
  name: db-tier
  action: allow
  inbound:
    - { name: from-app, from: [segment:app], services: [tcp], process: postgres }
  outbound:
    - { name: to-app, to: [segment:app], services: [tcp/8080], process: backup }
";

/// A platform, the machine's host `db`, and two others.
struct Scenario {
    lab: Lab,
    platform: Platform,
}

impl Scenario {
    fn set() -> Result<Self> {
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        for (name, number) in [("app", 12), ("db", 13), ("laptop", 20)] {
            lab.add_host(name, number)?;
        }
        lab.serve("app", &SHOP_APP)?;
        let platform = Platform::start(&mut lab, "a password for tests alone", &[])?;
        Ok(Self { lab, platform })
    }

    fn db(&self) -> Result<&Host> {
        self.lab.host("db")
    }

    /// The app is an asset, so that rules can name it.
    fn register_app(&self, configuration: &str) -> Result<()> {
        let app = self.lab.host("app")?;
        spark::configure(app, configuration)?;
        spark::run(&self.lab, app)?;
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        for role in ["app", "db"] {
            self.platform.cli(&self.lab, &["asset", "tag", role, &format!("role={role}")])?;
        }
        let directory = self.lab.directory().join("policy");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("policy.yaml"), POLICY)?;
        self.platform.apply(&self.lab, &directory)
    }

    /// The result of a connection to the database.
    fn reach_database(&self, from: &str) -> Result<ProbeResult> {
        let probe = Probe {
            address: self.db()?.v4().into(),
            port: Port::Tcp(5432),
            timeout: Duration::from_millis(700),
            nonce: format!("from-{from}"),
        };
        let outcomes = probe::send(self.lab.host(from)?, self.lab.programs(), &[probe])?;
        outcomes.first().copied().context("the prober told nothing")
    }

    /// Whether the app has received `word`.
    fn app_heard(&self, word: &str) -> Result<bool> {
        let seen = self.lab.host("app")?.dir().join(xshield_lab::service::SEEN);
        Ok(fs::read_to_string(seen).unwrap_or_default().lines().any(|line| line == word))
    }

    fn tables(&self) -> Result<Vec<String>> {
        Ok(Kernel::read(self.db()?)?.tables())
    }
}

/// The path of a package among those built from the test binaries.
fn package(file: &str) -> Result<PathBuf> {
    let programs = Programs::of_this_build()?;
    let directory = programs.lab().parent().context("the lab is in a directory")?.join("packages");
    let package = directory.join(file);
    ensure!(package.exists(), "{} is missing; run: cargo xtask dist --debug", package.display());
    Ok(package)
}

fn install(machine: &Machine<'_>, name: &str) -> Result<()> {
    dpkg(machine, &format!("{name}_{}_amd64.deb", env!("CARGO_PKG_VERSION")))
}

fn upgrade(machine: &Machine<'_>, name: &str) -> Result<()> {
    dpkg(machine, &format!("next/{name}_{}+1_amd64.deb", env!("CARGO_PKG_VERSION")))
}

fn dpkg(machine: &Machine<'_>, file: &str) -> Result<()> {
    let file = machine.bring(&package(file)?)?;
    machine.run("dpkg", ["-i", &file]).map(drop)
}

/// The agent's status; null while it can't be queried.
fn status(machine: &Machine<'_>) -> Result<Value> {
    let output = machine.command("ctagentcmd")?.args(["status", "--json"]).output()?;
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

/// Waits for a cycle that reached the platform without a problem.
fn agent_is_well(machine: &Machine<'_>) -> Result<()> {
    let last = agent_enforces(machine)?;
    ensure!(last["problems"] == Value::Array(Vec::new()), "{}", last["problems"]);
    Ok(())
}

/// Waits for a cycle that reached the platform; returns its outcome.
fn agent_enforces(machine: &Machine<'_>) -> Result<Value> {
    let mut last = Value::Null;
    let enforced = wait::until("the agent enforces", SOON, || {
        last = status(machine)?["last_cycle"]["outcome"].clone();
        let enforcing = last["status"] == "enforcing" && last["platform"] == "reached";
        Ok(enforcing.then_some(()))
    });
    enforced.with_context(|| format!("{last}\n{}", machine.journal(AGENT).unwrap_or_default()))?;
    Ok(last)
}

fn main_process(machine: &Machine<'_>, unit: &str) -> Result<String> {
    machine.property(unit, "MainPID")
}

/// Whether a program on the machine that no rule names reaches the app.
fn attacker_reaches_app(machine: &Machine<'_>, app: &Host) -> Result<bool> {
    let connect = format!("exec 3<>/dev/tcp/{}/8080", app.v4());
    let status = machine.command("timeout")?.args(["1", "bash", "-c", &connect]).output()?.status;
    Ok(status.success())
}

/// A database of another user, and a backup in its own unit: their owners are visible in /proc.
fn start_programs(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    let lab = machine.bring(&scenario.lab.programs().lab())?;
    machine.run("cp", [lab.as_str(), "/usr/local/bin/postgres"])?;
    machine.run(
        "systemd-run",
        ["-q", "--unit=postgres", "--uid=nobody", "/usr/local/bin/postgres", "service"]
            .into_iter()
            .chain(["--process", "postgres", "--tcp", "5432", "--seen", "/tmp/seen"]),
    )?;
    wait::until("the database listens", SOON, || {
        Ok((scenario.reach_database("laptop")? == ProbeResult::Passed).then_some(()))
    })?;
    machine.run("cp", ["/bin/bash", "/usr/local/bin/backup"])?;
    machine.run("mkfifo", ["/tmp/never"])?;
    let address = scenario.lab.host("app")?.v4();
    let script = format!(
        "exec 4<>/tmp/never; while :; do read -t 0.2 -u 4; \
         {{ exec 3<>/dev/tcp/{address}/8080; }} 2>/dev/null && echo backup >&3; exec 3>&-; done"
    );
    machine.run("systemd-run", ["-q", "--unit=backup", "/usr/local/bin/backup", "-c", &script])?;
    wait::until("the backup reaches the app", SOON, || {
        Ok(scenario.app_heard("backup")?.then_some(()))
    })
}

fn register(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    install(machine, "xshield-agent")?;
    let configuration = scenario.platform.host_configuration(&scenario.lab)?;
    scenario.register_app(&configuration)?;
    let onboarding = "/etc/xshield/onboarding.yaml";
    let text = format!("{configuration}\nheartbeat-seconds: 5\ntelemetry-seconds: 10\n");
    fs::write(machine.file(onboarding)?, text)?;
    machine.run("ctagent", ["register", "--onboarding", onboarding])?;
    wait::until("the agent has registered", SOON, || {
        let reached = status(machine)?["last_cycle"]["outcome"]["platform"] == "reached";
        Ok(reached.then_some(()))
    })
}

/// Sockets and processes of other users are attributed from within the sandbox.
fn enforces_by_process(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    start_programs(machine, scenario)?;
    let app = scenario.lab.host("app")?;
    ensure!(attacker_reaches_app(machine, app)?, "open before the policy");
    scenario.commit()?;
    agent_is_well(machine)?;
    ensure!(scenario.tables()? == ["inet xshield"], "{:?}", scenario.tables()?);
    wait::until("the app reaches the database", SOON, || {
        Ok((scenario.reach_database("app")? == ProbeResult::Passed).then_some(()))
    })?;
    denials_are_told_as_they_happen(machine, scenario)?;
    ensure!(!attacker_reaches_app(machine, app)?, "only the backup may");
    fs::write(app.dir().join(xshield_lab::service::SEEN), "")?;
    wait::until("the backup still reaches the app", SOON, || {
        Ok(scenario.app_heard("backup")?.then_some(()))
    })?;
    let asked = ["paths", "--asset", "db"];
    let mut paths = String::new();
    let told = wait::until("paths are told with program, user and unit", SOON, || {
        paths = scenario.platform.cli(&scenario.lab, &asked)?;
        let attributed = |line: &str, parts: [&str; 3]| parts.iter().all(|p| line.contains(p));
        let database = ["postgres", "nobody", "postgres.service"];
        let backup = ["backup", "root", "backup.service"];
        let found = |parts| paths.lines().any(|line| attributed(line, parts));
        Ok((found(database) && found(backup)).then_some(()))
    });
    told.with_context(|| paths)
}

/// The sandbox allows the agent to receive from its log group.
fn denials_are_told_as_they_happen(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    wait::until("the agent listens to its log group", SOON, || {
        let listening = status(machine)?["live"]["standing"]["state"] == "listening";
        Ok(listening.then_some(()))
    })?;
    wait::until("a denial is told as it happens", SOON, || {
        ensure!(scenario.reach_database("laptop")? == ProbeResult::Dropped);
        let told =
            scenario.platform.cli(&scenario.lab, &["live", "--once", "--json", "--asset", "db"])?;
        let events: Vec<Value> =
            told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let seen = |event: &Value| event["port"] == 5432 && event["from"] == "live";
        Ok(events.iter().any(seen).then_some(()))
    })
}

fn ends_and_comes_back(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    let first = main_process(machine, AGENT)?;
    machine.run("ctagent", ["updateProxy", "--proxy=http://10.77.0.99:3128"])?;
    ensure!(main_process(machine, AGENT)? != first, "updateProxy restarts the service");
    machine.run("ctagent", ["updateProxy", "--proxy="])?;
    agent_is_well(machine)?;

    machine.run("ctagent", ["stop"])?;
    ensure!(machine.property(AGENT, "ActiveState")? == "inactive");
    ensure!(scenario.tables()? == ["inet xshield"], "stopping opened the host");
    machine.run("ctagent", ["start"])?;
    agent_is_well(machine)?;

    let older = main_process(machine, AGENT)?;
    upgrade(machine, "xshield-agent")?;
    comes_back(machine, &older)?;

    let killed = main_process(machine, AGENT)?;
    machine.run("kill", ["-KILL", &killed])?;
    comes_back(machine, &killed)?;
    let journal = machine.journal(AGENT)?;
    ensure!(journal.contains("ctagent stops; the policy stays in force"), "{journal}");

    change_unit(machine, "WatchdogSec=3")?;
    machine.run("systemctl", ["restart", AGENT])?;
    agent_is_well(machine)?;
    let stuck = main_process(machine, AGENT)?;
    machine.run("kill", ["-STOP", &stuck])?;
    comes_back(machine, &stuck)?;
    change_unit(machine, "")?;
    machine.run("systemctl", ["restart", AGENT]).map(drop)
}

/// Changes one line of the packaged unit.
fn change_unit(machine: &Machine<'_>, line: &str) -> Result<()> {
    let drop_in = "/etc/systemd/system/ctagent.service.d";
    machine.run("mkdir", ["-p", drop_in])?;
    let file = machine.file(&format!("{drop_in}/test.conf"))?;
    fs::write(file, format!("[Service]\n{line}\n"))?;
    machine.run("systemctl", ["daemon-reload"]).map(drop)
}

fn comes_back(machine: &Machine<'_>, gone: &str) -> Result<()> {
    wait::until("systemd starts the agent again", SOON, || {
        let now = main_process(machine, AGENT)?;
        Ok((now != "0" && now != gone).then_some(()))
    })?;
    agent_is_well(machine)
}

/// After a boot the policy is in force before the network is up, and before the platform is contacted.
fn boots_closed(machine: &mut Machine<'_>, scenario: &Scenario) -> Result<()> {
    // The kernel itself has not booted, and inside the sandbox its boot id is read.
    change_unit(machine, "BindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id")?;
    boot_empty(machine, scenario.db()?)?;
    comes_before_the_network(machine, AGENT)?;
    let journal = machine.journal(AGENT)?;
    ensure!(journal.contains("revision 1 is in force again"), "{journal}");
    agent_enforces(machine)?;
    change_unit(machine, "")
}

fn leaves_nothing(machine: &Machine<'_>, scenario: &Scenario) -> Result<()> {
    machine.run("ctagent", ["remove", "--clean"])?;
    ensure!(scenario.tables()?.is_empty(), "{:?}", scenario.tables()?);
    ensure!(machine.property(AGENT, "ActiveState")? == "inactive");
    ensure!(machine.property(AGENT, "UnitFileState")? == "disabled");
    for path in ["/var/lib/xshield", "/run/xshield", "/etc/xshield/config.yaml"] {
        ensure!(!machine.file(path)?.exists(), "{path} is still there");
    }
    machine.run("dpkg", ["-P", "xshield-agent"])?;
    ensure!(machine.property(AGENT, "LoadState")? == "not-found");
    nothing_failed(machine)
}

fn nothing_failed(machine: &Machine<'_>) -> Result<()> {
    let failed = machine.run("systemctl", ["--failed", "--plain", "--no-legend"])?;
    ensure!(failed.is_empty(), "{failed}");
    Ok(())
}

#[test]
fn systemd_runs_the_agent_in_its_sandbox() -> Result<()> {
    in_lab("systemd_runs_the_agent_in_its_sandbox", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: systemd needs a real root");
            return Ok(());
        }
        let scenario = Scenario::set()?;
        let mut machine = Machine::boot(scenario.lab.programs(), scenario.db()?)?;
        register(&machine, &scenario)?;
        enforces_by_process(&machine, &scenario)?;
        ends_and_comes_back(&machine, &scenario)?;
        boots_closed(&mut machine, &scenario)?;
        leaves_nothing(&machine, &scenario)
    })
}

/// Platform and Spark from packages on one machine, which is the platform's own host.
fn own_platform(machine: &Machine<'_>, address: &str) -> Result<String> {
    install(machine, "xshield-platform")?;
    let password = "a password for tests alone";
    let url = format!("https://{address}:8443");
    let settings = format!("XSHIELD_PUBLIC_URLS={url}\nXSHIELD_ADMIN_PASSWORD=\"{password}\"\n");
    fs::write(machine.file("/etc/xshield/platform.env")?, settings)?;
    fs::write(machine.file("/run/password")?, password)?;
    machine.run("systemctl", ["enable", "--now", "xshield.service"])?;
    let ca = "/var/lib/xshield-platform/ca.pem";
    let arguments =
        ["login", &url, "--user", "admin", "--password-file", "/run/password", "--ca", ca];
    wait::until("the platform answers", SOON, || {
        let mut login = machine.command("xshield")?;
        let output = login.env("HOME", "/root").args(arguments).output()?;
        Ok(output.status.success().then_some(()))
    })
    .with_context(|| machine.journal("xshield.service").unwrap_or_default())?;
    cli(machine, &["key", "create", "--name", "own", "--host-config", "/root/host.yaml"])?;
    Ok(fs::read_to_string(machine.file("/root/host.yaml")?)?)
}

fn cli(machine: &Machine<'_>, arguments: &[&str]) -> Result<String> {
    let home = ["HOME=/root", "xshield"];
    machine.run("env", home.iter().chain(arguments))
}

/// Runs Spark's unit, as its timer does.
fn spark_runs(machine: &Machine<'_>) -> Result<()> {
    let ended = machine.run("systemctl", ["start", "ctspark.service"]);
    ended.with_context(|| machine.journal("ctspark.service").unwrap_or_default())?;
    ensure!(machine.property("ctspark.service", "Result")? == "success");
    Ok(())
}

/// Registers, receives a policy, and enforces it: each run is by the unit.
fn spark_enforces(machine: &Machine<'_>, host: &Host, configuration: &str) -> Result<()> {
    install(machine, "xshield-spark")?;
    let file = machine.file(spark::CONFIG)?;
    fs::write(&file, configuration)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    spark_runs(machine)?;
    cli(machine, &["asset", "tag", "db", "role=db"])?;
    fs::write(machine.file("/root/policy.yaml")?, POLICY)?;
    cli(machine, &["policy", "apply", "-f", "/root/policy.yaml"])?;
    cli(machine, &["policy", "synchronize", "--yes"])?;
    wait::until("Spark enforces", SOON, || {
        spark_runs(machine)?;
        Ok((Kernel::read(host)?.tables() == ["inet xshield"]).then_some(()))
    })?;
    wants_for_nothing(machine)
}

/// Whether Spark's unit works in its sandbox: no problem is caused by it, programs of other users are found
/// by their sockets, and its boot unit is written.
fn wants_for_nothing(machine: &Machine<'_>) -> Result<()> {
    ensure!(machine.property("ctspark.service", "ProtectSystem")? == "strict");
    let shown: Value = serde_json::from_str(&cli(machine, &["asset", "show", "db", "--json"])?)?;
    let problems = &shown["spark"]["problems"];
    // Problems of the machine's kernel, which may have no modules, and of the policy.
    let others = ["nftables-module", "rule-unenforceable", "rule-opens-nothing"];
    let code =
        |problem: &Value| problem["code"].as_str().is_some_and(|code| others.contains(&code));
    ensure!(problems.as_array().is_some_and(|all| all.iter().all(code)), "{problems:#}");
    let listening = cli(machine, &["ports", "db", "--json"])?;
    ensure!(listening.contains("/usr/bin/xshield"), "{listening}");
    ensure!(machine.property(RESTORE, "UnitFileState")? == "enabled");
    Ok(())
}

/// Boots with an empty kernel. The early units are done when this returns.
fn boot_empty(machine: &mut Machine<'_>, host: &Host) -> Result<()> {
    machine.shut_down()?;
    host.run("nft", ["flush", "ruleset"])?;
    machine.start()?;
    let tables = Kernel::read(host)?.tables();
    ensure!(tables.contains(&"inet xshield".to_owned()), "{tables:?}");
    Ok(())
}

/// Whether a unit was done before the network came up.
fn comes_before_the_network(machine: &Machine<'_>, unit: &str) -> Result<()> {
    let done = |unit: &str| -> Result<u64> {
        Ok(machine.property(unit, "ActiveEnterTimestampMonotonic")?.parse()?)
    };
    let (unit_done, network) = (done(unit)?, done("network-pre.target")?);
    ensure!(0 < unit_done && unit_done <= network, "{unit} {unit_done} µs, network {network} µs");
    Ok(())
}

#[test]
fn systemd_runs_platform_and_spark_and_then_an_agent() -> Result<()> {
    in_lab("systemd_runs_platform_and_spark_and_then_an_agent", || {
        if !is_real_root()? {
            eprintln!("SKIPPED: systemd needs a real root");
            return Ok(());
        }
        let mut lab = Lab::start(&Programs::of_this_build()?)?;
        lab.add_host("db", 13)?;
        let host = lab.host("db")?;
        let mut machine = Machine::boot(lab.programs(), host)?;
        let configuration = own_platform(&machine, "10.77.0.13")?;
        spark_enforces(&machine, host, &configuration)?;

        // It has enabled nftables.service, which flushes the kernel first, and its own boot unit.
        boot_empty(&mut machine, host)?;
        comes_before_the_network(&machine, RESTORE)?;
        ensure!(machine.property("nftables.service", "ActiveState")? == "active");
        ensure!(machine.property("xshield.service", "ActiveState")? == "active");

        machine.run("systemctl", ["enable", "--now", "ctspark.timer"])?;
        install(&machine, "xshield-agent")?;
        machine.run("ctagent", ["register", "--onboarding", "/root/host.yaml"])?;
        agent_enforces(&machine)?;
        boot_empty(&mut machine, host)?;
        comes_before_the_network(&machine, AGENT)?;
        agent_enforces(&machine)?;
        for (unit, state) in [(AGENT, "active"), ("ctspark.timer", "inactive")] {
            ensure!(machine.property(unit, "ActiveState")? == state, "{unit}");
        }
        machine.run("dpkg", ["-r", "xshield-agent"])?;
        let tables = Kernel::read(host)?.tables();
        ensure!(!tables.contains(&"inet xshield".to_owned()), "{tables:?}");
        ensure!(machine.property(RESTORE, "UnitFileState")?.is_empty(), "its unit went with it");
        nothing_failed(&machine)
    })
}
