//! journald, read with its own program: the journal's format is internal to it.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::{Batch, Collected};
use crate::log_line::Cursor;

/// The time limit for reading; the rest is left to the next run.
const LIMIT: Duration = Duration::from_secs(5);
/// journald's id of "Missed … kernel messages" (sd-messages.h, `SD_MESSAGE_JOURNAL_MISSED`).
const MISSED: &str = "MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606";

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    /// Microseconds since 1970.
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    written: Option<String>,
    /// Which transport passed the entry to journald; programs can't set it.
    #[serde(rename = "_TRANSPORT")]
    transport: Option<String>,
    /// Text, or its bytes if it is not UTF-8.
    #[serde(rename = "MESSAGE", default)]
    message: Value,
}

/// An entry, or the error of parsing it.
type Line = Result<Entry, serde_json::Error>;

pub(super) fn read(journalctl: &Path, cursor: Option<&Cursor>) -> io::Result<Batch> {
    match cursor {
        Some(Cursor::Journal { at: Some(at) }) => read_after(journalctl, at),
        _ => Ok(Collected::default().until(Cursor::Journal { at: last(journalctl)? })),
    }
}

fn last(journalctl: &Path) -> io::Result<Option<String>> {
    let mut reader = Reader::start(journalctl, &["--lines=1"])?;
    let mut at = None;
    while let Some(line) = reader.next()? {
        at = line.ok().map(|entry| entry.cursor);
    }
    Ok(at)
}

fn read_after(journalctl: &Path, after: &str) -> io::Result<Batch> {
    let after_cursor = format!("--after-cursor={after}");
    let mut reader = Reader::start(journalctl, &[&after_cursor, "_TRANSPORT=kernel", "+", MISSED])?;
    let mut at = after.to_owned();
    let mut collected = Collected::default();
    while !collected.is_full()
        && let Some(line) = reader.next()?
    {
        let Ok(entry) = line else {
            collected.lost += 1;
            continue;
        };
        let message = text(&entry.message);
        match entry.transport.as_deref() {
            Some("kernel") => {
                let written = entry.written.and_then(|micros| micros.parse::<u64>().ok());
                collected.take(written.map(|micros| micros / 1_000_000), &message);
            }
            Some("driver") => collected.lost += missed(&message),
            _ => {}
        }
        at = entry.cursor;
    }
    Ok(collected.until(Cursor::Journal { at: Some(at) }))
}

fn text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
        }
        _ => String::new(),
    }
}

fn missed(message: &str) -> u64 {
    let count = message.strip_prefix("Missed ").and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// A running `journalctl`, which is killed when dropped.
struct Reader {
    child: Child,
    lines: Receiver<io::Result<Line>>,
    deadline: Instant,
}

impl Reader {
    fn start(journalctl: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(journalctl)
            .args(["--quiet", "--no-pager", "--output=json"])
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, lines: lines_of(stdout), deadline: Instant::now() + LIMIT })
    }

    /// The next line; `None` at the end or when the time limit is reached.
    ///
    /// # Errors
    /// When reading fails, or the program ends without success.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => line.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                let failed = || io::Error::other(format!("it ended with {status}"));
                if status.success() { Ok(None) } else { Err(failed()) }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<io::Result<Line>> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map(|line| serde_json::from_slice(&line));
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
