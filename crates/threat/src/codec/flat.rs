//! The format of a list on a host's disk: the plain prefixes, read and written in one pass with fixed memory,
//! so that a delta can be applied by reading its base once.
//!
//! | bytes | what |
//! |---|---|
//! | 5 | `XTL`, version 1, `F` |
//! | 5 each | IPv4 prefixes: the length, the first address in network order |
//! | 1 | 255: no more IPv4 |
//! | 17 each | IPv6 prefixes in the same way |
//! | 1 | 255: no more IPv6 |
//! | 8 + 8 | number of IPv4 and of IPv6 prefixes, big-endian |
//! | 32 | digest of the set |
//!
//! Numbers and digest are at the end, so a list can be written before its length is known. A file without its
//! end is invalid, so a kill while writing is detected by the reader. Nevertheless write to a new file and
//! rename it, so that the existing list is not lost.

use std::io::{self, Read, Write};

use thiserror::Error;

use super::range_coder::Source;
use super::{ByFamily, CodecError, Kind, Limits, read_kind, write_head};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester};
use crate::word::Word;

/// Marks the end in place of a length, which it can't be.
const END: u8 = u8::MAX;

/// The trailer of a flat list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// The digest of the set.
    pub digest: Digest,
    /// The number of IPv4 prefixes.
    pub v4: u64,
    /// The number of IPv6 prefixes.
    pub v6: u64,
}

/// Writes a flat list prefix by prefix, with its own buffer.
pub struct FlatWriter<W> {
    writer: W,
    buffer: Vec<u8>,
    order: Order,
    family: Family,
    digest: Expected,
    v4: u64,
    v6: u64,
}

/// The origin of the digest.
enum Expected {
    /// It is computed while writing.
    Computed(Box<Digester>),
    /// The caller vouches for it.
    Given(Digest),
}

impl Expected {
    fn add(&mut self, prefix: Prefix) {
        if let Self::Computed(digester) = self {
            digester.add(prefix);
        }
    }
}

/// Why a flat list can't be written. The file is to be discarded.
#[derive(Debug, Error)]
pub enum FlatError {
    /// Writing failed.
    #[error("writing the threat list failed; check whether the disk is full")]
    Write(#[source] io::Error),
    /// A prefix that does not follow the previous one in normal form.
    #[error("{0} does not follow the prefix before it in normal form")]
    Order(Prefix),
}

/// The number of bytes written at a time.
const TOGETHER: usize = 32 << 10;

impl<W: Write> FlatWriter<W> {
    /// A writer of a list that is still empty. Does not write anything yet.
    pub fn new(writer: W) -> Self {
        Self::with(writer, Expected::Computed(Box::default()))
    }

    /// The same for a list whose digest is verified elsewhere, as [`super::Delta::steps`] and
    /// [`super::SnapshotReader`] do at their end. Avoids computing it again; with a wrong digest, no reader
    /// accepts the list.
    pub fn of(writer: W, digest: Digest) -> Self {
        Self::with(writer, Expected::Given(digest))
    }

    fn with(writer: W, digest: Expected) -> Self {
        let buffer = write_head(Kind::Flat, &[], &[]);
        let (order, family) = (Order::default(), Family::V4);
        Self { writer, buffer, order, family, digest, v4: 0, v6: 0 }
    }

    /// Writes the next prefix: IPv4 first, ascending, in normal form, as every reader of this crate returns
    /// them.
    ///
    /// # Errors
    /// When it is out of order, or writing fails.
    pub fn push(&mut self, prefix: Prefix) -> Result<(), FlatError> {
        if !self.order.accepts(prefix) {
            return Err(FlatError::Order(prefix));
        }
        match prefix {
            Prefix::V4(net) => {
                self.v4 += 1;
                self.buffer.push(net.bits());
                self.buffer.extend_from_slice(&net.first().to_be_bytes());
            }
            Prefix::V6(net) => {
                if self.family == Family::V4 {
                    self.family = Family::V6;
                    self.buffer.push(END);
                }
                self.v6 += 1;
                self.buffer.push(net.bits());
                self.buffer.extend_from_slice(&net.first().to_be_bytes());
            }
        }
        self.digest.add(prefix);
        if self.buffer.len() >= TOGETHER { self.flush() } else { Ok(()) }
    }

    /// Writes the trailer, and returns the writer (a file is still to be synced) and the trailer.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<(W, Trailer), FlatError> {
        let ends: &[u8] = if self.family == Family::V4 { &[END, END] } else { &[END] };
        self.buffer.extend_from_slice(ends);
        let digest = match self.digest {
            Expected::Computed(digester) => digester.finish(),
            Expected::Given(digest) => digest,
        };
        self.buffer.extend_from_slice(&self.v4.to_be_bytes());
        self.buffer.extend_from_slice(&self.v6.to_be_bytes());
        self.buffer.extend_from_slice(&digest.0);
        self.writer.write_all(&self.buffer).map_err(FlatError::Write)?;
        self.writer.flush().map_err(FlatError::Write)?;
        Ok((self.writer, Trailer { digest, v4: self.v4, v6: self.v6 }))
    }

    fn flush(&mut self) -> Result<(), FlatError> {
        self.writer.write_all(&self.buffer).map_err(FlatError::Write)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads a flat list prefix by prefix, with fixed memory. The prefixes are only valid once the end was
/// reached without an error: numbers and digest are verified there.
pub struct FlatReader<R> {
    source: Source<R>,
    family: Family,
    order: Order,
    /// `None` if the caller verifies it.
    digester: Option<Digester>,
    v4: u64,
    v6: u64,
    limits: Limits,
    state: State,
}

/// Whether there is more to read.
enum State {
    Open,
    Complete(Trailer),
    Failed,
}

impl<R: Read> FlatReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not the header of a flat list.
    pub fn new(reader: R, limits: Limits) -> Result<Self, CodecError> {
        Self::with(reader, limits, Some(Digester::default()))
    }

    /// The same for the base of [`super::Delta::read`] or [`super::Delta::steps`], which verify the digest
    /// themselves, so it is not computed twice. Never use it for a list that is not verified otherwise.
    ///
    /// # Errors
    /// When it is not the header of a flat list.
    pub fn as_base(reader: R, limits: Limits) -> Result<Self, CodecError> {
        Self::with(reader, limits, None)
    }

    fn with(reader: R, limits: Limits, digester: Option<Digester>) -> Result<Self, CodecError> {
        let mut source = Source::new(reader);
        read_kind(&mut source, Kind::Flat)?;
        Ok(Self {
            source,
            family: Family::V4,
            order: Order::default(),
            digester,
            v4: 0,
            v6: 0,
            limits,
            state: State::Open,
        })
    }

    /// The next prefix, in normal form; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are damaged, end too early or exceed the limits; after that, only `None` is returned.
    pub fn read(&mut self) -> Result<Option<Prefix>, CodecError> {
        if !matches!(self.state, State::Open) {
            return Ok(None);
        }
        self.step().inspect_err(|_| self.state = State::Failed)
    }

    /// The trailer; `None` before the end was reached and verified.
    #[must_use]
    pub fn trailer(&self) -> Option<Trailer> {
        match self.state {
            State::Complete(trailer) => Some(trailer),
            State::Open | State::Failed => None,
        }
    }

    fn step(&mut self) -> Result<Option<Prefix>, CodecError> {
        if self.family == Family::V4
            && let Some(net) = self.step_v4()?
        {
            return Ok(Some(Prefix::V4(net)));
        }
        Ok(self.step_v6()?.map(Prefix::V6))
    }

    /// The next IPv4 prefix; `None` after the last one.
    fn step_v4(&mut self) -> Result<Option<Net<u32>>, CodecError> {
        let bits = self.source.byte()?;
        if bits == END {
            self.family = Family::V6;
            return Ok(None);
        }
        let net = net(u32::from_be_bytes(self.source.array()?), bits)?;
        if !self.order.accepts_v4(net) {
            return Err(CodecError::Damaged);
        }
        self.v4 += 1;
        self.noted(Prefix::V4(net))?;
        Ok(Some(net))
    }

    /// The next IPv6 prefix; `None` at the end of the list.
    fn step_v6(&mut self) -> Result<Option<Net<u128>>, CodecError> {
        let bits = self.source.byte()?;
        if bits == END {
            return self.end().map(|()| None);
        }
        let net = net(u128::from_be_bytes(self.source.array()?), bits)?;
        if !self.order.accepts_v6(net) {
            return Err(CodecError::Damaged);
        }
        self.v6 += 1;
        self.noted(Prefix::V6(net))?;
        Ok(Some(net))
    }

    fn noted(&mut self, prefix: Prefix) -> Result<(), CodecError> {
        if let Some(digester) = &mut self.digester {
            digester.add(prefix);
        }
        let (declared, limit) = (self.v4 + self.v6, self.limits.entries);
        if declared > limit { Err(CodecError::TooMany { declared, limit }) } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), CodecError> {
        let numbers = [self.source.array()?, self.source.array()?].map(u64::from_be_bytes);
        let expected = Digest(self.source.array()?);
        self.source.end()?;
        if numbers != [self.v4, self.v6] {
            return Err(CodecError::Damaged);
        }
        let actual = self.digester.take().map_or(expected, Digester::finish);
        if actual != expected {
            return Err(CodecError::WrongContent { expected, actual });
        }
        self.state = State::Complete(Trailer { digest: expected, v4: self.v4, v6: self.v6 });
        Ok(())
    }
}

impl<R: Read> ByFamily for FlatReader<R> {
    fn next_v4(&mut self) -> Result<Option<Net<u32>>, CodecError> {
        if !matches!((&self.state, self.family), (State::Open, Family::V4)) {
            return Ok(None);
        }
        self.step_v4().inspect_err(|_| self.state = State::Failed)
    }

    fn next_v6(&mut self) -> Result<Option<Net<u128>>, CodecError> {
        while self.next_v4()?.is_some() {}
        if !matches!(self.state, State::Open) {
            return Ok(None);
        }
        self.step_v6().inspect_err(|_| self.state = State::Failed)
    }
}

impl<R: Read> Iterator for FlatReader<R> {
    type Item = Result<Prefix, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn net<T: Word>(start: T, bits: u8) -> Result<Net<T>, CodecError> {
    Net::new(start, bits).ok_or(CodecError::Damaged)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Checks that prefixes are in normal form: ascending, disjoint, and never both halves of one.
#[derive(Default)]
struct Order {
    v4: Option<Net<u32>>,
    v6: Option<Net<u128>>,
}

impl Order {
    fn accepts(&mut self, prefix: Prefix) -> bool {
        match prefix {
            Prefix::V4(net) => self.v6.is_none() && self.accepts_v4(net),
            Prefix::V6(net) => self.accepts_v6(net),
        }
    }

    fn accepts_v4(&mut self, net: Net<u32>) -> bool {
        self.v4.replace(net).is_none_or(|before| follows(before, net))
    }

    fn accepts_v6(&mut self, net: Net<u128>) -> bool {
        self.v6.replace(net).is_none_or(|before| follows(before, net))
    }
}

fn follows<T: Word>(before: Net<T>, net: Net<T>) -> bool {
    let halves = before.bits() == net.bits() && {
        let whole = net.bits().saturating_sub(1);
        Net::around(before.first(), whole) == Net::around(net.first(), whole)
    };
    net.first() > before.last() && !halves
}
