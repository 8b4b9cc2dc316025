//! Installs the programs that labs and measurements need, if this system's package manager has them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::tools::Tool;

/// The package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, RHEL.
    Dnf,
}

/// What is available on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct System {
    manager: Option<Manager>,
    /// Whether Chromium is a snap, which tests can't use.
    has_snaps: bool,
    is_root: bool,
}

impl System {
    fn this() -> Self {
        let manager = match (is_installed("apt-get"), is_installed("dnf")) {
            (true, _) => Some(Manager::Apt),
            (false, true) => Some(Manager::Dnf),
            (false, false) => None,
        };
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let has_snaps = release.lines().any(|line| line.trim() == "ID=ubuntu");
        Self { manager, has_snaps, is_root: is_root() }
    }

    /// The package with a program; `None` if there is none.
    fn package(self, tool: &Tool) -> Option<&'static str> {
        match self.manager? {
            Manager::Apt if self.has_snaps && tool.debian.starts_with("chromium") => None,
            Manager::Apt => Some(tool.debian),
            Manager::Dnf => tool.fedora,
        }
    }

    /// The packages to install.
    fn packages(self, missing: &[Tool]) -> Vec<&'static str> {
        let mut packages: Vec<_> = missing.iter().filter_map(|tool| self.package(tool)).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }

    /// The command that installs them, as shown to people.
    fn command(self, packages: &[&str]) -> String {
        match self.manager {
            Some(Manager::Dnf) => format!("dnf install -y {}", packages.join(" ")),
            _ => format!("apt-get install -y --no-install-recommends {}", packages.join(" ")),
        }
    }

    /// Why a program is not available.
    fn why(self, tool: &Tool) -> String {
        let program = tool.program;
        match (self.manager, self.package(tool)) {
            (None, _) => format!("{program} is not installed"),
            (Some(_), Some(package)) => {
                format!("{program} is not installed (package {package})")
            }
            (Some(Manager::Apt), None) => {
                format!("{program} is not installed, and this system only has it as a snap")
            }
            (Some(Manager::Dnf), None) => {
                format!("{program} is not installed, and this system has no package of it")
            }
        }
    }

    fn install(self, packages: &[&str]) -> Result<()> {
        // The output of a measurement is read by programs: nothing else goes to standard output.
        eprintln!("installing: {}", packages.join(" "));
        let mut command = match self.manager {
            Some(Manager::Apt) => {
                let mut command = Command::new("apt-get");
                command.env("DEBIAN_FRONTEND", "noninteractive");
                command.args(["install", "-y", "-q", "--no-install-recommends"]);
                command
            }
            Some(Manager::Dnf) => {
                let mut command = Command::new("dnf");
                command.args(["install", "-y", "-q"]);
                command
            }
            None => bail!("neither apt-get nor dnf is installed"),
        };
        run::succeed(command.stdout(std::io::stderr()).args(packages))
    }

    /// Updates the package lists, if that is a separate step.
    fn refresh(self) -> Result<()> {
        if self.manager == Some(Manager::Apt) {
            let mut update = Command::new("apt-get");
            run::succeed(update.stdout(std::io::stderr()).args(["update", "-q"]))?;
        }
        Ok(())
    }
}

/// Installs what is missing if possible; otherwise fails with the command to run.
pub(crate) fn ensure(needed: &[Tool]) -> Result<()> {
    let (system, missing) = (System::this(), missing(needed));
    if missing.is_empty() {
        return Ok(());
    }
    let whys: Vec<String> = missing.iter().map(|tool| system.why(tool)).collect();
    let packages = system.packages(&missing);
    if system.manager.is_none() || packages.is_empty() {
        bail!("{}; install a package that contains it", whys.join("; "));
    }
    if !system.is_root {
        bail!("{}; run: sudo {}", whys.join("; "), system.command(&packages));
    }
    system.refresh()?;
    let _quiet = NoServices::begin()?;
    system.install(&packages)?;
    match self::missing(needed).first() {
        Some(tool) => bail!("{}, though its package is; install it by hand", system.why(tool)),
        None => Ok(()),
    }
}

/// As [`ensure`] for what everything needs. Of what only some tests need, installs the available packages and
/// returns what is still missing.
pub(crate) fn ensure_for_tests(needed: &[Tool]) -> Result<Vec<Missing>> {
    let (some, all): (Vec<Tool>, Vec<Tool>) =
        needed.iter().partition(|tool| !tool.tests.is_empty());
    ensure(&all)?;
    install_what_can_be_had(&some)
}

/// Installs the available ones of these and returns what is still missing.
pub(crate) fn install_what_can_be_had(some: &[Tool]) -> Result<Vec<Missing>> {
    let system = System::this();
    let packages = system.packages(&missing(some));
    if !packages.is_empty() && system.is_root {
        if let Err(error) = system.refresh() {
            eprintln!("{error:#}; continuing with the existing package lists");
        }
        let _quiet = NoServices::begin()?;
        if system.install(&packages).is_err() {
            // An unavailable package would prevent the installation of the others: each is installed
            // separately.
            for package in packages {
                if let Err(error) = system.install(&[package]) {
                    eprintln!("{error:#}");
                }
            }
        }
    } else if !packages.is_empty() {
        eprintln!("to run all tests: sudo {}", system.command(&packages));
    }
    let missing = missing(some).into_iter();
    Ok(missing.map(|tool| Missing { tool, why: system.why(&tool) }).collect())
}

/// A missing program that some tests need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) tool: Tool,
    /// The reason.
    pub(crate) why: String,
}

fn missing(needed: &[Tool]) -> Vec<Tool> {
    needed.iter().filter(|tool| !is_installed(tool.program)).copied().collect()
}

/// While it lives, installed packages start no services on this machine: tests start their own, on lab hosts.
/// (Debian Policy 9.3.3, `policy-rc.d`; packages of Fedora start none.)
struct NoServices {
    made: Option<&'static Path>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() || !is_installed("apt-get") {
            return Ok(Self { made: None });
        }
        std::fs::write(path, "#!/bin/sh\nexit 101\n")
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("could not write {}", path.display()))?;
        Ok(Self { made: Some(path) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = self.made {
            // Nothing can be done about it here; apt names the file if a service does not start.
            let _gone = std::fs::remove_file(path);
        }
    }
}

fn is_installed(program: &str) -> bool {
    find(program).is_ok()
}

/// The path of a program: in PATH, or in the directories of administration programs, which a user's PATH may
/// lack. Snaps are not used: they are confined and don't see the lab's hosts.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin", "/sbin"].map(Into::into);
    let mut places = std::env::split_paths(&path)
        .chain(administration)
        .filter(|directory| !directory.starts_with("/snap"))
        .map(|directory| directory.join(program));
    places.find(|place| place.is_file()).with_context(|| format!("{program} is not installed"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{LAB, TESTS};

    #[test]
    fn packages_are_listed_for_each_system() {
        let system = |manager, has_snaps| System { manager, has_snaps, is_root: true };
        let tool = |program: &str| TESTS.iter().chain(LAB).find(|t| t.program == program).unwrap();
        let wanted = ["ip", "chromium", "chromedriver", "dockerd"].map(|program| *tool(program));
        for (system, packages, unavailable, command) in [
            (
                system(Some(Manager::Apt), false),
                "chromium chromium-driver docker.io iproute2",
                "",
                "apt-get install -y --no-install-recommends ",
            ),
            (
                system(Some(Manager::Apt), true),
                "docker.io iproute2",
                "chromium is not installed, and this system only has it as a snap",
                "apt-get install -y --no-install-recommends ",
            ),
            (
                system(Some(Manager::Dnf), false),
                "chromedriver chromium iproute moby-engine",
                "",
                "dnf install -y ",
            ),
            (system(None, false), "", "chromium is not installed", ""),
        ] {
            let found = system.packages(&wanted);
            assert_eq!(found.join(" "), packages, "{system:?}");
            if !command.is_empty() {
                assert_eq!(system.command(&found), format!("{command}{packages}"));
            }
            let why = system.why(tool("chromium"));
            assert!(unavailable.is_empty() || why == unavailable, "{system:?}: {why}");
        }
    }
}
