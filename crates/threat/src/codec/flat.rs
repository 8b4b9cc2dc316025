//! A list as a host keeps it on its own disk: as large as its prefixes, read and written in one
//! pass within a fixed memory bound, so that a delta finds its base at the price of reading it.
//!
//! | bytes | what |
//! |---|---|
//! | 5 | `XTL`, version 1, `F` |
//! | 5 each | IPv4 prefixes: the length, the first address in network order |
//! | 1 | 255: no more IPv4 |
//! | 17 each | IPv6 prefixes in the same way |
//! | 1 | 255: no more IPv6 |
//! | 8 + 8 | how many there were, IPv4 and IPv6, big-endian |
//! | 32 | digest of the set |
//!
//! Numbers and digest stand at the end, so a list can be written whose length is not known yet. A
//! file without its end is no list: a kill while writing is found by whoever reads. Still, write to
//! a new file and rename it, or the list that was there is lost.

use std::io::{self, Read, Write};

use thiserror::Error;

use super::range_coder::Source;
use super::{ByFamily, CodecError, Kind, Limits, read_kind, write_head};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester};
use crate::word::Word;

/// Stands where a length could, and is none.
const END: u8 = u8::MAX;

/// What a flat list says about itself at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Which set it is.
    pub digest: Digest,
    /// IPv4 prefixes.
    pub v4: u64,
    /// IPv6 prefixes.
    pub v6: u64,
}

/// Writes a flat list, prefix by prefix; buffers by itself.
pub struct FlatWriter<W> {
    writer: W,
    buffer: Vec<u8>,
    order: Order,
    family: Family,
    digest: Expected,
    v4: u64,
    v6: u64,
}

/// Where the digest comes from.
enum Expected {
    /// It is computed along the way.
    Computed(Box<Digester>),
    /// Somebody else answers for it.
    Given(Digest),
}

impl Expected {
    fn add(&mut self, prefix: Prefix) {
        if let Self::Computed(digester) = self {
            digester.add(prefix);
        }
    }
}

/// Why a flat list can't be written. The file is to be thrown away.
#[derive(Debug, Error)]
pub enum FlatError {
    /// Writing failed.
    #[error("writing the threat list failed; check whether the disk is full")]
    Write(#[source] io::Error),
    /// A prefix that is not behind the one before in normal form.
    #[error("{0} does not follow the prefix before it in normal form")]
    Order(Prefix),
}

/// Bytes that are written at a time.
const TOGETHER: usize = 32 << 10;

impl<W: Write> FlatWriter<W> {
    /// A writer of a list that is still empty. Writes nothing yet.
    pub fn new(writer: W) -> Self {
        Self::with(writer, Expected::Computed(Box::default()))
    }

    /// The same for a list of which somebody else checks that it has this digest, as
    /// [`super::Delta::steps`] and [`super::SnapshotReader`] do at their end. Saves computing it
    /// once more; with a digest that is not the list's, no reader accepts what is written.
    pub fn of(writer: W, digest: Digest) -> Self {
        Self::with(writer, Expected::Given(digest))
    }

    fn with(writer: W, digest: Expected) -> Self {
        let buffer = write_head(Kind::Flat, &[], &[]);
        let (order, family) = (Order::default(), Family::V4);
        Self { writer, buffer, order, family, digest, v4: 0, v6: 0 }
    }

    /// Writes the next prefix: IPv4 first, ascending, in normal form, as every reader of this crate
    /// gives them.
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

    /// Writes the end, and gives back the writer (a file is still to be synced) and what was
    /// written.
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

/// Reads a flat list prefix by prefix, within a fixed memory bound. What came out counts only when
/// the end was reached without an error: numbers and digest are checked there.
pub struct FlatReader<R> {
    source: Source<R>,
    family: Family,
    order: Order,
    /// Nothing when somebody else checks.
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
    /// Reads the head.
    ///
    /// # Errors
    /// When it is not the head of a flat list.
    pub fn new(reader: R, limits: Limits) -> Result<Self, CodecError> {
        Self::with(reader, limits, Some(Digester::default()))
    }

    /// The same for a base that [`super::Delta::read`] or [`super::Delta::steps`] goes through:
    /// they check the digest themselves, so it is not computed twice. Never read a list that
    /// nobody checks in this way.
    ///
    /// # Errors
    /// When it is not the head of a flat list.
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

    /// The next prefix, in normal form; nothing at the end.
    ///
    /// # Errors
    /// When the bytes are damaged, end too early or say more than the limits; after that, nothing
    /// more comes.
    pub fn read(&mut self) -> Result<Option<Prefix>, CodecError> {
        if !matches!(self.state, State::Open) {
            return Ok(None);
        }
        self.step().inspect_err(|_| self.state = State::Failed)
    }

    /// What the list is; nothing before its end was reached and found right.
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

    /// The next IPv4 prefix; nothing behind the last of them.
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

    /// The next IPv6 prefix; nothing at the end of the list.
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

/// Sees to it that prefixes come in normal form: ascending, disjoint, and never both halves of one.
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
