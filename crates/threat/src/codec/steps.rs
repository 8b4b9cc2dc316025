//! Applies a change to a list as a stream, with memory for the change only.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::vec;

use super::delta::{Base, Delta};
use super::{ByFamily, CodecError, Families};
use crate::entry::{Net, Prefix};
use crate::set::{Digest, Digester, Family};
use crate::word::Word;

/// What happens to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is in both lists.
    Kept(Prefix),
    /// It is only in the base. Its addresses may stay under other prefixes.
    Gone(Prefix),
    /// It is only in the target. Its addresses may have been there under other prefixes.
    New(Prefix),
}

impl Step {
    /// The prefix if it is in the target.
    #[must_use]
    pub fn target(self) -> Option<Prefix> {
        match self {
            Self::Kept(prefix) | Self::New(prefix) => Some(prefix),
            Self::Gone(_) => None,
        }
    }
}

impl Delta {
    /// What happens to every prefix of `base` and every new one, ascending within a family, IPv4 first.
    /// `base` is read prefix by prefix in normal form, e.g. from a [`super::FlatReader`]; it only takes
    /// memory for the change.
    ///
    /// The checks are those of [`Delta::apply`], and the last of them is made at the end: the result is only
    /// valid once the end was reached without an error.
    pub fn steps<B>(&self, base: B) -> Steps<Families<B::IntoIter>>
    where
        B: IntoIterator<Item = Result<Prefix, CodecError>>,
    {
        self.steps_of(Families::of(base.into_iter()))
    }

    /// The same for a base that is read by family.
    pub fn steps_of<B: ByFamily>(&self, base: B) -> Steps<B> {
        Steps {
            base: Base::new(base),
            is_over: false,
            target: Digester::default(),
            from: self.from(),
            to: self.to(),
            part: Part::V4(Patch::new(self.removed().v4(), self.added().v4())),
            v6: Some(Patch::new(self.removed().v6(), self.added().v6())),
            ready: VecDeque::new(),
        }
    }

    /// The resulting list, prefix by prefix in normal form; see [`Delta::steps`].
    pub fn stream<B>(&self, base: B) -> impl Iterator<Item = Result<Prefix, CodecError>>
    where
        B: IntoIterator<Item = Result<Prefix, CodecError>>,
    {
        self.steps(base).filter_map(|step| step.map(Step::target).transpose())
    }
}

/// The iterator of [`Delta::steps`].
pub struct Steps<B> {
    base: Base<B>,
    /// Whether the end was reached or an error occurred.
    is_over: bool,
    target: Digester,
    from: Digest,
    to: Digest,
    part: Part,
    v6: Option<Patch<u128>>,
    ready: VecDeque<Step>,
}

/// The current family.
enum Part {
    V4(Patch<u32>),
    V6(Patch<u128>),
}

impl<B: ByFamily> Iterator for Steps<B> {
    type Item = Result<Step, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                step.target().into_iter().for_each(|prefix| self.target.add(prefix));
                return Some(Ok(step));
            }
            if self.is_over {
                return None;
            }
            if let Some(kept) = self.kept_v4() {
                return Some(kept);
            }
            let refill = self.refill();
            self.is_over = !matches!(refill, Ok(Refill::More));
            match refill {
                Ok(Refill::More) => {}
                Ok(Refill::End) => return self.check_end().err().map(Err),
                Err(error) => {
                    // Prepared results are discarded after an error.
                    self.ready.clear();
                    return Some(Err(self.blamed(error)));
                }
            }
        }
    }
}

/// Whether the base has more prefixes.
enum Refill {
    More,
    End,
}

impl<B: ByFamily> Steps<B> {
    /// The next IPv4 prefix if nothing near it changes, which is true for nearly all of a list; avoids the
    /// queue.
    fn kept_v4(&mut self) -> Option<Result<Step, CodecError>> {
        let Part::V4(patch) = &mut self.part else { return None };
        let base = &mut self.base;
        match patch.lone(&mut || base.next_v4()) {
            Ok(net) => {
                let kept = Prefix::V4(net?);
                self.target.add(kept);
                Some(Ok(Step::Kept(kept)))
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(self.blamed(error)))
            }
        }
    }

    fn refill(&mut self) -> Result<Refill, CodecError> {
        let Self { base, part, ready, .. } = self;
        let refill = match part {
            Part::V4(patch) => {
                patch.next(|| base.next_v4(), |step| ready.push_back(step.map(Prefix::V4)))?
            }
            Part::V6(patch) => {
                patch.next(|| base.next_v6(), |step| ready.push_back(step.map(Prefix::V6)))?
            }
        };
        match (refill, self.v6.take()) {
            (Refill::End, Some(v6)) => {
                self.part = Part::V6(v6);
                Ok(Refill::More)
            }
            (refill, v6) => {
                self.v6 = v6;
                Ok(refill)
            }
        }
    }

    fn check_end(&mut self) -> Result<(), CodecError> {
        let actual = self.base.digest()?;
        if actual != self.from {
            return Err(CodecError::WrongBase { expected: self.from, actual });
        }
        let actual = std::mem::take(&mut self.target).finish();
        if actual != self.to {
            return Err(CodecError::WrongContent { expected: self.to, actual });
        }
        Ok(())
    }

    /// A wrong base appears as a damaged change, so it is reported first.
    fn blamed(&mut self, error: CodecError) -> CodecError {
        if !matches!(error, CodecError::Damaged) {
            return error;
        }
        match self.base.digest() {
            Ok(actual) if actual != self.from => {
                CodecError::WrongBase { expected: self.from, actual }
            }
            Ok(_) => error,
            Err(error) => error,
        }
    }
}

/// A [`Step`] of one family.
enum FamilyStep<T> {
    Kept(Net<T>),
    Gone(Net<T>),
    New(Net<T>),
}

impl<T> FamilyStep<T> {
    fn map(self, prefix: impl FnOnce(Net<T>) -> Prefix) -> Step {
        match self {
            Self::Kept(net) => Step::Kept(prefix(net)),
            Self::Gone(net) => Step::Gone(prefix(net)),
            Self::New(net) => Step::New(prefix(net)),
        }
    }
}

/// The change of one family, consumed from start to end.
struct Patch<T> {
    removed: Peekable<vec::IntoIter<(T, T)>>,
    added: Peekable<vec::IntoIter<(T, T)>>,
    /// The next prefix of the base.
    held: Option<Net<T>>,
    /// Adjacent prefixes of the base, including those connected by added ones.
    island: Vec<Net<T>>,
}

impl<T: Word> Patch<T> {
    fn new(removed: &Family<T>, added: &Family<T>) -> Self {
        let ranges =
            |family: &Family<T>| family.ranges().collect::<Vec<_>>().into_iter().peekable();
        Self { removed: ranges(removed), added: ranges(added), held: None, island: Vec::new() }
    }

    /// Processes the next island: adjacent addresses of base and target without a gap. Prefixes outside of it
    /// are not affected by it, not even in normal form.
    ///
    /// An untouched island has at most `2 × BITS − 2` prefixes.
    fn next(
        &mut self,
        mut base: impl FnMut() -> Result<Option<Net<T>>, CodecError>,
        mut give: impl FnMut(FamilyStep<T>),
    ) -> Result<Refill, CodecError> {
        if let Some(net) = self.lone(&mut base)? {
            give(FamilyStep::Kept(net));
            return Ok(Refill::More);
        }
        let mut added = Vec::new();
        let Some((first, last)) = self.collect(&mut base, &mut added)? else {
            // The remaining addresses to remove do not exist.
            let left = self.removed.peek().is_some();
            return if left { Err(CodecError::Damaged) } else { Ok(Refill::End) };
        };
        let mut removed = Vec::new();
        while let Some((from, to)) = self.removed.next_if(|&(from, _)| from <= last) {
            if from < first || to > last {
                return Err(CodecError::Damaged);
            }
            removed.push((from, to));
        }
        if removed.is_empty() && added.is_empty() {
            self.island.drain(..).for_each(|net| give(FamilyStep::Kept(net)));
            return Ok(Refill::More);
        }
        let ranges = self.island.iter().map(|net| (net.first(), net.last()));
        let before = Family::from_sorted(ranges);
        let removed = Family::from_sorted(removed.into_iter());
        let after = before.difference(&removed).union(&Family::from_sorted(added.into_iter()));
        merge(self.island.drain(..), after.iter(), give);
        Ok(Refill::More)
    }

    /// The next prefix of the base if nothing is adjacent to it in the base or in the change, as for most. A
    /// prefix that was read in vain starts the island.
    fn lone(
        &mut self,
        base: &mut impl FnMut() -> Result<Option<Net<T>>, CodecError>,
    ) -> Result<Option<Net<T>>, CodecError> {
        if !self.island.is_empty() {
            // What comes next may be next to it.
            return Ok(None);
        }
        if self.held.is_none() {
            self.held = base()?;
        }
        let Some(net) = self.held else { return Ok(None) };
        let apart = |first: T| first > net.last() && first - net.last() != T::ONE;
        let mut changes = [self.removed.peek(), self.added.peek()].into_iter().flatten();
        if !changes.all(|&(first, _)| apart(first)) {
            return Ok(None);
        }
        self.held = base()?;
        if self.held.is_none_or(|next| apart(next.first())) {
            return Ok(Some(net));
        }
        self.island.push(net);
        Ok(None)
    }

    /// Fills the island and returns its range of addresses; `None` at the end.
    fn collect(
        &mut self,
        base: &mut impl FnMut() -> Result<Option<Net<T>>, CodecError>,
        added: &mut Vec<(T, T)>,
    ) -> Result<Option<(T, T)>, CodecError> {
        let mut span = self.island.last().map(|net| (net.first(), net.last()));
        loop {
            if self.held.is_none() {
                self.held = base()?;
            }
            let held = self.held.map(|net| (net.first(), net.last()));
            let is_added = match (held, self.added.peek()) {
                (Some((held, _)), Some(&(first, _))) => first < held,
                (held, _) => held.is_none(),
            };
            let piece = if is_added { self.added.peek().copied() } else { held };
            let Some((from, to)) = piece else { return Ok(span) };
            if let Some((first, last)) = span {
                if from <= last {
                    // An existing address can't be added.
                    return Err(CodecError::Damaged);
                }
                if from - last != T::ONE {
                    return Ok(span);
                }
                span = Some((first, to));
            } else {
                span = piece;
            }
            if is_added {
                added.extend(self.added.next());
            } else {
                self.island.extend(self.held.take());
            }
        }
    }
}

/// Compares two ascending lists of prefixes.
fn merge<T: Word>(
    before: impl Iterator<Item = Net<T>>,
    after: impl Iterator<Item = Net<T>>,
    mut give: impl FnMut(FamilyStep<T>),
) {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    loop {
        match (before.peek(), after.peek()) {
            (Some(&old), Some(new)) if old == *new => {
                before.next();
                after.next();
                give(FamilyStep::Kept(old));
            }
            (Some(&old), new) if new.is_none_or(|new| old < *new) => {
                before.next();
                give(FamilyStep::Gone(old));
            }
            (_, Some(&new)) => {
                after.next();
                give(FamilyStep::New(new));
            }
            (Some(_), None) | (None, None) => return,
        }
    }
}
