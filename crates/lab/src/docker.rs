//! The Docker engine, from Debian's docker.io, on a lab host: in its network and process list, with its own
//! files; it only shares the machine's programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::{Host, Running};
use crate::lab::require_program;
use crate::wait;

/// The directory of its files on the host.
const DIRECTORY: &str = "/var/tmp/docker";
/// An image with busybox.
const IMAGE: &str = "busybox";

/// An engine that runs until it is dropped, which ends its containers, too.
#[derive(Debug)]
pub struct Docker<'h> {
    host: &'h Host,
    process: Running,
    /// Its containers' control groups are below it, in each hierarchy.
    cgroups: String,
}

impl<'h> Docker<'h> {
    /// Starts the engine and imports an image. The storage driver is one that works everywhere.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(host: &'h Host) -> Result<Self> {
        let dockerd = require_program("dockerd", "docker.io")?;
        let iptables = require_program("iptables", "iptables")?;
        let cgroups = format!("xshield-lab-docker-{}", host.pid()?);
        let path = |name: &str| format!("{DIRECTORY}/{name}");
        fs::create_dir_all(host.file(DIRECTORY))?;
        let mut command = host.command(dockerd);
        command.env("PATH", search_path(&iptables));
        command.args(["--storage-driver", "vfs", "--host", &format!("unix://{}", path("socket"))]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
        command.args(["--pidfile", &path("pid"), "--cgroup-parent", &format!("/{cgroups}")]);
        let process = host.spawn("dockerd", command)?;
        let mut docker = Self { host, process, cgroups };
        wait::until("the Docker engine answers", Duration::from_secs(60), || {
            docker.process.still_runs()?;
            Ok(docker.run(&["info"]).ok().map(drop))
        })?;
        docker.import()?;
        Ok(docker)
    }

    /// Runs `docker ARGUMENTS`.
    ///
    /// # Errors
    /// When it fails; the error carries what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let docker = require_program("docker", "docker.io")?;
        let socket = format!("unix://{DIRECTORY}/socket");
        let output = self.host.run(docker, [&["--host", &socket], arguments].concat())?;
        Ok(output.trim().to_owned())
    }

    /// Starts a container that answers `hello` on TCP port 80, with more arguments of `docker run`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn serve(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let served = ["nc", "-ll", "-p", "80", "-e", "/bin/busybox", "echo", "hello"];
        let run = ["run", "--detach", "--name", name];
        self.run(&[&run, arguments, &[IMAGE, "/bin/busybox"], &served].concat())?;
        Ok(())
    }

    /// Runs busybox in a running container; returns whether it succeeded.
    ///
    /// # Errors
    /// When the program can't be run; its failure is not an error.
    pub fn succeeds(&self, container: &str, arguments: &[&str]) -> Result<bool> {
        let mut command = self.host.command(require_program("docker", "docker.io")?);
        command.args(["--host", &format!("unix://{DIRECTORY}/socket"), "exec", container]);
        command.arg("/bin/busybox").args(arguments);
        Ok(command.output().context("could not start docker")?.status.success())
    }

    /// Creates the image from the machine's busybox, without a registry.
    fn import(&self) -> Result<()> {
        let busybox = require_program("busybox", "busybox-static")?;
        let root = self.host.file(&format!("{DIRECTORY}/root"));
        fs::create_dir_all(root.join("bin"))?;
        fs::copy(&busybox, root.join("bin/busybox"))
            .with_context(|| format!("could not copy {}", busybox.display()))?;
        let tree = format!("{DIRECTORY}/root");
        let archive = format!("{DIRECTORY}/image.tar");
        self.host.run("tar", ["--create", "--directory", &tree, "--file", &archive, "."])?;
        self.run(&["import", &archive, IMAGE])?;
        Ok(())
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // Containers' processes end with the host; their control groups would remain, and only the engine
        // removes them.
        let all = self.run(&["ps", "--all", "--quiet"]).unwrap_or_default();
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            let _gone_with_the_host = self.run(&[&["rm", "--force"], &all[..]].concat());
        }
        remove_cgroups(&self.cgroups);
    }
}

/// Removes the empty control groups of that name, in the unified hierarchy or in each of the old ones.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        let _not_there = fs::remove_dir(hierarchy.join(name));
    }
}

/// PATH with the directory of iptables.
fn search_path(iptables: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = iptables.parent().map(PathBuf::from);
    std::env::join_paths(std::env::split_paths(&path).chain(more)).unwrap_or(path)
}

/// Whether the engine is installed.
#[must_use]
pub fn is_installed() -> bool {
    require_program("dockerd", "docker.io").is_ok()
        && Command::new("docker").arg("-v").output().is_ok()
}
