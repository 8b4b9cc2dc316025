//! Questions at the terminal.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use crate::error::CliError;
use crate::progress::Waiting;
use crate::terminal::{ask, notes_are_at_terminal};

/// Whether there is a terminal to ask.
pub(crate) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && notes_are_at_terminal()
}

/// Asks a yes/no question; anything but y is no.
pub(crate) fn confirm(question: &str) -> Result<bool, CliError> {
    let _waiting = Waiting::for_an_answer();
    ask(&format!("{question} [y/N]"))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(no_terminal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Asks for a password at the terminal, without showing it.
pub(crate) fn password(question: &str) -> Result<String, CliError> {
    let tty = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|source| {
        let hint = "there is no terminal to ask for the password; give it with --password-file";
        CliError::input(format!("{hint} ({source})"))
    })?;
    let restored = tty.try_clone().map_err(no_terminal)?;
    let before = termios::tcgetattr(&tty).map_err(|error| no_terminal(error.into()))?;
    let _waiting = Waiting::for_an_answer().putting_back(move || {
        let _ = termios::tcsetattr(&restored, OptionalActions::Flush, &before);
    });
    let mut line = String::new();
    let read = {
        // Before the question: input from then on is hidden.
        let _hidden = Hidden::new(&tty).map_err(no_terminal)?;
        write!(&tty, "{question}: ").map_err(CliError::Output)?;
        BufReader::new(&tty).read_line(&mut line)
    };
    writeln!(&tty).map_err(CliError::Output)?;
    read.map_err(no_terminal)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn no_terminal(source: io::Error) -> CliError {
    CliError::File { action: "read from", path: "the terminal".into(), source }
}

/// The terminal echoes nothing while this lives.
struct Hidden<'a> {
    tty: &'a std::fs::File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(tty: &'a std::fs::File) -> io::Result<Self> {
        let before = termios::tcgetattr(tty)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        termios::tcsetattr(tty, OptionalActions::Flush, &hidden)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The shell resets its terminal anyway.
        let _ = termios::tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}
