//! A change of one set into another.
//!
//! What goes is told by its place in the base: the base is at hand on both sides, and a place among
//! 200,000 prefixes takes half the bits of an address. What comes is coded as in a snapshot.

use std::io::Read;

use super::model::{Prefixes, Touched};
use super::range_coder::{Decoder, Encoder, Source};
use super::snapshot::encode;
use super::{ByFamily, CodecError, Families, Kind, Limits, read_counts, read_kind, write_head};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester, Family, FamilyBuilder, ThreatSet};
use crate::word::Word;

/// The one encoding of the change from `base` to `target`.
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
    /// How many prefixes of the base stand between the one touched before and this one.
    skip: u32,
    whole: Net<T>,
    /// What goes, in normal form: the whole prefix, or parts of it.
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
        // Writing into memory what is in normal form can't fail.
        let _ = model.skip(encoder, touch.skip);
        let _ = model.is_cut(encoder, cut);
        if cut {
            let _ = model.parts(encoder, touch.whole, &touch.lost, &mut unlimited);
        }
    }
}

/// What a delta does to the set it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    from: Digest,
    to: Digest,
    removed: ThreatSet,
    added: ThreatSet,
}

impl Delta {
    /// Reads a delta along with the set it changes, given prefix by prefix in normal form (from a
    /// [`ThreatSet`] or a [`super::SnapshotReader`]). Memory is that of the change alone.
    ///
    /// # Errors
    /// When it is not the encoding of a change within the limits, or changes another set.
    pub fn read(
        reader: impl Read,
        base: impl IntoIterator<Item = Result<Prefix, CodecError>>,
        limits: Limits,
    ) -> Result<Self, CodecError> {
        let mut base = Base::new(Families::of(base.into_iter()));
        let head = Head::read(reader, limits)?;
        let (from, to) = (head.from, head.to);
        let read = read_change(head, limits, &mut base);
        // A wrong base looks like damage from inside, so it is what is told first.
        must_be_base(from, base.digest()?)?;
        Self::of(from, to, read?)
    }

    /// The same for a base that [`Delta::steps`] goes through afterwards, and checks at its end: it is
    /// read only as far as it is touched. `again` is the base once more, from its begin; it is used to
    /// tell a wrong base from a damaged delta.
    ///
    /// # Errors
    /// As [`Delta::read`], but for a wrong base that goes unnoticed.
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

    /// The digest of the set that is changed.
    #[must_use]
    pub fn from(&self) -> Digest {
        self.from
    }

    /// The digest of the set that comes out.
    #[must_use]
    pub fn to(&self) -> Digest {
        self.to
    }

    /// The addresses that go; all of them are in the base.
    #[must_use]
    pub fn removed(&self) -> &ThreatSet {
        &self.removed
    }

    /// The addresses that come; none of them is in the base.
    #[must_use]
    pub fn added(&self) -> &ThreatSet {
        &self.added
    }

    /// The set that comes out.
    ///
    /// # Errors
    /// When `base` is another set, or what comes out is not what the delta says.
    pub fn apply(&self, base: &ThreatSet) -> Result<ThreatSet, CodecError> {
        must_be_base(self.from, base.digest())?;
        // An address that was there already can't come: there would be two ways to say the change.
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

/// Prefixes for which room is made at once, whatever a head declares.
const ROOM: u64 = 1 << 16;

/// What stands in front of a change.
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
    // How many parts prefixes are cut into stands nowhere, and a few bytes can say millions.
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

/// The set that is changed, read once from front to back.
pub(super) struct Base<B> {
    prefixes: B,
    /// Nothing when somebody else checks.
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
        // What is left of IPv4 is part of the digest.
        while self.next_v4()?.is_some() {}
        let net = self.prefixes.next_v6()?;
        if let (Some(net), Some(digester)) = (net, &mut self.digester) {
            digester.add(Prefix::V6(net));
        }
        Ok(net)
    }

    /// The digest of all of it, also of what the change never came to.
    pub(super) fn digest(&mut self) -> Result<Digest, CodecError> {
        while self.next_v6()?.is_some() {}
        Ok(self.digester.take().unwrap_or_default().finish())
    }
}
