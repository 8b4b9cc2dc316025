//! Reads the table `Packages` of an SQLite database, and nothing else of SQLite.
//! <https://www.sqlite.org/fileformat2.html>

use std::collections::HashMap;

use super::header::MOST_BYTES;
use super::source::{Fault, Reader, Source, be16, be32};

const MAGIC: &[u8] = b"SQLite format 3\0";
/// The most levels of a tree; a table of a billion rows has fewer.
const MOST_LEVELS: usize = 16;
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// Calls `each` for the second column of every row: `CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY
/// AUTOINCREMENT, blob BLOB NOT NULL)`.
pub(super) fn headers(
    source: &dyn Source,
    log: Option<&dyn Source>,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), Fault> {
    let mut database = Database::open(source, log)?;
    let mut root = None;
    database.rows(1, 0, &mut |row| {
        // type, name, tbl_name, rootpage, sql
        if column(row, 0) == Some(b"table") && column(row, 1) == Some(b"Packages") {
            root = column(row, 3).map(number);
        }
    })?;
    let root = root.ok_or(Fault::Damaged("it has no table of packages"))?;
    let mut whole = true;
    database.rows(root, 0, &mut |row| match column(row, 1) {
        Some(blob) => each(blob),
        None => whole = false,
    })?;
    if whole { Ok(()) } else { Err(DAMAGED) }
}

const DAMAGED: Fault = Fault::Damaged("a row of its table of packages can't be read");

struct Database<'a> {
    file: Reader<'a>,
    log: Option<Log<'a>>,
    page_size: usize,
    /// Bytes of a page that contain rows.
    usable: usize,
}

impl<'a> Database<'a> {
    fn open(source: &'a dyn Source, log: Option<&'a dyn Source>) -> Result<Self, Fault> {
        let mut file = Reader::new(source)?;
        let mut head = [0; 100];
        file.read(0, &mut head)?;
        if !head.starts_with(MAGIC) {
            return Err(Fault::Damaged("it does not start like an SQLite database"));
        }
        let page_size = match be16(&head, 16) {
            Some(1) => 65_536,
            Some(size) if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return Err(Fault::Damaged("its page size is zero")),
        };
        let usable = page_size - usize::from(head[20]);
        if usable < 480 {
            return Err(Fault::Damaged("its pages have no room"));
        }
        let log = match log {
            Some(log) => Log::open(log, page_size)?,
            None => None,
        };
        Ok(Self { file, log, page_size, usable })
    }

    fn page(&mut self, number: u32) -> Result<Vec<u8>, Fault> {
        let mut page = vec![0; self.page_size];
        if let Some(log) = &mut self.log
            && let Some(&at) = log.pages.get(&number)
        {
            log.file.read(at, &mut page)?;
            return Ok(page);
        }
        let before = number.checked_sub(1).ok_or(Fault::Damaged("it refers to page 0"))?;
        self.file.read(u64::from(before) * self.page_size as u64, &mut page)?;
        Ok(page)
    }

    /// All rows of a table's tree, in order.
    fn rows(
        &mut self,
        number: u32,
        level: usize,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        const TREE: Fault = Fault::Damaged("a page of its table of packages can't be read");
        if level >= MOST_LEVELS {
            return Err(Fault::Damaged("its pages refer to each other in a circle"));
        }
        let page = self.page(number)?;
        // The first page begins with the database's own header.
        let start = if number == 1 { 100 } else { 0 };
        let head = page.get(start..).ok_or(TREE)?;
        let cells = usize::from(be16(head, 3).ok_or(TREE)?);
        let (kind, width) = match head.first() {
            Some(&INTERIOR) => (INTERIOR, 12),
            Some(&LEAF) => (LEAF, 8),
            _ => return Err(TREE),
        };
        for cell in 0..cells {
            let at = usize::from(be16(head, width + 2 * cell).ok_or(TREE)?);
            let cell = page.get(at..).ok_or(TREE)?;
            if kind == INTERIOR {
                self.rows(be32(cell, 0).ok_or(TREE)?, level + 1, each)?;
            } else {
                let row = self.row(cell)?;
                each(&row);
            }
        }
        if kind == INTERIOR {
            self.rows(be32(head, 8).ok_or(TREE)?, level + 1, each)?;
        }
        Ok(())
    }

    /// A row's payload, of which the end may be omitted: see [`MOST_BYTES`].
    fn row(&mut self, cell: &[u8]) -> Result<Vec<u8>, Fault> {
        let (length, after_length) = varint(cell, 0).ok_or(DAMAGED)?;
        let (_, start) = varint(cell, after_length).ok_or(DAMAGED)?;
        let length = usize::try_from(length).map_err(|_| DAMAGED)?;
        let local = self.local(length);
        let mut payload = cell.get(start..start + local).ok_or(DAMAGED)?.to_vec();
        let wanted = length.min(MOST_BYTES);
        let mut next = be32(cell, start + local).unwrap_or(0);
        while payload.len() < wanted {
            let page = self.page(next)?;
            next = be32(&page, 0).ok_or(DAMAGED)?;
            let rest = page.get(4..self.usable).ok_or(DAMAGED)?;
            payload.extend(&rest[..rest.len().min(length - payload.len())]);
        }
        Ok(payload)
    }

    /// The number of payload bytes in the leaf page itself.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// The write-ahead log: pages newer than the database's.
struct Log<'a> {
    file: Reader<'a>,
    /// The position of a page's last committed content.
    pages: HashMap<u32, u64>,
}

impl<'a> Log<'a> {
    /// `None` if it is empty or belongs to another database.
    fn open(source: &'a dyn Source, page_size: usize) -> Result<Option<Self>, Fault> {
        let mut file = Reader::new(source)?;
        if file.size() < LOG_HEAD as u64 {
            return Ok(None);
        }
        let mut head = [0; LOG_HEAD];
        file.read(0, &mut head)?;
        let word = |at| be32(&head, at).unwrap_or(0);
        // 0x377f0682: checksums of little-endian words; …83: of big-endian ones.
        if word(0) & 0xffff_fffe != 0x377f_0682 || word(8) as usize != page_size {
            return Ok(None);
        }
        let big_endian = word(0) & 1 != 0;
        let mut sum = checksum((0, 0), &head[..24], big_endian);
        if sum != (word(24), word(28)) {
            return Ok(None);
        }
        let mut pages = HashMap::new();
        let mut pending = Vec::new();
        let mut frame = vec![0; FRAME_HEAD + page_size];
        let mut at = LOG_HEAD as u64;
        while at + frame.len() as u64 <= file.size() {
            file.read(at, &mut frame)?;
            let word = |at| be32(&frame, at).unwrap_or(0);
            let is_of_this_log = frame[8..16] == head[16..24];
            sum = checksum(checksum(sum, &frame[..8], big_endian), &frame[24..], big_endian);
            if !is_of_this_log || sum != (word(16), word(20)) {
                break;
            }
            pending.push((word(0), at + FRAME_HEAD as u64));
            // The last frame of a transaction contains the database's size.
            if word(4) != 0 {
                pages.extend(pending.drain(..));
            }
            at += frame.len() as u64;
        }
        let file = Reader::new(source)?;
        Ok(Some(Self { file, pages }))
    }
}

fn checksum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}

/// A number of one to nine bytes, and the offset after it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for index in 0..9 {
        let byte = *bytes.get(at + index)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

/// A row's column as bytes, truncated if the row is.
fn column(row: &[u8], wanted: usize) -> Option<&[u8]> {
    let (header, mut at) = varint(row, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut start = header;
    let mut index = 0;
    while at < header {
        let (kind, next) = varint(row, at)?;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            _ => usize::try_from(kind.checked_sub(12)? / 2).ok()?,
        };
        if index == wanted {
            let end = start.checked_add(size)?.min(row.len());
            return row.get(start..end);
        }
        start = start.checked_add(size)?;
        at = next;
        index += 1;
    }
    None
}

/// An integer column; only positive ones of 32 bits occur here.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value: u32, byte| value << 8 | u32::from(*byte))
}
