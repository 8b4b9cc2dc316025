//! The log file of a syslog daemon, which may be rotated at any time: renamed, or copied and truncated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::{Batch, Collected};
use crate::log_line::Cursor;

/// A longer line is not one of ours.
const LONGEST_LINE: usize = 64 << 10;

/// The number of bytes before the offset from which the mark is computed.
const MARKED: u64 = 256;

pub(super) fn read(path: &Path, cursor: Option<&Cursor>) -> io::Result<Batch> {
    let mut file = File::open(path)?;
    let mut collected = Collected::default();
    let begin = match cursor {
        Some(Cursor::File { path: old, inode, offset, mark }) if old == path => {
            if is_at(&mut file, *inode, *offset, mark)? {
                *offset
            } else {
                match rotated(path, *inode, *offset, mark)? {
                    Some(mut rest) => {
                        let end = read_from(&mut rest, *offset, &mut collected)?;
                        if collected.is_full() {
                            return Ok(collected.until(place(path, &mut rest, end)?));
                        }
                    }
                    // Truncated, compressed or removed: it is unknown whether it contained lines of ours.
                    None => collected.lost += 1,
                }
                0
            }
        }
        _ => {
            let end = file.metadata()?.len();
            return Ok(collected.until(place(path, &mut file, end)?));
        }
    };
    let end = read_from(&mut file, begin, &mut collected)?;
    Ok(collected.until(place(path, &mut file, end)?))
}

fn place(path: &Path, file: &mut File, offset: u64) -> io::Result<Cursor> {
    let inode = file.metadata()?.ino();
    Ok(Cursor::File { path: path.to_owned(), inode, offset, mark: mark(file, offset)? })
}

/// Whether this is the file that was read up to `offset`.
fn is_at(file: &mut File, inode: u64, offset: u64, expected: &str) -> io::Result<bool> {
    let meta = file.metadata()?;
    Ok(meta.ino() == inode && offset <= meta.len() && mark(file, offset)? == expected)
}

/// The file that had this path in the last run, if it was renamed as logrotate(8) does.
fn rotated(path: &Path, inode: u64, offset: u64, mark: &str) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    match File::open(PathBuf::from(name)) {
        Ok(mut file) => Ok(is_at(&mut file, inode, offset, mark)?.then_some(file)),
        Err(_) => Ok(None),
    }
}

/// The start of the SHA-256 of the bytes before `offset`.
fn mark(file: &mut File, offset: u64) -> io::Result<String> {
    let size = offset.min(MARKED);
    file.seek(SeekFrom::Start(offset - size))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    let sum = digest(&SHA256, &bytes);
    Ok(sum.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Reads complete lines; returns the offset after the last of them.
fn read_from(file: &mut File, mut offset: u64, collected: &mut Collected) -> io::Result<u64> {
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while !collected.is_full() {
        line.clear();
        let size = read_line(&mut reader, &mut line)?;
        if !line.ends_with(b"\n") {
            break;
        }
        offset += size;
        if let Some(message) = kernel_message(&String::from_utf8_lossy(&line)) {
            collected.take(None, message);
        }
    }
    Ok(offset)
}

/// Reads up to and including the next line break, keeping at most [`LONGEST_LINE`] bytes. Returns the number
/// of bytes read.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut size = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(size);
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        if line.len() + taken > LONGEST_LINE {
            line.clear();
        }
        if taken <= LONGEST_LINE {
            line.extend_from_slice(&buffer[..taken]);
        }
        reader.consume(taken);
        size += taken as u64;
        if end.is_some() {
            return Ok(size);
        }
    }
}

/// `DATE HOST kernel: [  12.345678] MESSAGE`, the clock optional. The tag must be the first one: a
/// program may write the rest of the line as it likes, but not the tag before it.
pub(super) fn kernel_message(line: &str) -> Option<&str> {
    let (head, message) = line.trim_end().split_once(": ")?;
    if head.rsplit(' ').next() != Some("kernel") {
        return None;
    }
    match message.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((clock, message)) if clock.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b' ')) => {
            Some(message)
        }
        _ => Some(message),
    }
}
