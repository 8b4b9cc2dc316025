//! Snapshots: complete sets.

use std::io::Read;

use super::model::Prefixes;
use super::range_coder::{Decoder, Encoder, Source};
use super::{CodecError, Kind, Limits, read_counts, read_kind, write_head};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester, Family, FamilyBuilder, ThreatSet};
use crate::word::Word;

/// The only encoding of `set`.
#[must_use]
pub fn snapshot(set: &ThreatSet) -> Vec<u8> {
    let counts = [set.v4().len(), set.v6().len()];
    let mut encoder = Encoder::behind(write_head(Kind::Snapshot, &[set.digest()], &counts));
    encode(&mut encoder, set.v4());
    encode(&mut encoder, set.v6());
    encoder.finish()
}

/// Writes the prefixes of a family; their number is written elsewhere.
pub(super) fn encode<T: Word>(encoder: &mut Encoder, family: &Family<T>) {
    let mut model = Prefixes::new();
    for net in family.iter() {
        // Writing into memory what is in normal form can't fail.
        let _ = model.code(encoder, net);
    }
}

/// Reads a snapshot into a set.
///
/// # Errors
/// When it is not the encoding of a set within the limits.
pub fn read_snapshot(reader: impl Read, limits: Limits) -> Result<ThreatSet, CodecError> {
    let mut snapshot = SnapshotReader::new(reader, limits)?;
    let mut v4 = FamilyBuilder::with_capacity(snapshot.left.0 as usize);
    let mut v6 = FamilyBuilder::with_capacity(snapshot.left.1 as usize);
    while let Some(prefix) = snapshot.read()? {
        match prefix {
            Prefix::V4(net) => v4.push(net.first(), net.last()),
            Prefix::V6(net) => v6.push(net.first(), net.last()),
        }
    }
    Ok(ThreatSet::new(v4.finish(), v6.finish()))
}

/// Reads a snapshot prefix by prefix, with fixed memory. The prefixes are only valid once the end was reached
/// without an error: the digest is verified there.
pub struct SnapshotReader<R> {
    /// `None` once the end was reached or an error occurred.
    decoder: Option<Decoder<R>>,
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
    left: (u64, u64),
    digester: Digester,
    digest: Digest,
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not the header of a snapshot, or declares more than the limits.
    pub fn new(reader: R, limits: Limits) -> Result<Self, CodecError> {
        let mut source = Source::new(reader);
        read_kind(&mut source, Kind::Snapshot)?;
        let digest = Digest(source.array()?);
        let [v4, v6] = read_counts(&mut source, limits)?;
        Ok(Self {
            decoder: Some(Decoder::new(source)?),
            v4: Prefixes::new(),
            v6: Prefixes::new(),
            left: (v4, v6),
            digester: Digester::default(),
            digest,
        })
    }

    /// The number of remaining prefixes, IPv4 and IPv6.
    #[must_use]
    pub fn left(&self) -> (u64, u64) {
        self.left
    }

    /// The digest that the content must have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The next prefix, in normal form; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are damaged; at the end also if more bytes follow or the digest differs.
    pub fn read(&mut self) -> Result<Option<Prefix>, CodecError> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
        let prefix = match &mut self.left {
            (0, 0) => {
                decoder.finish()?;
                return self.check_digest().map(|()| None);
            }
            (0, v6) => {
                *v6 -= 1;
                Prefix::V6(self.v6.code(&mut decoder, Net::host(0))?)
            }
            (v4, _) => {
                *v4 -= 1;
                Prefix::V4(self.v4.code(&mut decoder, Net::host(0))?)
            }
        };
        self.digester.add(prefix);
        self.decoder = Some(decoder);
        Ok(Some(prefix))
    }

    fn check_digest(&mut self) -> Result<(), CodecError> {
        let actual = std::mem::take(&mut self.digester).finish();
        if actual == self.digest {
            Ok(())
        } else {
            Err(CodecError::WrongContent { expected: self.digest, actual })
        }
    }
}

impl<R: Read> Iterator for SnapshotReader<R> {
    type Item = Result<Prefix, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
