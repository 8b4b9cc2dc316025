//! Deterministic mutations of an input.

/// The number of truncated copies.
const CUTS: usize = 32;
/// The number of changed copies.
const CHANGES: u64 = 96;
/// The longest input that is changed, in bytes: for longer ones, a run of some targets takes too long for a
/// test.
const LONGEST: usize = 16 * 1024;

/// The input itself, truncated copies, and copies with bytes changed, removed, inserted and duplicated.
pub(crate) fn to(seed: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let near = if seed.len() <= LONGEST { seed } else { &[] };
    let step = (near.len() / CUTS).max(1);
    let cut = (0..near.len()).step_by(step).map(|at| near[..at].to_vec());
    let changed = (0..CHANGES).filter(|_| !near.is_empty()).map(|number| changed(near, number));
    std::iter::once(seed.to_vec()).chain(cut).chain(changed)
}

fn changed(seed: &[u8], number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.byte(),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.byte()),
            _ => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// xorshift64 (Marsaglia 2003): sufficient for different mutations, and the same on every system.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}
