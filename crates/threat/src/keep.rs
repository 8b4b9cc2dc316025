//! A list on a host's disk: written from a snapshot, changed by a delta, read as elements.
//!
//! Files are passed as [`Read`] and [`Write`] trait objects, not as generics: host programs are optimized for
//! size and this crate for speed, and generic code, through which every entry goes, would be compiled with
//! the host program's setting.

use std::io::{Read, Write};

use thiserror::Error;

use crate::codec::flat::{FlatError, Trailer};
use crate::codec::{CodecError, Delta, FlatReader, FlatWriter, Limits, SnapshotReader};
use crate::entry::Prefix;
use crate::plan::{self, Expansion, Moves, MovesBuilder, Tally};
use crate::set::Digest;

/// Why a list can't be written. What was written is to be discarded.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The source is damaged, or does not result in the list.
    #[error(transparent)]
    Source(#[from] CodecError),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] FlatError),
}

/// Writes the flat list of a snapshot, which must be `target`. Returns its trailer, and the tally for
/// choosing an expansion.
///
/// # Errors
/// When the snapshot is damaged, is of another list, or writing fails.
pub fn unpack(
    snapshot: &mut dyn Read,
    target: Digest,
    out: &mut dyn Write,
) -> Result<(Trailer, Tally), KeepError> {
    let mut snapshot = SnapshotReader::new(snapshot, Limits::default())?;
    must_be(target, snapshot.digest())?;
    let mut writer = FlatWriter::of(out, target);
    let mut tally = Tally::default();
    while let Some(prefix) = snapshot.read()? {
        writer.push(prefix)?;
        tally.add(prefix);
    }
    let (_, trailer) = writer.finish()?;
    Ok((trailer, tally))
}

/// Writes the flat list that results from applying a delta to another one, which is read twice from start to
/// end. It must be `target`. Returns its trailer, and the changes.
///
/// It only takes memory for the change.
///
/// # Errors
/// When the delta has another base, either is damaged, another list results, or writing fails.
pub fn rewrite(
    [first, second]: [&mut dyn Read; 2],
    delta: &mut dyn Read,
    target: Digest,
    out: &mut dyn Write,
) -> Result<(Trailer, Moves), KeepError> {
    let limits = Limits::default();
    let base = FlatReader::as_base(first, limits)?;
    let mut whole = FlatReader::as_base(second, limits)?;
    let change = Delta::read_unchecked(delta, base, &mut whole, limits)?;
    must_be(target, change.to())?;
    let mut writer = FlatWriter::of(out, target);
    let mut moves = MovesBuilder::default();
    for step in change.steps_of(whole) {
        let step = step?;
        moves.note(step);
        if let Some(prefix) = step.target() {
            writer.push(prefix)?;
        }
    }
    let (_, trailer) = writer.finish()?;
    Ok((trailer, moves.finish()))
}

fn must_be(expected: Digest, actual: Digest) -> Result<(), CodecError> {
    if actual == expected { Ok(()) } else { Err(CodecError::WrongContent { expected, actual }) }
}

/// The elements of a flat list, in its order. They are only valid once the end was reached without an error.
pub struct Elements {
    list: FlatReader<Box<dyn Read>>,
    expansion: Expansion,
    rest: plan::Elements,
}

impl Elements {
    /// Reads the header of a flat list.
    ///
    /// # Errors
    /// When it is not the header of a flat list.
    pub fn of(list: Box<dyn Read>, expansion: Expansion) -> Result<Self, CodecError> {
        let list = FlatReader::new(list, Limits::default())?;
        Ok(Self { list, expansion, rest: plan::Elements::none() })
    }
}

impl Iterator for Elements {
    type Item = Result<Prefix, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(element) = self.rest.next() {
            return Some(Ok(element));
        }
        match self.list.read() {
            Ok(prefix) => {
                self.rest = plan::elements(prefix?, self.expansion);
                self.rest.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}
