//! Feeds of lines: the limited reader, and plain lists.

use std::io::{BufRead, BufReader, Cursor, Read};

use super::collector::{Collector, Entry};
use super::{FeedError, Levels, Presence};
use crate::text::{self, Reason};

/// The number of bytes that are checked before the format's own parser.
const HEAD: u64 = 512;

/// The reader, after a check of the first bytes: web pages, compressed files and other character sets have
/// their own errors, so that an operator knows what to correct.
pub(super) fn sniffed(mut reader: impl Read) -> Result<impl BufRead, FeedError> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head).map_err(FeedError::Read)?;
    // The caller has removed one layer of gzip or zstd.
    let compressed: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "gzip within gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd within zstd"),
        (b"PK\x03\x04", "zip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ", "xz"),
    ];
    if let Some((_, form)) = compressed.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(FeedError::Compressed { form });
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

/// Calls `each` with every line, without its line break, with its number from 1. A line beyond the limit ends
/// the feed before it is in memory.
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
        collector.entry(number, line, read, Presence::Listed)
    })
}

fn plain_entry(entry: &[u8], levels: Option<&Levels>) -> Result<Entry, Reason> {
    let (range, rest) = first_range(entry);
    let range = text::range(range)?;
    if rest.is_empty() {
        return Ok(range.into());
    }
    let levels = levels.ok_or(Reason::TrailingText)?;
    let count = text::decimal(rest, u32::MAX).ok_or(Reason::Confidence)?;
    Ok(Entry { confidence: Some(levels.confidence(count)), ..range.into() })
}

/// An address, prefix or range with or without spaces around its `-`, and the rest of the line.
fn first_range(entry: &[u8]) -> (&[u8], &[u8]) {
    let word = |from: usize| {
        let spaces = entry[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let begin = from + spaces;
        let length = entry[begin..].iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        begin..begin + length
    };
    let first = word(0);
    let second = word(first.end);
    let end = match (&entry[first.clone()], &entry[second.clone()]) {
        (_, b"-") => word(second.end).end,
        (first, next) if first.ends_with(b"-") || next.starts_with(b"-") => second.end,
        _ => first.end,
    };
    (&entry[..end], entry[end..].trim_ascii())
}
