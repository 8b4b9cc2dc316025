//! What our rules wrote to the kernel's log, read once and continued where the last run ended.
//!
//! Three places keep that log: journald, the files of a syslog daemon, the kernel's own ring. The first
//! that is there is read. Lines that only the kernel can have written are believed: anyone may log a
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

/// Lines that one run takes at most; the next run goes on from there.
const MOST_LINES: usize = 10_000;

/// What one run read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Our lines, with the time they were written where the source tells.
    pub lines: Vec<(Option<UnixSeconds>, LogLine)>,
    /// At most so many of our lines were missed: overwritten, rotated away or damaged.
    pub lost: u64,
    /// Where to go on. To be kept only once the lines are safe.
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

/// Where the kernel's log may be found.
#[derive(Debug, Clone)]
pub struct Sources {
    /// journald runs when this exists.
    pub journal_socket: PathBuf,
    /// Reads the journal.
    pub journalctl: PathBuf,
    /// Where syslog daemons write kernel lines.
    pub files: Vec<PathBuf>,
    /// The kernel's ring.
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

/// When and in which boot a run takes place.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Seconds since 1970.
    pub now: UnixSeconds,
    /// Seconds since this boot.
    pub uptime: u64,
    /// This boot.
    pub boot_id: &'a str,
}

impl Sources {
    /// Reads what our rules wrote since `cursor`. Without a cursor, or with one of another source,
    /// nothing is read but the place to begin at; `None` when no source is there.
    ///
    /// # Errors
    /// When the source that is there can't be read.
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

/// A file that was not written since this boot belongs to a syslog daemon that is gone: booting alone
/// makes the kernel write.
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
    /// Takes a message of the kernel, if it is ours. One that begins like ours and goes on otherwise
    /// was damaged on its way.
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
