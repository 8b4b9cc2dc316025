//! Deltas: changes from one set to another.
//!
//! Removed prefixes are encoded by their position in the base, which both sides have: a position among
//! 200,000 prefixes takes half the bits of an address. Added ones are encoded as in a snapshot.

use std::io::Read;

use super::model::{Prefixes, Touched};
use super::range_coder::{Decoder, Encoder, Source};
use super::snapshot::encode;
use super::{ByFamily, CodecError, Families, Kind, Limits, read_counts, read_kind, write_head};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester, Family, FamilyBuilder, ThreatSet};
use crate::word::Word;

/// The only encoding of the change from `base` to `target`.
#[must_use]
pub fn delta(base: &ThreatSet, target: &ThreatSet) -> Vec<u8> {
    let (removed, added) = (base.difference(target), target.difference(base));
    let (v4, v6) = (touched(base.v4(), removed.v4()), touched(base.v6(), removed.v6()));
    let counts = [v4.len(), v6.len(), added.v4().len(), added.v6().len()];
    let head = write_head(Kind::Delta, &[base.digest(), target.digest()], &counts);
    let mut encoder = Encoder::behind(head);
    encode_touched(&mut encoder, &v4);
    encode_touched(&mut encoder, &v6);
    encode(&mut encoder, added.v4());
    encode(&mut encoder, added.v6());
    encoder.finish()
}

/// A prefix of the base that loses addresses.
struct Touch<T> {
    /// The number of base prefixes between the previously touched one and this one.
    skip: u32,
    whole: Net<T>,
    /// What is removed, in normal form: the whole prefix, or parts of it.
    lost: Vec<Net<T>>,
}

fn touched<T: Word>(base: &Family<T>, removed: &Family<T>) -> Vec<Touch<T>> {
    let removed: Vec<(T, T)> = removed.ranges().collect();
    let mut removed = &removed[..];
    let mut found = Vec::new();
    let mut skip = 0;
    for whole in base.iter() {
        let mut lost = FamilyBuilder::with_capacity(0);
        while let Some((&(first, last), rest)) = removed.split_first()
            && first <= whole.last()
        {
            lost.push(first.max(whole.first()), last.min(whole.last()));
            if last > whole.last() {
                // The rest of the range is of the prefixes that follow.
                break;
            }
            removed = rest;
        }
        let lost: Vec<Net<T>> = lost.finish().iter().collect();
        if lost.is_empty() {
            skip += 1;
        } else {
            found.push(Touch { skip: std::mem::take(&mut skip), whole, lost });
        }
    }
    found
}

fn encode_touched<T: Word>(encoder: &mut Encoder, touches: &[Touch<T>]) {
    let mut model = Touched::new();
    let mut unlimited = u64::MAX;
    for touch in touches {
        let cut = touch.lost != [touch.whole];
        // Writing a normal form to memory can't fail.
        let _ = model.skip(encoder, touch.skip);
        let _ = model.is_cut(encoder, cut);
        if cut {
            let _ = model.parts(encoder, touch.whole, &touch.lost, &mut unlimited);
        }
    }
}

/// The effect of a delta on its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    from: Digest,
    to: Digest,
    removed: ThreatSet,
    added: ThreatSet,
}

impl Delta {
    /// Reads a delta together with its base, prefix by prefix in normal form (from a [`ThreatSet`] or a
    /// [`super::SnapshotReader`]). It only takes memory for the change.
    ///
    /// # Errors
    /// When it is not the encoding of a change within the limits, or has another base.
    pub fn read(
        reader: impl Read,
        base: impl IntoIterator<Item = Result<Prefix, CodecError>>,
        limits: Limits,
    ) -> Result<Self, CodecError> {
        let mut base = Base::new(Families::of(base.into_iter()));
        let head = Head::read(reader, limits)?;
        let (from, to) = (head.from, head.to);
        let read = read_change(head, limits, &mut base);
        // A wrong base appears as damage, so it is checked first.
        must_be_base(from, base.digest()?)?;
        Self::of(from, to, read?)
    }

    /// The same for a base that [`Delta::steps`] reads afterwards and verifies at its end: it is only read as
    /// far as it is touched. `again` is the same base, from its beginning; it is used to distinguish a wrong
    /// base from a damaged delta.
    ///
    /// # Errors
    /// As [`Delta::read`], except for a wrong base that is not detected.
    pub(crate) fn read_unchecked<B: ByFamily>(
        reader: impl Read,
        base: B,
        again: &mut B,
        limits: Limits,
    ) -> Result<Self, CodecError> {
        let mut base = Base::unchecked(base);
        let head = Head::read(reader, limits)?;
        let (from, to) = (head.from, head.to);
        match read_change(head, limits, &mut base) {
            Ok(read) => Self::of(from, to, read),
            Err(error) => {
                must_be_base(from, Base::new(again).digest()?)?;
                Err(error)
            }
        }
    }

    fn of(
        from: Digest,
        to: Digest,
        (removed, added): (ThreatSet, ThreatSet),
    ) -> Result<Self, CodecError> {
        if !removed.intersection(&added).is_empty() {
            return Err(CodecError::Damaged);
        }
        Ok(Self { from, to, removed, added })
    }

    /// The digest of the base.
    #[must_use]
    pub fn from(&self) -> Digest {
        self.from
    }

    /// The digest of the result.
    #[must_use]
    pub fn to(&self) -> Digest {
        self.to
    }

    /// The removed addresses; all of them are in the base.
    #[must_use]
    pub fn removed(&self) -> &ThreatSet {
        &self.removed
    }

    /// The added addresses; none of them is in the base.
    #[must_use]
    pub fn added(&self) -> &ThreatSet {
        &self.added
    }

    /// The resulting set.
    ///
    /// # Errors
    /// When `base` is another set, or the result has another digest than the delta says.
    pub fn apply(&self, base: &ThreatSet) -> Result<ThreatSet, CodecError> {
        must_be_base(self.from, base.digest())?;
        // An existing address can't be added: then there would be two encodings of the change.
        if !self.added.intersection(base).is_empty() {
            return Err(CodecError::Damaged);
        }
        let result = base.difference(&self.removed).union(&self.added);
        let actual = result.digest();
        if actual != self.to {
            return Err(CodecError::WrongContent { expected: self.to, actual });
        }
        Ok(result)
    }
}

/// The most prefixes for which memory is allocated at once, whatever a header declares.
const ROOM: u64 = 1 << 16;

/// The header of a change.
struct Head<R> {
    source: Source<R>,
    from: Digest,
    to: Digest,
    counts: [u64; 4],
}

impl<R: Read> Head<R> {
    fn read(reader: R, limits: Limits) -> Result<Self, CodecError> {
        let mut source = Source::new(reader);
        read_kind(&mut source, Kind::Delta)?;
        let (from, to) = (Digest(source.array()?), Digest(source.array()?));
        let counts = read_counts(&mut source, limits)?;
        Ok(Self { source, from, to, counts })
    }
}

fn must_be_base(expected: Digest, actual: Digest) -> Result<(), CodecError> {
    if actual == expected { Ok(()) } else { Err(CodecError::WrongBase { expected, actual }) }
}

fn read_change<R: Read, B: ByFamily>(
    Head { source, counts, .. }: Head<R>,
    limits: Limits,
    base: &mut Base<B>,
) -> Result<(ThreatSet, ThreatSet), CodecError> {
    let [touched_v4, touched_v6, added_v4, added_v6] = counts;
    let mut decoder = Decoder::new(source)?;
    // The number of parts into which prefixes are cut is not declared, and a few bytes can encode millions.
    let mut parts = limits.entries;
    let removed_v4 = read_touched(&mut decoder, touched_v4, &mut parts, || base.next_v4())?;
    let removed_v6 = read_touched(&mut decoder, touched_v6, &mut parts, || base.next_v6())?;
    let added =
        ThreatSet::new(read_family(&mut decoder, added_v4)?, read_family(&mut decoder, added_v6)?);
    decoder.finish()?;
    Ok((ThreatSet::new(removed_v4, removed_v6), added))
}

fn read_touched<T: Word, R: Read>(
    decoder: &mut Decoder<R>,
    count: u64,
    parts: &mut u64,
    mut next: impl FnMut() -> Result<Option<Net<T>>, CodecError>,
) -> Result<Family<T>, CodecError> {
    let mut model = Touched::new();
    let mut removed = FamilyBuilder::with_capacity(count.min(ROOM) as usize);
    for _ in 0..count {
        for _ in 0..model.skip(decoder, 0)? {
            next()?.ok_or(CodecError::Damaged)?;
        }
        let whole = next()?.ok_or(CodecError::Damaged)?;
        if model.is_cut(decoder, false)? {
            for part in model.parts(decoder, whole, &[], parts)? {
                removed.push(part.first(), part.last());
            }
        } else {
            removed.push(whole.first(), whole.last());
        }
    }
    Ok(removed.finish())
}

fn read_family<T: Word, R: Read>(
    decoder: &mut Decoder<R>,
    count: u64,
) -> Result<Family<T>, CodecError> {
    let mut model = Prefixes::new();
    let mut family = FamilyBuilder::with_capacity(count.min(ROOM) as usize);
    for _ in 0..count {
        let net = model.code(decoder, Net::host(T::default()))?;
        family.push(net.first(), net.last());
    }
    Ok(family.finish())
}

/// The base, read once from start to end.
pub(super) struct Base<B> {
    prefixes: B,
    /// `None` if the caller verifies it.
    digester: Option<Digester>,
}

impl<B: ByFamily> Base<B> {
    pub(super) fn new(prefixes: B) -> Self {
        Self { prefixes, digester: Some(Digester::default()) }
    }

    fn unchecked(prefixes: B) -> Self {
        Self { prefixes, digester: None }
    }

    pub(super) fn next_v4(&mut self) -> Result<Option<Net<u32>>, CodecError> {
        let net = self.prefixes.next_v4()?;
        if let (Some(net), Some(digester)) = (net, &mut self.digester) {
            digester.add(Prefix::V4(net));
        }
        Ok(net)
    }

    pub(super) fn next_v6(&mut self) -> Result<Option<Net<u128>>, CodecError> {
        // The rest of IPv4 is part of the digest.
        while self.next_v4()?.is_some() {}
        let net = self.prefixes.next_v6()?;
        if let (Some(net), Some(digester)) = (net, &mut self.digester) {
            digester.add(Prefix::V6(net));
        }
        Ok(net)
    }

    /// The digest of the whole base, including what the change does not touch.
    pub(super) fn digest(&mut self) -> Result<Digest, CodecError> {
        while self.next_v6()?.is_some() {}
        Ok(self.digester.take().unwrap_or_default().finish())
    }
}
