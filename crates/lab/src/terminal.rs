//! A program at a pseudo-terminal, as in a terminal window.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// Precedes the exit code.
const ENDED: &str = "[ended with ";

/// A terminal with a program.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: String,
    /// The end of the output that was already waited for.
    read: usize,
}

impl Terminal {
    /// Runs a program. `shell` is the beginning of a command that ends in `sh`, with its special arguments;
    /// for Ctrl-C to reach the program it is `setsid --ctty sh`.
    ///
    /// # Errors
    /// When there are no pseudo-terminals, or the shell can't be started.
    pub fn run<S: AsRef<OsStr>>(mut shell: Command, program: S, arguments: &[S]) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
            .and_then(|master| grantpt(&master).map(|()| master))
            .and_then(|master| unlockpt(&master).map(|()| master))
            .context("could not create a pseudo-terminal")?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_NOCTTY);
            options.open(&name).map(Stdio::from)
        };
        // When the leader of a terminal's session ends, unread output is lost, so the leader is the shell,
        // which waits to be released.
        let script = format!("trap : INT; \"$@\"; echo \"{ENDED}$?]\"; read _");
        shell.args(["-c", &script, "sh"]).arg(program).args(arguments);
        shell.stdin(open()?).stdout(open()?).stderr(open()?);
        let child = shell.spawn().with_context(|| format!("could not start {shell:?}"))?;
        // The command holds the other end of the terminal.
        drop(shell);
        Ok(Self { master: File::from(master), child, seen: String::new(), read: 0 })
    }

    /// Waits until this text appears after the output that was already waited for.
    ///
    /// # Errors
    /// When the program's terminal ends before.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                self.read += at + text.len();
                return Ok(());
            }
            let mut piece = [0; 4096];
            match self.master.read(&mut piece) {
                Ok(0) | Err(_) => bail!("{text:?} was not shown:\n{}", self.seen),
                Ok(read) => self.seen.push_str(&String::from_utf8_lossy(&piece[..read])),
            }
        }
    }

    /// Types keys; Return is `\r`, Ctrl-C is `\u{3}`.
    ///
    /// # Errors
    /// When the terminal takes none.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("could not type")
    }

    /// Whether input is echoed.
    ///
    /// # Errors
    /// When the terminal does not tell.
    pub fn echoes(&self) -> Result<bool> {
        Ok(tcgetattr(&self.master)?.local_modes.contains(LocalModes::ECHO))
    }

    /// Waits until the program ends; returns its exit code and its complete output.
    ///
    /// # Errors
    /// When the terminal ends before.
    pub fn end(mut self) -> Result<(i32, String)> {
        self.wait_for(ENDED)?;
        let shown = self.seen[..self.read - ENDED.len()].to_owned();
        let from = self.read;
        self.wait_for("]")?;
        let code =
            self.seen[from..self.read - 1].parse().context("the shell printed no exit code")?;
        self.type_in("\r")?;
        self.child.wait()?;
        Ok((code, shown))
    }
}
