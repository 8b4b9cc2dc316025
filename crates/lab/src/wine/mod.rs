//! A Windows host in a lab: `ctspark.exe` under wine, with the double of the filter engine in place of
//! Windows' own (`crates/wfp-double`).
//!
//! The host's packets are real, and so is their fate: a [`gate`] holds each new flow until the model of
//! filter arbitration has judged it by what the double holds. So probes see a Windows host's policy as they
//! see that of a Linux host.

mod events;
pub mod gate;
mod packet;
mod queue;
mod verdict;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xshield_firewall::wfp::model::EngineState;
use xshield_wfp_double::{DIRECTORY, Directory};

pub use verdict::{Judged, judge};
pub use xshield_firewall::wfp::eval::Ruling;

use crate::host::Host;
use crate::lab::{Lab, require_program};
use crate::programs::WindowsPrograms;
use crate::spark::{self, SparkRun};
use crate::terminal::Terminal;
use gate::Gate;

/// What wine may load: the doubles, and none of the parts that want to be installed or shown.
const LIBRARIES: &str = "fwpuclnt,wevtapi=n;mscoree=;mshtml=;winemenubuilder.exe=d";
/// The directory of the host's state and configuration, below wine's drive C.
const STATE: &str = "drive_c/ProgramData/Xshield";

/// A Windows host. Dropping it lets go of its network; its programs end with the lab's host.
#[derive(Debug)]
pub struct WineHost {
    name: String,
    /// Of the machine, and seen by the host under the same path: wine's drives and the programs.
    directory: PathBuf,
    engine: Directory,
    gate: Gate,
}

impl WineHost {
    /// Makes a host of the lab a Windows host, with an empty filter engine.
    ///
    /// # Errors
    /// When wine or iptables is missing, or wine does not start.
    pub fn start(lab: &Lab, name: &str, programs: &WindowsPrograms) -> Result<Self> {
        let host = lab.host(name)?;
        let directory = host.dir().join("windows");
        for made in ["programs", "prefix", "engine", "temporary"] {
            fs::create_dir_all(directory.join(made))?;
        }
        for (program, to) in [
            (&programs.spark, "ctspark.exe"),
            (&programs.double, "fwpuclnt.dll"),
            (&programs.event_log, "wevtapi.dll"),
        ] {
            let to = directory.join("programs").join(to);
            fs::copy(program, &to)
                .with_context(|| format!("could not copy {}", program.display()))?;
        }
        let engine = Directory::at(&directory.join("engine"))?;
        // The server goes on in the background once it is ready, and so do wine's services.
        let start = |program: &str, arguments: &[&str]| -> Result<()> {
            let mut command = wine(host, &directory, require_program(program, "wine")?);
            let command = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.status().with_context(|| format!("could not start {program}"))?;
            ensure!(status.success(), "{program} {arguments:?} ended with {status}");
            Ok(())
        };
        start("wineserver", &["--persistent"])?;
        start("wine", &["wineboot", "--init"])?;
        let gate = Gate::start(host, engine.clone())?;
        Ok(Self { name: name.to_owned(), directory, engine, gate })
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The double of its filter engine.
    #[must_use]
    pub fn engine(&self) -> &Directory {
        &self.engine
    }

    /// What its filter engine holds now.
    ///
    /// # Errors
    /// When the double's files can't be read.
    pub fn state(&self) -> Result<EngineState> {
        Ok(self.engine.load()?.state())
    }

    /// What enforces the filters.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Its directory for configuration and state, as the machine sees it.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("prefix").join(STATE)
    }

    /// The program, as the machine sees it.
    #[must_use]
    pub fn spark(&self) -> PathBuf {
        self.directory.join("programs/ctspark.exe")
    }

    /// Puts a configuration where Spark looks for it, with these lines in addition.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn configure(&self, configuration: &str, lines: &str) -> Result<()> {
        let directory = self.state_directory();
        if !directory.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        }
        let path = directory.join("spark.yaml");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&path);
        let text = format!("{}\n{lines}", configuration.trim_end());
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .with_context(|| format!("could not write {}", path.display()))
    }

    /// Drive C:, as the machine sees it.
    #[must_use]
    pub fn drive(&self) -> PathBuf {
        self.directory.join("prefix/drive_c")
    }

    /// Sets a number in the registry.
    ///
    /// # Errors
    /// When wine refuses it.
    pub fn set_registry(&self, lab: &Lab, key: &str, name: &str, number: u32) -> Result<()> {
        let mut command = self.wine(lab)?;
        command.args(["reg", "add", key, "/v", name, "/t", "REG_DWORD", "/f", "/d"]);
        crate::host::succeed(command.arg(number.to_string())).map(drop)
    }

    /// Runs one cycle, as [`spark::run`] does.
    ///
    /// # Errors
    /// When wine can't be started, or the platform goes on refusing it for having asked too often.
    pub fn run(&self, lab: &Lab) -> Result<SparkRun> {
        self.run_with(lab, &[])
    }

    /// The same with environment variables.
    ///
    /// # Errors
    /// As [`WineHost::run`].
    pub fn run_with(&self, lab: &Lab, variables: &[(&str, &str)]) -> Result<SparkRun> {
        spark::unless_put_off(&self.name, || {
            let mut command = self.command(lab, &["run", "--json"])?;
            command.envs(variables.iter().copied());
            Ok(SparkRun::of(&output(&mut command)?))
        })
    }

    /// Runs one cycle, and returns the most memory that the program had resident, in KiB; wine's own parts
    /// in its process are included.
    ///
    /// # Errors
    /// When it can't be measured, or the cycle fails.
    pub fn peak_kib(&self, lab: &Lab) -> Result<f64> {
        let host = lab.host(&self.name)?;
        let mut command = self.set_up(wine(host, &self.directory, lab.programs().lab()));
        command.arg("peak").arg(require_program("wine", "wine")?).arg(self.spark()).arg("run");
        let line = crate::host::succeed(&mut command)?;
        line.trim().parse().with_context(|| format!("peak printed {line:?}"))
    }

    /// Runs another command of Spark with `--json`: its exit code, and what it printed.
    ///
    /// # Errors
    /// When wine can't be started.
    pub fn verb(&self, lab: &Lab, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let mut command = self.command(lab, arguments)?;
        let run = SparkRun::of(&output(command.arg("--json"))?);
        Ok((run.exit.code(), run.json))
    }

    /// The command `ctspark ARGUMENTS`, for tests that watch or kill it.
    ///
    /// # Errors
    /// When wine is not installed.
    pub fn command(&self, lab: &Lab, arguments: &[&str]) -> Result<Command> {
        let mut command = self.wine(lab)?;
        command.arg(self.spark()).args(arguments);
        Ok(command)
    }

    /// Runs `ctspark ARGUMENTS` at a terminal of its own, where Ctrl-C reaches it.
    ///
    /// # Errors
    /// When wine is not installed, or there are no pseudo-terminals.
    pub fn at_terminal(
        &self,
        lab: &Lab,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Terminal> {
        let setsid = require_program("setsid", "util-linux")?;
        let mut shell = self.set_up(wine(lab.host(&self.name)?, &self.directory, setsid));
        shell.args(["--ctty", "sh"]).envs(variables.iter().copied()).env("TERM", "xterm");
        let program = [require_program("wine", "wine")?, self.spark()];
        let mut words: Vec<&OsStr> = program.iter().map(|path| path.as_os_str()).collect();
        words.extend(arguments.iter().map(OsStr::new));
        Terminal::run(shell, words[0], &words[1..])
    }

    /// Wine on this host, to be told a program.
    fn wine(&self, lab: &Lab) -> Result<Command> {
        let program = require_program("wine", "wine")?;
        Ok(self.set_up(wine(lab.host(&self.name)?, &self.directory, program)))
    }

    fn set_up(&self, mut command: Command) -> Command {
        command.env(DIRECTORY, windows_path(&self.directory.join("engine")));
        command
    }
}

fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("could not start {command:?}"))
}

/// A program of wine's on a host.
fn wine(host: &Host, directory: &Path, program: PathBuf) -> Command {
    let mut command = host.command(program);
    command
        .env("WINEPREFIX", directory.join("prefix"))
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", LIBRARIES)
        .env("HOME", directory)
        .env("TMPDIR", directory.join("temporary"))
        .env_remove("DISPLAY")
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

/// A path of the machine as programs under wine see it.
fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display().to_string().replace('/', "\\"))
}
