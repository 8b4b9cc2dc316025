//! Predicts the next prefix from the previous ones.

use super::CodecError;
use super::range_coder::Coder;
use crate::entry::Net;
use crate::word::Word;

/// The number of decisions after which a probability has its slowest rate.
const SETTLED: usize = 160;

/// How far a probability moves, of 2¹⁶: early decisions have a large weight, later ones a small one.
const RATES: [i32; SETTLED + 1] = {
    let mut rates = [0; SETTLED + 1];
    let mut seen = 0;
    while seen <= SETTLED {
        rates[seen] = (655_360 / (seen * 10 + 16)) as i32;
        seen += 1;
    }
    rates
};

/// The expected share of ones, of 2¹⁶, and the number of decisions.
#[derive(Clone, Copy)]
struct Bit {
    one: u16,
    seen: u8,
}

impl Bit {
    const NEW: Self = Self { one: 1 << 15, seen: 0 };

    fn learn(&mut self, bit: bool) {
        let target = if bit { 65_535 } else { 0 };
        // Two bits of the rate are given up so that the product stays within 31 bits.
        let step = ((target - i32::from(self.one)) * (RATES[usize::from(self.seen)] >> 2)) >> 14;
        self.one = (i32::from(self.one) + step) as u16;
        self.seen = (self.seen + 1).min(SETTLED as u8);
    }

    fn code(&mut self, coder: &mut impl Coder, bit: bool) -> Result<bool, CodecError> {
        let bit = coder.bit(u32::from(self.one), bit)?;
        self.learn(bit);
        Ok(bit)
    }
}

/// Codes one decision with the mean of two predictions; both adapt.
#[inline]
fn code_pair(
    coder: &mut impl Coder,
    a: &mut Bit,
    b: &mut Bit,
    bit: bool,
) -> Result<bool, CodecError> {
    let bit = coder.bit((u32::from(a.one) + u32::from(b.one)) / 2, bit)?;
    a.learn(bit);
    b.learn(bit);
    Ok(bit)
}

/// Numbers below 2^bits, highest bit first; every bit has its own prediction for each prefix.
#[derive(Clone)]
struct Tree(Box<[Bit]>);

impl Tree {
    fn new(bits: u32) -> Self {
        Self(vec![Bit::NEW; 1 << bits].into_boxed_slice())
    }

    fn code(&mut self, coder: &mut impl Coder, number: u8) -> Result<u8, CodecError> {
        let bits = self.0.len().trailing_zeros();
        let mut node = 1;
        for bit in (0..bits).rev() {
            let bit = self.0[node].code(coder, number >> bit & 1 == 1)?;
            node = node << 1 | usize::from(bit);
        }
        Ok((node - self.0.len()) as u8)
    }
}

/// Codes a number below 2^bits with the mean of two trees of that size.
fn code_trees(
    coder: &mut impl Coder,
    a: &mut Tree,
    b: &mut Tree,
    number: u8,
) -> Result<u8, CodecError> {
    let bits = a.0.len().trailing_zeros();
    let mut node = 1;
    for bit in (0..bits).rev() {
        let bit = code_pair(coder, &mut a.0[node], &mut b.0[node], number >> bit & 1 == 1)?;
        node = node << 1 | usize::from(bit);
    }
    Ok((node - a.0.len()) as u8)
}

/// Bits of a number's width, 0 to `Word::BITS`.
fn width_bits<T: Word>() -> u32 {
    if T::BITS == 32 { 6 } else { 8 }
}

/// Numbers of unknown magnitude: their width is predicted in two contexts, of the bits after the leading one
/// the first three are predicted and the others are plain.
pub(super) struct Numbers<T> {
    by_first: Vec<Tree>,
    by_second: Vec<Tree>,
    leading: Vec<[Bit; 8]>,
    word: std::marker::PhantomData<T>,
}

impl<T: Word> Numbers<T> {
    pub(super) fn new(first: usize, second: usize) -> Self {
        let tree = Tree::new(width_bits::<T>());
        Self {
            by_first: vec![tree.clone(); first],
            by_second: vec![tree; second],
            leading: vec![[Bit::NEW; 8]; usize::from(T::BITS) + 1],
            word: std::marker::PhantomData,
        }
    }

    /// Contexts beyond the last count as the last.
    pub(super) fn code(
        &mut self,
        coder: &mut impl Coder,
        contexts: (usize, usize),
        number: T,
    ) -> Result<T, CodecError> {
        let first = contexts.0.min(self.by_first.len() - 1);
        let second = contexts.1.min(self.by_second.len() - 1);
        let (a, b) = (&mut self.by_first[first], &mut self.by_second[second]);
        let width = code_trees(coder, a, b, number.width())?;
        if width > T::BITS {
            return Err(CodecError::Damaged);
        }
        if width <= 1 {
            return Ok(if width == 0 { T::default() } else { T::ONE });
        }
        self.tail(coder, width, number)
    }

    fn tail(&mut self, coder: &mut impl Coder, width: u8, number: T) -> Result<T, CodecError> {
        let mut found = T::ONE;
        let mut left = u32::from(width) - 1;
        let mut node = 1;
        while left > 0 && node < 8 {
            left -= 1;
            let given = number >> left & T::ONE == T::ONE;
            let bit = self.leading[usize::from(width)][node].code(coder, given)?;
            node = node << 1 | usize::from(bit);
            found = found << 1 | if bit { T::ONE } else { T::default() };
        }
        while left > 0 {
            let bits = left.min(16);
            left -= bits;
            let given: u128 = (number >> left).into();
            let bits_found = coder.raw(bits, given as u32 & ((1 << bits) - 1))?;
            found = found << bits | T::truncated(bits_found.into());
        }
        Ok(found)
    }
}

/// Prefixes in normal form, ascending: the length, then the distance from the previous prefix in blocks of
/// that length.
pub(super) struct Prefixes<T> {
    same_length: [Bit; 4],
    length: Tree,
    gaps: Numbers<T>,
    before: Option<Net<T>>,
    /// The lowest possible next address; `None` if the highest was used.
    next: Option<T>,
    history: usize,
    /// Width of the last distance in addresses.
    reach: u8,
}

/// Blocks with at least this many free bits share one prediction.
const FREE_CONTEXTS: usize = 34;
/// Widths of the last distance that share one prediction.
const REACH_STEP: u8 = 2;

impl<T: Word> Prefixes<T> {
    pub(super) fn new() -> Self {
        Self {
            same_length: [Bit::NEW; 4],
            length: Tree::new(width_bits::<T>()),
            gaps: Numbers::new(FREE_CONTEXTS, usize::from(T::BITS / REACH_STEP) + 1),
            before: None,
            next: Some(T::default()),
            history: 3,
            reach: 0,
        }
    }

    /// Continues at `address`, keeping the predictions.
    pub(super) fn restart(&mut self, address: T) {
        self.before = None;
        self.next = Some(address);
    }

    /// The next prefix.
    ///
    /// # Errors
    /// If it is not in normal form, as an encoder would write it.
    pub(super) fn code(
        &mut self,
        coder: &mut impl Coder,
        net: Net<T>,
    ) -> Result<Net<T>, CodecError> {
        let next = self.next.ok_or(CodecError::Damaged)?;
        let length = self.code_length(coder, net.bits())?;
        let free = u32::from(T::BITS - length);
        let lowest = first_block(next, free);
        let highest = shifted(T::MAX, free);
        let given = shifted(net.first(), free);
        let gap = if given >= lowest { given - lowest } else { T::default() };
        let contexts =
            (free as usize, usize::from(self.reach.saturating_sub(free as u8) / REACH_STEP));
        let gap = self.gaps.code(coder, contexts, gap)?;
        if lowest > highest || gap > highest - lowest {
            return Err(CodecError::Damaged);
        }
        let found = if length == 0 { T::default() } else { (lowest + gap) << free };
        let found = Net::around(found, length);
        self.accept(found, gap)?;
        Ok(found)
    }

    fn code_length(&mut self, coder: &mut impl Coder, length: u8) -> Result<u8, CodecError> {
        let before = self.before.map_or(T::BITS, Net::bits);
        let same = self.same_length[self.history].code(coder, length == before)?;
        self.history = (self.history << 1 | usize::from(same)) & 3;
        if same {
            return Ok(before);
        }
        let length = self.length.code(coder, length)?;
        if length > T::BITS || length == before { Err(CodecError::Damaged) } else { Ok(length) }
    }

    fn accept(&mut self, found: Net<T>, gap: T) -> Result<(), CodecError> {
        if let Some(before) = self.before
            && before.bits() == found.bits()
            && Net::around(before.first(), found.bits() - 1)
                == Net::around(found.first(), found.bits() - 1)
        {
            // Two halves are one prefix in normal form.
            return Err(CodecError::Damaged);
        }
        self.reach = gap.width() + if gap == T::default() { 0 } else { found.free_bits() };
        self.before = Some(found);
        self.next = (found.last() < T::MAX).then(|| found.last() + T::ONE);
        Ok(())
    }
}

/// The number of the first block with `free` bits that starts at `address` or later; may be one beyond the
/// last.
fn first_block<T: Word>(address: T, free: u32) -> T {
    let block = shifted(address, free);
    let aligned = address & T::host_mask(T::BITS - free as u8) == T::default();
    if aligned { block } else { block + T::ONE }
}

fn shifted<T: Word>(number: T, free: u32) -> T {
    if free == u32::from(T::BITS) { T::default() } else { number >> free }
}

/// What is removed from a base: which of its prefixes, and whether the whole prefix or parts of it.
pub(super) struct Touched<T> {
    indexes: Numbers<u32>,
    reach: u8,
    cut: [Bit; 2],
    was_cut: bool,
    more: [Bit; 2],
    parts: Prefixes<T>,
}

impl<T: Word> Touched<T> {
    pub(super) fn new() -> Self {
        Self {
            indexes: Numbers::new(1, 17),
            reach: 0,
            cut: [Bit::NEW; 2],
            was_cut: false,
            more: [Bit::NEW; 2],
            parts: Prefixes::new(),
        }
    }

    /// The number of base prefixes between the last touched one and the next one.
    pub(super) fn skip(&mut self, coder: &mut impl Coder, skip: u32) -> Result<u32, CodecError> {
        let skip = self.indexes.code(coder, (0, usize::from(self.reach / REACH_STEP)), skip)?;
        self.reach = skip.width();
        Ok(skip)
    }

    /// Whether only parts of the touched prefix are removed.
    pub(super) fn is_cut(&mut self, coder: &mut impl Coder, cut: bool) -> Result<bool, CodecError> {
        self.was_cut = self.cut[usize::from(self.was_cut)].code(coder, cut)?;
        Ok(self.was_cut)
    }

    /// The removed parts of `whole`, at most `left`, which is decremented; given ones are encoded, decoded
    /// ones returned.
    pub(super) fn parts(
        &mut self,
        coder: &mut impl Coder,
        whole: Net<T>,
        given: &[Net<T>],
        left: &mut u64,
    ) -> Result<Vec<Net<T>>, CodecError> {
        let mut found = Vec::new();
        self.parts.restart(whole.first());
        loop {
            *left = left.checked_sub(1).ok_or(CodecError::Damaged)?;
            let at = found.len();
            let given_part = given.get(at).copied().unwrap_or(whole);
            let part = self.parts.code(coder, given_part)?;
            if part.bits() <= whole.bits() || part.last() > whole.last() {
                return Err(CodecError::Damaged);
            }
            found.push(part);
            if !self.more[usize::from(at > 0)].code(coder, at + 1 < given.len())? {
                return Ok(found);
            }
        }
    }
}
