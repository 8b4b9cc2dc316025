//! One host of a lab: its namespaces, in which commands run.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::programs::Programs;
use crate::sys::{self, Depth, Namespaces};

/// A host. Dropping it ends all its processes and removes its network.
#[derive(Debug)]
pub struct Host {
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    dir: PathBuf,
    namespaces: Arc<Namespaces>,
    /// The parent of the host's process 1.
    keeper: Child,
    /// Process 1 runs until this is closed.
    _life: ChildStdin,
}

impl Host {
    /// Starts a host with no network but loopback.
    pub(crate) fn start(
        programs: &Programs,
        name: &str,
        (v4, v6): (Ipv4Addr, Ipv6Addr),
        dir: &Path,
        resolver: Option<IpAddr>,
    ) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
        let mut command = Command::new(programs.lab());
        command.args(["init", "--name", name, "--dir"]).arg(dir);
        if let Some(resolver) = resolver {
            command.args(["--resolver", &resolver.to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::found_host(&mut command);
        let mut keeper = command.spawn().with_context(|| {
            format!("could not create namespaces for host {name}; {}", crate::HELP)
        })?;
        let life = keeper.stdin.take().context("the host's standard input is missing")?;
        let output = keeper.stdout.take().context("the host's standard output is missing")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "ready" {
            sys::kill_and_wait(&mut keeper)?;
            bail!("host {name} did not start; the reason is printed above");
        }
        let namespaces = Namespaces::of(keeper.id())
            .with_context(|| format!("could not open the namespaces of host {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            v4,
            v6,
            dir: dir.to_owned(),
            namespaces: Arc::new(namespaces),
            keeper,
            _life: life,
        })
    }

    /// The host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address in the lab's network.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address in the lab's network.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// A directory of the machine's file system that the host sees under the same path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path from outside of a file given by its absolute path on the host.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.keeper.id()))
    }

    /// The process id of the host's process 1 on this machine, for `nsenter --all --target`.
    ///
    /// # Errors
    /// When the host has ended.
    pub fn pid(&self) -> Result<u32> {
        only_child(self.keeper.id())
            .with_context(|| format!("process 1 of host {} has ended", self.name))
    }

    /// A command on this host: with its network, files, processes and name, in its own session.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::enter(&mut command, Arc::clone(&self.namespaces), Depth::Host);
        command
    }

    /// A command on this machine that only uses the host's network.
    pub(crate) fn network_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        sys::enter(&mut command, Arc::clone(&self.namespaces), Depth::Network);
        command
    }

    /// The host's network, to be entered by a thread.
    #[must_use]
    pub fn network(&self) -> Network {
        Network { host: self.name.clone(), namespaces: Arc::clone(&self.namespaces) }
    }

    /// Runs a program of this host to its end.
    ///
    /// # Errors
    /// When it can't be started or fails; the error contains its output.
    pub fn run<I, S>(&self, program: impl AsRef<OsStr>, arguments: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(program);
        command.args(arguments);
        succeed(&mut command).with_context(|| format!("on host {}", self.name))
    }

    /// Starts a program on this host that runs until dropped. Its output goes to `NAME.log` in [`Host::dir`].
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&self, name: &str, mut command: Command) -> Result<Running> {
        let log = self.dir.join(format!("{name}.log"));
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("could not open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("could not start {name} on host {}", self.name))?;
        Ok(Running { name: name.to_owned(), child, log })
    }
}

/// The child of a forwarding parent process.
pub(crate) fn only_child(stand_in: u32) -> Option<u32> {
    let path = format!("/proc/{stand_in}/task/{stand_in}/children");
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// A host's network, which threads of this process can enter.
#[derive(Debug, Clone)]
pub struct Network {
    host: String,
    namespaces: Arc<Namespaces>,
}

impl Network {
    /// Moves the calling thread into the network permanently. Sockets created before stay in their network.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        self.namespaces
            .enter_network()
            .with_context(|| format!("could not enter the network of {}", self.host))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // When process 1 ends, the kernel ends the other processes of the host.
        let _gone_already = sys::kill_and_wait(&mut self.keeper);
    }
}

/// A program that runs until it is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its output so far.
    ///
    /// # Errors
    /// When its log can't be read.
    pub fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log)
            .with_context(|| format!("could not read {}", self.log.display()))
    }

    /// Fails if the program has ended; the error contains its output.
    ///
    /// # Errors
    /// When it has ended, or its state can't be read.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended with {status}:\n{}", self.name, self.output().unwrap_or_default())
            }
        }
    }

    /// Whether the program has ended.
    ///
    /// # Errors
    /// When its state can't be read.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Stops the program (SIGSTOP) until it is resumed; the kernel still accepts its connections.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        Ok(sys::signal(self.pid()?, libc::SIGSTOP)?)
    }

    /// Lets a paused program go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        Ok(sys::signal(self.pid()?, libc::SIGCONT)?)
    }

    /// The id of the program itself on this machine; the started child is its forwarding parent.
    pub(crate) fn pid(&self) -> Result<u32> {
        only_child(self.child.id()).with_context(|| format!("{} has ended", self.name))
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn stop(mut self) -> Result<std::process::ExitStatus> {
        sys::signal(self.child.id(), libc::SIGTERM)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = sys::kill_and_wait(&mut self.child);
    }
}

/// Kills (SIGKILL) the program of a child that [`Host::command`] started, and waits for its end.
///
/// # Errors
/// When it can't be signalled.
pub fn kill(child: &mut Child) -> Result<()> {
    sys::kill_and_wait(child).context("could not kill a program of the lab")
}

/// Runs a command to its end and returns its standard output; an error contains both outputs.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("could not start {shown}"))?;
    succeeded(&shown, &output)
}

pub(crate) fn succeeded(shown: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!(
        "{shown} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
