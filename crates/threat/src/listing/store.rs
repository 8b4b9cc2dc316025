//! The format of a listing on the platform's disk, so that it can answer "why" after a restart without
//! fetching feeds again.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `XTF`, version 1 |
//! | varints | IPv4 entries, IPv6 entries |
//! | rest | entries, ascending: the distance from the previous start as a varint, then a byte with what differs from the previous entry (1 length, 2 confidence, 4 age, 8 expiry), then those values |
//! | 32 | SHA-256 of everything before |
//!
//! Some 3 bytes per entry on real lists, before any compression.

use ring::digest::{SHA256, digest};
use thiserror::Error;

use super::Listing;
use super::half::{Half, NEVER, Row, UNKNOWN};
use crate::entry::{Confidence, Net};
use crate::word::Word;

const HEAD: [u8; 4] = *b"XTF\x01";
const DIGEST: usize = 32;

const LENGTH: u8 = 1;
const CONFIDENCE: u8 = 2;
const SINCE: u8 = 4;
const UNTIL: u8 = 8;

/// Why bytes are not a stored listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Another format or version.
    #[error("this is not a stored feed of version 1; fetch the feed again")]
    NotThis,
    /// The digest does not match.
    #[error("the stored feed is damaged; fetch the feed again")]
    Damaged,
}

/// The bytes of `listing`.
#[must_use]
pub fn encode(listing: &Listing) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    write_varint(&mut bytes, listing.v4.len() as u128);
    write_varint(&mut bytes, listing.v6.len() as u128);
    encode_half(&mut bytes, &listing.v4);
    encode_half(&mut bytes, &listing.v6);
    let digest = digest(&SHA256, &bytes);
    bytes.extend_from_slice(digest.as_ref());
    bytes
}

/// Decodes a stored listing.
///
/// # Errors
/// If `bytes` are not exactly the encoding of a listing.
pub fn decode(bytes: &[u8]) -> Result<Listing, StoreError> {
    if !bytes.starts_with(&HEAD) {
        return Err(StoreError::NotThis);
    }
    let (content, expected) = bytes.split_last_chunk::<DIGEST>().ok_or(StoreError::Damaged)?;
    if digest(&SHA256, content).as_ref() != expected {
        return Err(StoreError::Damaged);
    }
    let mut source = Source(&content[HEAD.len()..]);
    decode_content(&mut source).filter(|_| source.0.is_empty()).ok_or(StoreError::Damaged)
}

fn decode_content(source: &mut Source<'_>) -> Option<Listing> {
    let (v4, v6) = (source.varint()?, source.varint()?);
    Some(Listing { v4: decode_half(source, v4)?, v6: decode_half(source, v6)? })
}

/// The initial "previous entry".
fn before_all<T: Word>() -> Row<T> {
    let net = Net::host(T::default());
    Row { net, confidence: Confidence::NONE, since: UNKNOWN, until: NEVER }
}

fn encode_half<T: Word>(bytes: &mut Vec<u8>, half: &Half<T>) {
    let mut before = before_all();
    for row in half.rows() {
        write_varint(bytes, (row.net.first() - before.net.first()).into());
        let differs = |differs: bool, flag: u8| if differs { flag } else { 0 };
        bytes.push(
            differs(row.net.bits() != before.net.bits(), LENGTH)
                | differs(row.confidence != before.confidence, CONFIDENCE)
                | differs(row.since != before.since, SINCE)
                | differs(row.until != before.until, UNTIL),
        );
        if row.net.bits() != before.net.bits() {
            bytes.push(row.net.bits());
        }
        if row.confidence != before.confidence {
            bytes.push(row.confidence.percent());
        }
        if row.since != before.since {
            write_varint(bytes, difference(before.since, row.since));
        }
        if row.until != before.until {
            write_varint(bytes, difference(before.until, row.until));
        }
        before = row;
    }
}

fn decode_half<T: Word>(source: &mut Source<'_>, entries: u128) -> Option<Half<T>> {
    // An entry takes at least two bytes, so no count allocates more memory than the bytes justify.
    let entries = usize::try_from(entries).ok().filter(|&entries| entries <= source.0.len() / 2)?;
    let mut half = Half::with_capacity(entries);
    let mut before = before_all();
    for at in 0..entries {
        let gap = T::truncated(source.varint().filter(|&gap| gap <= T::MAX.into())?);
        let differs = source.byte()?;
        let value = |flag: u8| differs & flag != 0;
        let len = if value(LENGTH) { source.byte()? } else { before.net.bits() };
        let confidence =
            if value(CONFIDENCE) { Confidence::new(source.byte()?)? } else { before.confidence };
        let since = if value(SINCE) { source.moved(before.since)? } else { before.since };
        let until = if value(UNTIL) { source.moved(before.until)? } else { before.until };
        if gap > T::MAX - before.net.first() {
            return None;
        }
        let net = Net::new(before.net.first() + gap, len)?;
        if at > 0 && net <= before.net {
            return None;
        }
        before = Row { net, confidence, since, until };
        half.push(before);
    }
    Some(half)
}

/// The difference of two numbers modulo their range, with short distances in both directions being small.
fn difference(from: u32, to: u32) -> u128 {
    let way = to.wrapping_sub(from).cast_signed();
    u128::from((way << 1 ^ way >> 31).cast_unsigned())
}

/// Seven bits a byte, lowest first; the high bit says that more follow.
fn write_varint(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u128> {
        let mut number = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The number at the end of a [`difference`].
    fn moved(&mut self, from: u32) -> Option<u32> {
        let way = u32::try_from(self.varint()?).ok()?;
        let way = (way >> 1).cast_signed() ^ -(way & 1).cast_signed();
        Some(from.wrapping_add(way.cast_unsigned()))
    }
}
