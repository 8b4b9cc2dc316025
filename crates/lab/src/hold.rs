//! Connections that stay open, to test what happens to them when rules change.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::host::Host;
use crate::programs::Programs;

/// How long an echo may take before the connection counts as cut. Long enough for TCP to retransmit packets
/// lost while rules were swapped.
const TIMEOUT: Duration = Duration::from_secs(4);

/// An open connection from a host to an echoing service.
#[derive(Debug)]
pub struct Held {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Whether a held connection works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The echo came back.
    Alive,
    /// No echo came back, or the connection was reset.
    Cut,
}

impl Held {
    /// Opens a connection and checks that it works.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(host: &Host, programs: &Programs, to: SocketAddr) -> Result<Self> {
        let mut command = host.command(programs.lab());
        command.args(["hold", &to.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("could not start the holder")?;
        let questions = child.stdin.take().context("the holder has no standard input")?;
        let answers = child.stdout.take().context("the holder has no standard output")?;
        let mut held = Self { child, questions, answers: BufReader::new(answers) };
        let link = held.link()?;
        anyhow::ensure!(link == Link::Alive, "no connection from {} to {to}", host.name());
        Ok(held)
    }

    /// Sends a line through the connection and waits for its echo.
    ///
    /// # Errors
    /// When the holder itself has failed.
    pub fn link(&mut self) -> Result<Link> {
        self.questions.write_all(b"?").context("the holder has ended")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "alive" => Ok(Link::Alive),
            "cut" => Ok(Link::Cut),
            other => anyhow::bail!("the holder answered {other:?}"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ended_already = crate::sys::kill_and_wait(&mut self.child);
    }
}

/// Arguments of a holder's process.
#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    /// Where to connect to.
    to: SocketAddr,
}

/// The holder's process: for every byte on standard input, prints whether the connection is alive.
///
/// # Errors
/// When the connection can't be opened.
pub fn run(args: &HoldArgs) -> Result<()> {
    let stream = TcpStream::connect_timeout(&args.to, TIMEOUT)
        .with_context(|| format!("could not connect to {}", args.to))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut question = [0; 1];
    while std::io::stdin().read(&mut question)? > 0 {
        let alive = echo(&stream).is_ok();
        println!("{}", if alive { "alive" } else { "cut" });
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn echo(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"still-here\n")?;
    let mut answer = [0; 11];
    stream.read_exact(&mut answer)
}
