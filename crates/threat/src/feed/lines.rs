//! Feeds of lines: the bounded reader, and plain lists.

use std::io::{BufRead, BufReader, Cursor, Read};

use super::collector::{Collector, Entry};
use super::{Change, FeedError, Levels};
use crate::text::{self, Reason};

/// Bytes that are looked at before the format's own reader.
const HEAD: u64 = 512;

/// The reader, after a look at what arrives: web pages, compressed files and other charsets have
/// names of their own, so that an operator knows what to look for.
pub(super) fn sniffed(mut reader: impl Read) -> Result<impl BufRead, FeedError> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(FeedError::Read)?;
    let compressed: [&[u8]; 5] =
        [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"BZh", b"\xfd7zXZ"];
    if compressed.iter().any(|magic| head.starts_with(magic)) {
        return Err(FeedError::Compressed);
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") || head.contains(&0) {
        return Err(FeedError::Charset);
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        head.drain(..3);
    }
    if head.trim_ascii_start().starts_with(b"<") {
        return Err(FeedError::Html);
    }
    Ok(BufReader::with_capacity(64 << 10, Cursor::new(head).chain(reader)))
}

/// Gives every line to `each`, without its end, with its number from 1. A line beyond the limit
/// ends the feed before it is in memory.
pub(super) fn each_line(
    mut reader: impl BufRead,
    collector: &mut Collector<'_>,
    mut each: impl FnMut(u64, &[u8], &mut Collector<'_>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let limit = collector.limits.line_bytes;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = reader.by_ref().take(limit as u64 + 2);
        let bytes = bounded.read_until(b'\n', &mut line).map_err(FeedError::Read)?;
        if bytes == 0 {
            break;
        }
        collector.read(bytes)?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            return Err(FeedError::LineTooLong { line: number, limit });
        }
        each(number, line, collector)?;
    }
    Ok(())
}

/// Plain lists.
pub(super) fn plain(
    reader: impl BufRead,
    levels: Option<&Levels>,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    each_line(reader, collector, |number, line, collector| {
        let comment = line.iter().position(|byte| b"#;".contains(byte)).unwrap_or(line.len());
        let entry = line[..comment].trim_ascii();
        if entry.is_empty() {
            return Ok(());
        }
        let read = plain_entry(entry, levels);
        collector.entry(number, line, read, Change::Listed)
    })
}

fn plain_entry(entry: &[u8], levels: Option<&Levels>) -> Result<Entry, Reason> {
    let Some(space) = entry.iter().position(u8::is_ascii_whitespace) else {
        return text::range(entry).map(Entry::from);
    };
    let rest = entry[space..].trim_ascii_start();
    if rest.starts_with(b"-") || entry[..space].ends_with(b"-") {
        return text::range(entry).map(Entry::from);
    }
    let range = text::range(&entry[..space])?;
    let levels = levels.ok_or(Reason::TrailingText)?;
    let count = text::decimal(rest, u32::MAX).ok_or(Reason::Confidence)?;
    Ok(Entry { confidence: Some(levels.confidence(count)), ..range.into() })
}
