//! Installation, upgrade and removal of the packages, by dpkg and by rpm, on a lab host with its own `/usr`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xshield_lab::agent;
use xshield_lab::host::Host;
use xshield_lab::kernel::Kernel;
use xshield_lab::privilege::{in_lab, is_real_root};
use xshield_lab::shop::Shop;
use xshield_lab::spark;
use xshield_lab::{Running, wait};

/// The package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Dpkg,
    Rpm,
}

/// The version of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    This,
    Next,
}

/// A host with its own package databases.
struct Machine<'a> {
    host: &'a Host,
    manager: Manager,
    packages: PathBuf,
}

/// Otherwise Debian's rpm keeps its database in the user's home, which is the machine's.
const RPM: &[&str] = &["HOME=/var/tmp", "rpm"];
const SOON: Duration = Duration::from_secs(90);
const SYSTEMCTL: &str = "/var/tmp/systemctl.log";

impl<'a> Machine<'a> {
    /// What is installed from now on stays on this host; it looks as if it ran systemd, but systemctl only
    /// records its arguments.
    fn new(shop: &'a Shop, name: &str, manager: Manager) -> Result<Self> {
        let host = shop.lab.host(name)?;
        let layers = format!("{}/layers/usr", host.dir().display());
        for directory in ["upper", "work"] {
            host.run("mkdir", ["-p", &format!("{layers}/{directory}")])?;
        }
        let options = format!("lowerdir=/usr,upperdir={layers}/upper,workdir={layers}/work");
        host.run("mount", ["-t", "overlay", "overlay", "-o", &options, "/usr"])?;
        host.run("mkdir", ["-p", "/run/systemd/system", "/var/lib/rpm"])?;
        let stand_in = host.file("/usr/bin/systemctl");
        let _replaced = fs::remove_file(&stand_in);
        fs::write(&stand_in, format!("#!/bin/sh\necho \"$@\" >> {SYSTEMCTL}\n"))?;
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755))?;
        let lab = shop.lab.programs().lab();
        let built = lab.parent().context("the lab's program has a directory")?;
        Ok(Self { host, manager, packages: built.join("packages") })
    }

    fn file(&self, name: &str, release: Release) -> Result<PathBuf> {
        let directory = match release {
            Release::This => self.packages.clone(),
            Release::Next => self.packages.join("next"),
        };
        let (begin, end) = match self.manager {
            Manager::Dpkg => (format!("{name}_"), ".deb"),
            Manager::Rpm => (format!("{name}-"), ".rpm"),
        };
        let entries = fs::read_dir(&directory).with_context(|| {
            format!("no packages in {}; run: cargo xtask dist --debug", directory.display())
        })?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let found = names.into_iter().find(|name| name.starts_with(&begin) && name.ends_with(end));
        match found {
            Some(found) => Ok(directory.join(found)),
            None => bail!("no {begin}*{end} in {}", directory.display()),
        }
    }

    fn install(&self, name: &str, release: Release) -> Result<()> {
        let file = self.file(name, release)?;
        let file = file.as_os_str();
        match self.manager {
            Manager::Dpkg => self.host.run("dpkg", ["-i".as_ref(), file])?,
            // Debian's packages are not in rpm's database.
            Manager::Rpm => {
                let upgrade = RPM.iter().chain(&["-U", "--nodeps"]).map(AsRef::as_ref);
                self.host.run("env", upgrade.chain([file]))?
            }
        };
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.manager {
            Manager::Dpkg => self.host.run("dpkg", ["-r", name])?,
            Manager::Rpm => self.host.run("env", RPM.iter().chain(&["-e", name]))?,
        };
        Ok(())
    }

    fn version(&self, name: &str) -> Result<String> {
        match self.manager {
            Manager::Dpkg => self.host.run("dpkg-query", ["-W", "-f", "${Version}", name]),
            Manager::Rpm => {
                self.host.run("env", RPM.iter().chain(&["-q", "--qf", "%{VERSION}", name]))
            }
        }
    }

    fn has(&self, path: &str) -> bool {
        self.host.file(path).exists()
    }

    /// The commands to systemctl since the last call.
    fn told(&self) -> Result<Vec<String>> {
        let log = self.host.file(SYSTEMCTL);
        let text = fs::read_to_string(&log).unwrap_or_default();
        fs::write(&log, "")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Starts the installed agent like its unit.
    fn start_agent(&self) -> Result<Running> {
        let mut command = self.host.command("/usr/sbin/ctagent");
        command.arg("run");
        self.host.spawn("ctagent", command)
    }

    /// The outcome of the installed agent's last cycle; null while it can't be queried.
    fn last_outcome(&self) -> Result<Value> {
        match self.host.run("/usr/sbin/ctagentcmd", ["status", "--json"]) {
            Ok(text) => {
                let status: Value = serde_json::from_str(&text)?;
                Ok(status["last_cycle"]["outcome"].clone())
            }
            Err(_) => Ok(Value::Null),
        }
    }

    /// Waits until the installed agent has read a policy back from the kernel.
    fn enforces(&self) -> Result<()> {
        wait::until("the agent enforces", SOON, || {
            Ok((self.last_outcome()?["status"] == "enforcing").then_some(()))
        })?;
        let tables = self.tables()?;
        ensure!(tables == ["inet of-others", "inet xshield"], "{tables:?}");
        Ok(())
    }

    fn tables(&self) -> Result<Vec<String>> {
        Ok(Kernel::read(self.host)?.tables())
    }
}

fn spark_comes_and_goes(manager: Manager) -> Result<()> {
    if !is_real_root()? {
        eprintln!("SKIPPED: package managers need a real root");
        return Ok(());
    }
    let shop = Shop::start()?;
    let machine = Machine::new(&shop, "web", manager)?;
    let name = "xshield-spark";
    machine.install(name, Release::This)?;
    ensure!(machine.told()? == ["daemon-reload"], "nothing is started by itself");
    ensure!(machine.version(name)? == env!("CARGO_PKG_VERSION"));
    for path in ["/usr/lib/systemd/system/ctspark.timer", "/usr/share/man/man1/ctspark.1.gz"] {
        ensure!(machine.has(path), "{path} is missing");
    }

    let configuration = shop.platform.host_configuration(&shop.lab)?;
    spark::configure(machine.host, &configuration)?;
    shop.register()?;
    shop.commit()?;
    shop.enforce()?;
    machine.host.run("/usr/sbin/ctspark", ["run"])?;
    ensure!(machine.tables()? == ["inet xshield"], "{:?}", machine.tables()?);
    let edited = format!("# by hand\n{}", fs::read_to_string(machine.host.file(spark::CONFIG))?);
    fs::write(machine.host.file(spark::CONFIG), &edited)?;

    machine.install(name, Release::Next)?;
    ensure!(machine.version(name)? == concat!(env!("CARGO_PKG_VERSION"), "+1"));
    ensure!(fs::read_to_string(machine.host.file(spark::CONFIG))? == edited);
    ensure!(machine.tables()? == ["inet xshield"], "an upgrade opened the host");
    let told = machine.told()?;
    ensure!(told.iter().all(|line| line == "daemon-reload"), "{told:?}");
    machine.host.run("/usr/sbin/ctspark", ["run"])?;

    machine.remove(name)?;
    let told = machine.told()?;
    ensure!(told.contains(&"disable --now ctspark.timer".to_owned()), "{told:?}");
    ensure!(machine.tables()?.is_empty(), "{:?}", machine.tables()?);
    ensure!(!machine.has("/usr/sbin/ctspark") && !machine.has("/var/lib/xshield"));
    ensure!(
        fs::read_to_string(machine.host.file(spark::CONFIG))? == edited,
        "configuration is kept"
    );
    if manager == Manager::Dpkg {
        machine.host.run("dpkg", ["-P", name])?;
        ensure!(!machine.has(spark::CONFIG));
    }
    Ok(())
}

#[test]
fn dpkg_installs_upgrades_and_removes_spark() -> Result<()> {
    in_lab("dpkg_installs_upgrades_and_removes_spark", || spark_comes_and_goes(Manager::Dpkg))
}

#[test]
fn rpm_installs_upgrades_and_removes_spark() -> Result<()> {
    in_lab("rpm_installs_upgrades_and_removes_spark", || spark_comes_and_goes(Manager::Rpm))
}

fn agent_is_installed_and_removed(manager: Manager) -> Result<()> {
    if !is_real_root()? {
        eprintln!("SKIPPED: package managers need a real root");
        return Ok(());
    }
    let shop = Shop::start()?;
    let machine = Machine::new(&shop, "web", manager)?;
    let host = machine.host;
    host.run("nft", ["add table inet of-others"])?;
    let name = "xshield-agent";
    machine.install(name, Release::This)?;
    ensure!(machine.told()? == ["daemon-reload"], "nothing is started by itself");
    for path in [
        "/usr/lib/systemd/system/ctagent.service",
        "/usr/share/man/man8/ctagent.8.gz",
        "/usr/share/man/man8/ctagentcmd.8.gz",
        "/usr/share/bash-completion/completions/ctagentcmd",
    ] {
        ensure!(machine.has(path), "{path} is missing");
    }

    let onboarding = "/etc/xshield/onboarding.yaml";
    let configuration = shop.platform.host_configuration(&shop.lab)?;
    let text = format!("{configuration}\nnftables: leave\nboot-unit: leave\n");
    fs::write(host.file(onboarding), text)?;
    host.run("/usr/sbin/ctagent", ["register", "--onboarding", onboarding])?;
    fs::remove_file(host.file(onboarding))?;
    let told = machine.told()?;
    ensure!(told == ["enable ctagent.service", "restart ctagent.service"], "{told:?}");
    let started = machine.start_agent()?;
    wait::until("the agent has registered", SOON, || {
        let outcome = machine.last_outcome()?;
        Ok((outcome["platform"] == "reached").then_some(()))
    })?;
    let tags = &shop.example.hosts.iter().find(|one| one.name == "web").context("web")?.tags;
    shop.platform.tag(&shop.lab, "web", tags)?;
    shop.platform.apply(&shop.lab, &shop.example.directory)?;
    machine.enforces()?;
    let edited = format!("# by hand\n{}", fs::read_to_string(host.file(agent::CONFIG))?);
    fs::write(host.file(agent::CONFIG), &edited)?;

    machine.told()?;
    machine.install(name, Release::Next)?;
    ensure!(machine.version(name)? == concat!(env!("CARGO_PKG_VERSION"), "+1"));
    ensure!(fs::read_to_string(host.file(agent::CONFIG))? == edited);
    let told = machine.told()?;
    ensure!(told.contains(&"try-restart ctagent.service".to_owned()), "{told:?}");
    ensure!(machine.tables()?.contains(&"inet xshield".to_owned()), "an upgrade opened the host");
    ensure!(started.stop()?.success());
    ensure!(machine.tables()?.contains(&"inet xshield".to_owned()), "a restart opened the host");
    let restarted = machine.start_agent()?;
    machine.enforces()?;

    // As `systemctl disable --now` does under systemd.
    ensure!(restarted.stop()?.success());
    machine.remove(name)?;
    let told = machine.told()?;
    ensure!(told.contains(&"disable --now ctagent.service".to_owned()), "{told:?}");
    ensure!(machine.tables()? == ["inet of-others"], "{:?}", machine.tables()?);
    for path in ["/usr/sbin/ctagent", "/usr/sbin/ctagentcmd", "/var/lib/xshield"] {
        ensure!(!machine.has(path), "{path} is still there");
    }
    ensure!(fs::read_to_string(host.file(agent::CONFIG))? == edited, "configuration is kept");
    if manager == Manager::Dpkg {
        machine.host.run("dpkg", ["-P", name])?;
        ensure!(!machine.has("/etc/xshield"), "something is left in /etc/xshield");
    }
    Ok(())
}

#[test]
fn dpkg_installs_upgrades_and_removes_the_agent() -> Result<()> {
    in_lab("dpkg_installs_upgrades_and_removes_the_agent", || {
        agent_is_installed_and_removed(Manager::Dpkg)
    })
}

#[test]
fn rpm_installs_upgrades_and_removes_the_agent() -> Result<()> {
    in_lab("rpm_installs_upgrades_and_removes_the_agent", || {
        agent_is_installed_and_removed(Manager::Rpm)
    })
}

fn platform_is_installed_and_removed(manager: Manager) -> Result<()> {
    if !is_real_root()? {
        eprintln!("SKIPPED: package managers need a real root");
        return Ok(());
    }
    let shop = Shop::start()?;
    let machine = Machine::new(&shop, "db", manager)?;
    let name = "xshield-platform";
    machine.install(name, Release::This)?;
    ensure!(machine.host.run("id", ["-un", "xshield"])?.trim() == "xshield");
    let settings = "/etc/xshield/platform.env";
    fs::write(machine.host.file(settings), "XSHIELD_LOG=debug\n")?;
    machine.host.run("mkdir", ["-p", "/var/lib/xshield-platform"])?;

    machine.told()?;
    machine.install(name, Release::Next)?;
    ensure!(machine.told()?.contains(&"try-restart xshield.service".to_owned()));
    ensure!(fs::read_to_string(machine.host.file(settings))? == "XSHIELD_LOG=debug\n");

    machine.remove(name)?;
    ensure!(machine.told()?.contains(&"disable --now xshield.service".to_owned()));
    ensure!(!machine.has("/usr/bin/xshield"));
    ensure!(machine.has("/var/lib/xshield-platform"), "keys and database are the operator's");
    Ok(())
}

#[test]
fn dpkg_installs_upgrades_and_removes_the_platform() -> Result<()> {
    in_lab("dpkg_installs_upgrades_and_removes_the_platform", || {
        platform_is_installed_and_removed(Manager::Dpkg)
    })
}

#[test]
fn rpm_installs_upgrades_and_removes_the_platform() -> Result<()> {
    in_lab("rpm_installs_upgrades_and_removes_the_platform", || {
        platform_is_installed_and_removed(Manager::Rpm)
    })
}
