//! A program at a terminal of its own: a pseudo-terminal, as a terminal window has it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// Before the exit code.
const ENDED: &str = "[ended with ";

pub struct Terminal {
    master: File,
    child: Child,
    seen: String,
    /// What was looked for lies before it.
    read: usize,
}

impl Terminal {
    /// Runs `program` with these arguments; `adjust` gets the command before it starts.
    pub fn run(program: &str, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || {
            let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
            let mut options = OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
            Stdio::from(options.read(true).write(true).open(&name).unwrap())
        };
        // A session whose terminal this is: Ctrl-C reaches who is in it. When its leader ends, what was
        // written and not read yet is lost, so the leader is a shell that waits for it.
        let script = format!("trap : INT; \"$@\"; echo \"{ENDED}$?]\"; read _");
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", &script, "sh", program]).args(arguments);
        command.stdin(open()).stdout(open()).stderr(open());
        adjust(&mut command);
        let child = command.spawn().unwrap();
        // The command holds the other end of the terminal.
        drop(command);
        Self { master: File::from(master), child, seen: String::new(), read: 0 }
    }

    /// Waits until this is shown after what was waited for before.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            assert!(self.more(), "{text:?} is not in:\n{}", self.seen);
        }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end; exit code, and all that was shown.
    #[track_caller]
    pub fn end(mut self) -> (i32, String) {
        self.wait_for(ENDED);
        let shown = self.seen[..self.read - ENDED.len()].to_owned();
        let from = self.read;
        self.wait_for("]");
        let code = self.seen[from..self.read - 1].parse().unwrap();
        self.type_in("\r");
        self.child.wait().unwrap();
        (code, shown)
    }

    /// Reads on; false when nobody has the terminal any more.
    fn more(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.master.read(&mut piece) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.seen.push_str(&String::from_utf8_lossy(&piece[..read]));
                true
            }
        }
    }
}
