//! The Debian packages that labs and measurements need on the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// A program and the package that brings it.
type Tool = (&'static str, &'static str);

/// What every lab needs.
pub(crate) const LAB: &[Tool] =
    &[("nft", "nftables"), ("ip", "iproute2"), ("unshare", "util-linux"), ("pkill", "procps")];
/// What the prober is written in.
pub(crate) const PROBER: &[Tool] = &[("python3", "python3")];
/// What tests of the firewall and the host need besides.
pub(crate) const KERNEL_TESTS: &[Tool] = &[("conntrack", "conntrack")];
/// What the other tests need: the proxies that people run, the service manager, a browser, and a container
/// engine with what its image is made of.
pub(crate) const TESTS: &[Tool] = &[
    ("squid", "squid"),
    ("tinyproxy", "tinyproxy"),
    ("systemctl", "systemd"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
];
/// What makes packages.
pub(crate) const PACKAGING: &[Tool] =
    &[("dpkg-deb", "dpkg"), ("rpmbuild", "rpm"), ("gzip", "gzip")];
/// What boots other kernels, and what their machines are made of.
pub(crate) const KERNELS: &[Tool] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("strip", "binutils"),
];
/// With what our firewall is compared, beside nft.
pub(crate) const PEERS: &[Tool] = &[("iptables-restore", "iptables")];
/// With what threat lists are compared, beside those.
pub(crate) const THREAT_PEERS: &[Tool] = &[("ipset", "ipset"), ("gzip", "gzip")];

/// Installs what is missing when that is possible; otherwise fails with the command to run.
pub(crate) fn ensure(needed: &[Tool]) -> Result<()> {
    let missing: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_installed(program)).map(|&(_, p)| p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        bail!("packages are missing; run: sudo {command}");
    }
    if !is_installed("apt-get") {
        bail!("not on Debian or Ubuntu; install what gives the programs of: {}", missing.join(" "));
    }
    // What a measurement prints is for programs to read: nothing else goes to standard output.
    eprintln!("installing: {}", missing.join(" "));
    run::succeed(Command::new("apt-get").stdout(std::io::stderr()).args(["update", "-q"]))?;
    let _quiet = NoServices::begin()?;
    run::succeed(
        Command::new("apt-get")
            .stdout(std::io::stderr())
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(&missing),
    )
}

/// While it lives, packages that are installed start no service of theirs on this machine: tests
/// start their own, on lab hosts. (Debian Policy 9.3.3, `policy-rc.d`.)
struct NoServices {
    made: Option<&'static Path>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() {
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
            // Nothing can be done about it here; apt names the file when a service does not start.
            let _gone = std::fs::remove_file(path);
        }
    }
}

fn is_installed(program: &str) -> bool {
    find(program).is_ok()
}

/// Where a program is: in PATH, or where administration programs are though a user's PATH may leave
/// that out.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin", "/sbin"].map(Into::into);
    let mut places = std::env::split_paths(&path).chain(administration).map(|d| d.join(program));
    places.find(|place| place.is_file()).with_context(|| format!("{program} is not installed"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}
