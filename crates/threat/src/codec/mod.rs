//! Snapshots and deltas: every set and every change of a set has exactly one encoding.
//!
//! | bytes | what |
//! |---|---|
//! | 3 | `XTL` |
//! | 1 | version, 1 |
//! | 1 | `S` snapshot or `D` delta (`F`: a [flat list](mod@flat), which is never transferred) |
//! | 32 | delta only: digest of its base |
//! | 32 | digest of the resulting set |
//! | varints | snapshot: IPv4 and IPv6 prefixes. Delta: touched IPv4, touched IPv6, added IPv4, added IPv6 |
//! | rest | the prefixes, by an adaptive range coder (`range_coder`, `model`) |
//!
//! The digests ([`crate::ThreatSet::digest`]) are the checksum: a reader that reaches the end has verified
//! the digest of its content. Files are not signed here.
//!
//! Why a range coder: on real lists of 18,000 to 210,000 entries its snapshots took a fifth to a quarter less
//! than gaps in Rice codes with a parameter for every 64, a third less than with one parameter for all or
//! Elias-Fano, and it adapts to a small delta without a table. Decoding needs its models (below 200 KiB) and
//! one input buffer, whatever the length of the list; a million addresses take about 0.1 s.

mod by_family;
mod delta;
pub mod flat;
mod model;
pub mod path;
mod range_coder;
mod snapshot;
mod steps;

use std::io::{self, Read};

use thiserror::Error;

pub use by_family::{ByFamily, Families};
pub use delta::{Delta, delta};
pub use flat::{FlatReader, FlatWriter};
pub use snapshot::{SnapshotReader, read_snapshot, snapshot};
pub use steps::{Step, Steps};

use crate::set::Digest;
use range_coder::Source;

/// The limits of a reader; a file that declares more is refused before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Prefixes of a snapshot; touched and added prefixes of a delta, and the same number of cut-out parts.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 16_000_000 }
    }
}

/// Why bytes are not a snapshot or delta.
#[derive(Debug, Error)]
pub enum CodecError {
    /// Reading failed.
    #[error("reading the threat list failed; fetch it again")]
    Read(#[from] io::Error),
    /// The bytes end too early.
    #[error("the threat list ends too early; fetch it again")]
    Truncated,
    /// The bytes continue after the end.
    #[error("bytes follow the end of the threat list; fetch it again")]
    Trailing,
    /// It is of another kind.
    #[error("this is not a threat list {0}")]
    NotThis(Kind),
    /// A version this program does not know.
    #[error("the threat list has format version {0}, this program knows 1; update this program")]
    Version(u8),
    /// It declares more prefixes than the limit.
    #[error("the threat list declares {declared} prefixes, more than the limit of {limit}")]
    TooMany {
        /// The declared number.
        declared: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that no encoder writes.
    #[error("the threat list is damaged; fetch it again")]
    Damaged,
    /// The delta has another base than the given one.
    #[error("the delta changes list {expected}, but the list here is {actual}; fetch the snapshot")]
    WrongBase {
        /// The base of the delta.
        expected: Digest,
        /// The given set.
        actual: Digest,
    },
    /// The content has another digest than the header says.
    #[error("the threat list should be {expected}, but is {actual}; fetch it again")]
    WrongContent {
        /// The digest in the header.
        expected: Digest,
        /// The digest of the content.
        actual: Digest,
    },
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A complete set.
    Snapshot,
    /// A change of a set.
    Delta,
    /// A complete set as a host stores it.
    Flat,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
            Self::Flat => "flat list",
        })
    }
}

const MAGIC: [u8; 3] = *b"XTL";
const VERSION: u8 = 1;

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Snapshot => b'S',
            Self::Delta => b'D',
            Self::Flat => b'F',
        }
    }
}

fn write_head(kind: Kind, digests: &[Digest], counts: &[usize]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, kind.byte()]);
    digests.iter().for_each(|digest| bytes.extend(digest.0));
    counts.iter().for_each(|&count| write_varint(&mut bytes, count as u64));
    bytes
}

fn read_kind<R: Read>(source: &mut Source<R>, kind: Kind) -> Result<(), CodecError> {
    let head: [u8; 5] = source.array()?;
    if head[..3] != MAGIC {
        return Err(CodecError::NotThis(kind));
    }
    match (head[3], head[4]) {
        (VERSION, byte) if byte == kind.byte() => Ok(()),
        (VERSION, _) => Err(CodecError::NotThis(kind)),
        (version, _) => Err(CodecError::Version(version)),
    }
}

/// Reads counts whose sum is within the limit.
fn read_counts<const N: usize, R: Read>(
    source: &mut Source<R>,
    limits: Limits,
) -> Result<[u64; N], CodecError> {
    let mut counts = [0; N];
    for count in &mut counts {
        *count = read_varint(source)?;
    }
    let declared = counts.iter().fold(0u64, |sum, &count| sum.saturating_add(count));
    if declared > limits.entries {
        return Err(CodecError::TooMany { declared, limit: limits.entries });
    }
    Ok(counts)
}

/// Seven bits a byte, lowest first; the high bit says that more follow.
fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_varint<R: Read>(source: &mut Source<R>) -> Result<u64, CodecError> {
    let mut number = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = source.byte()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // A last byte of zero would be a second way to write the number.
            return if byte == 0 && shift > 0 { Err(CodecError::Damaged) } else { Ok(number) };
        }
    }
    Err(CodecError::Damaged)
}
