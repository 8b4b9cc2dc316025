//! The kernel's own ring buffer, `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg). Every record has a number,
//! so records overwritten before they were read appear as a gap.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{Batch, Collected, Moment};
use crate::log_line::Cursor;

/// The kernel returns one record per read and refuses a buffer that is too small for it.
const RECORD_BYTES: usize = 16 << 10;

/// A record's head and message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record<'a> {
    /// 0 is the kernel; programs that write to the ring get another.
    facility: u32,
    sequence: u64,
    /// Microseconds since boot.
    micros: u64,
    message: &'a str,
}

pub(super) fn read(path: &Path, cursor: Option<&Cursor>, moment: Moment<'_>) -> io::Result<Batch> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut ring = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let mut buffer = vec![0; RECORD_BYTES];
    drain(cursor, moment, move || {
        let size = ring.read(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
    })
}

/// Reads records from `next` until there are no more. Without a cursor of this kind only the current position
/// is returned; with a cursor of an earlier boot all records are new.
pub(super) fn drain(
    cursor: Option<&Cursor>,
    moment: Moment<'_>,
    mut next: impl FnMut() -> io::Result<String>,
) -> io::Result<Batch> {
    let begin = match cursor {
        Some(Cursor::Kmsg { boot_id, next }) if boot_id == moment.boot_id => Some(*next),
        Some(Cursor::Kmsg { .. }) => Some(0),
        _ => None,
    };
    let mut collected = Collected::default();
    let mut expected = begin.unwrap_or(0);
    while !collected.is_full() {
        let text = match next() {
            Ok(text) if text.is_empty() => break,
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Overwritten while being read: the next record's number shows how many.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(record) = parse(&text) else { continue };
        if record.sequence < expected {
            continue;
        }
        if begin.is_some() {
            collected.lost += record.sequence - expected;
            let booted = moment.now.saturating_sub(moment.uptime);
            if record.facility == 0 {
                collected.take(Some(booted + record.micros / 1_000_000), record.message);
            }
        }
        expected = record.sequence.saturating_add(1);
    }
    let boot_id = moment.boot_id.to_owned();
    Ok(collected.until(Cursor::Kmsg { boot_id, next: expected }))
}

/// `priority,sequence,microseconds,flags[,…];message`, then lines of properties.
fn parse(text: &str) -> Option<Record<'_>> {
    let (head, rest) = text.split_once(';')?;
    let mut fields = head.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    Some(Record {
        facility: priority >> 3,
        sequence: fields.next()?.parse().ok()?,
        micros: fields.next()?.parse().ok()?,
        message: rest.lines().next().unwrap_or_default(),
    })
}
