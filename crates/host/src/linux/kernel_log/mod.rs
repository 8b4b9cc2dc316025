//! Reads what our rules wrote to the kernel's log, each line once, from where the last run ended.
//!
//! The log is in journald, in the files of a syslog daemon, and in the kernel's own ring buffer. The first of
//! these that exists is read. Only lines that only the kernel can have written are accepted: anyone may log a
//! line that looks like ours.

mod file;
mod journal;
mod kmsg;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xshield_wire::message::UnixSeconds;

use crate::log_line::{Cursor, LogLine, PREFIX};

/// The most lines read in one run; the next run continues from there.
const MOST_LINES: usize = 10_000;

/// What one run read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Our lines, with the time at which they were written, if the source contains it.
    pub lines: Vec<(Option<UnixSeconds>, LogLine)>,
    /// The most lines of ours that may have been missed: overwritten, rotated away or damaged.
    pub lost: u64,
    /// The position to continue from. Save it only once the lines are safe.
    pub cursor: Cursor,
}

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read the kernel's log from {place}; denials are still counted by the kernel")]
pub struct LogError {
    place: PathBuf,
    #[source]
    source: io::Error,
}

/// The places where the kernel's log may be.
#[derive(Debug, Clone)]
pub struct Sources {
    /// journald is running if this exists.
    pub journal_socket: PathBuf,
    /// The program that reads the journal.
    pub journalctl: PathBuf,
    /// Where syslog daemons write kernel lines.
    pub files: Vec<PathBuf>,
    /// The kernel's ring buffer.
    pub kmsg: PathBuf,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            journal_socket: "/run/systemd/journal/socket".into(),
            journalctl: "/usr/bin/journalctl".into(),
            files: vec!["/var/log/kern.log".into(), "/var/log/messages".into()],
            kmsg: "/dev/kmsg".into(),
        }
    }
}

/// The time and boot of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Seconds since 1970.
    pub now: UnixSeconds,
    /// Seconds since this boot.
    pub uptime: u64,
    /// The id of this boot.
    pub boot_id: &'a str,
}

impl Sources {
    /// Reads what our rules wrote since `cursor`. Without a cursor, or with one of another source, only the
    /// current position is returned; `None` if there is no source.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn read(
        &self,
        cursor: Option<&Cursor>,
        moment: Moment<'_>,
    ) -> Result<Option<Batch>, LogError> {
        let failed = |place: &Path| {
            let place = place.to_owned();
            move |source| LogError { place, source }
        };
        if self.journal_socket.exists() && self.journalctl.exists() {
            let batch = journal::read(&self.journalctl, cursor);
            return batch.map(Some).map_err(failed(&self.journalctl));
        }
        if let Some(path) = self.files.iter().find(|path| is_written_to(path, moment)) {
            return file::read(path, cursor).map(Some).map_err(failed(path));
        }
        if self.kmsg.exists() {
            return kmsg::read(&self.kmsg, cursor, moment).map(Some).map_err(failed(&self.kmsg));
        }
        Ok(None)
    }
}

/// Whether the file was written since boot. Otherwise it belongs to a syslog daemon that is no longer in use,
/// since booting makes the kernel write.
fn is_written_to(path: &Path, moment: Moment<'_>) -> bool {
    let booted = moment.now.saturating_sub(moment.uptime);
    fs::metadata(path).is_ok_and(|meta| {
        meta.is_file() && u64::try_from(meta.mtime()).is_ok_and(|written| written >= booted)
    })
}

/// Collects lines of one source.
#[derive(Debug, Default)]
struct Collected {
    lines: Vec<(Option<UnixSeconds>, LogLine)>,
    lost: u64,
}

impl Collected {
    /// Adds a message of the kernel if it is ours. One that starts like ours but continues differently was
    /// damaged.
    fn take(&mut self, seen: Option<UnixSeconds>, message: &str) {
        if !message.starts_with(PREFIX) {
            return;
        }
        match LogLine::parse(message) {
            Some(line) => self.lines.push((seen, line)),
            None => self.lost += 1,
        }
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= MOST_LINES
    }

    fn until(self, cursor: Cursor) -> Batch {
        Batch { lines: self.lines, lost: self.lost, cursor }
    }
}

#[cfg(test)]
mod tests;
