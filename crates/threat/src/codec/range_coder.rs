//! A binary range coder with carry, as in LZMA: the cost of each decision corresponds to its predicted
//! probability.
//!
//! Encoder and decoder implement one trait, so that a model is written once and both always agree. The
//! encoder writes its low bound in full, so a decoder that ends with a remainder of zero has read the only
//! encoding of its result.

use std::io::Read;

use super::CodecError;

/// Renormalises below this, a byte at a time.
const TOP: u32 = 1 << 24;
/// The least probability of a decision, of 2¹⁶.
const LEAST: u32 = 24;

/// Encodes its input, or ignores it and returns what it decodes.
pub(super) trait Coder {
    /// One decision; `one` is the predicted share of ones, of 2¹⁶.
    fn bit(&mut self, one: u32, bit: bool) -> Result<bool, CodecError>;

    /// Up to 16 bits without prediction.
    fn raw(&mut self, bits: u32, value: u32) -> Result<u32, CodecError>;
}

/// Writes decisions behind `bytes`.
pub(super) struct Encoder {
    bytes: Vec<u8>,
    low: u64,
    range: u32,
    held: u8,
    /// Pending bytes of 0xff that a carry would change.
    pending: u64,
    begun: bool,
}

impl Encoder {
    pub(super) fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, low: 0, range: u32::MAX, held: 0, pending: 0, begun: false }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        (0..5).for_each(|_| self.shift());
        self.bytes
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u64::from(u32::MAX) {
            let carry = (self.low >> 32) as u8;
            // The first held byte is a zero that no carry can reach; it is not written.
            if self.begun {
                self.bytes.push(self.held.wrapping_add(carry));
            }
            self.begun = true;
            for _ in 0..self.pending {
                self.bytes.push(0xff_u8.wrapping_add(carry));
            }
            self.pending = 0;
            self.held = (self.low >> 24) as u8;
        } else {
            self.pending += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn renormalise(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Encoder {
    fn bit(&mut self, one: u32, bit: bool) -> Result<bool, CodecError> {
        let bound = bound(self.range, one);
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        self.renormalise();
        Ok(bit)
    }

    fn raw(&mut self, bits: u32, value: u32) -> Result<u32, CodecError> {
        self.range >>= bits;
        self.low += u64::from(self.range) * u64::from(value);
        self.renormalise();
        Ok(value)
    }
}

/// Reads decisions from a source.
pub(super) struct Decoder<R> {
    source: Source<R>,
    range: u32,
    /// The input minus what was decoded; below `range`.
    rest: u32,
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(mut source: Source<R>) -> Result<Self, CodecError> {
        let rest = u32::from_be_bytes(source.array()?);
        if rest == u32::MAX {
            return Err(CodecError::Damaged);
        }
        Ok(Self { source, range: u32::MAX, rest })
    }

    /// Checks that nothing is left of the last decision and of the source.
    pub(super) fn finish(mut self) -> Result<(), CodecError> {
        if self.rest != 0 {
            return Err(CodecError::Damaged);
        }
        self.source.end()
    }

    fn renormalise(&mut self) -> Result<(), CodecError> {
        while self.range < TOP {
            self.range <<= 8;
            self.rest = self.rest << 8 | u32::from(self.source.byte()?);
        }
        Ok(())
    }
}

impl<R: Read> Coder for Decoder<R> {
    #[inline]
    fn bit(&mut self, one: u32, _: bool) -> Result<bool, CodecError> {
        let bound = bound(self.range, one);
        let bit = self.rest < bound;
        if bit {
            self.range = bound;
        } else {
            self.rest -= bound;
            self.range -= bound;
        }
        self.renormalise()?;
        Ok(bit)
    }

    fn raw(&mut self, bits: u32, _: u32) -> Result<u32, CodecError> {
        self.range >>= bits;
        let value = self.rest / self.range;
        if value >> bits != 0 {
            return Err(CodecError::Damaged);
        }
        self.rest -= value * self.range;
        self.renormalise()?;
        Ok(value)
    }
}

fn bound(range: u32, one: u32) -> u32 {
    (range >> 16) * one.clamp(LEAST, (1 << 16) - LEAST)
}

/// Bytes of a reader through a buffer of fixed size.
pub(super) struct Source<R> {
    reader: R,
    buffer: Box<[u8; 8192]>,
    at: usize,
    filled: usize,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Box::new([0; 8192]), at: 0, filled: 0 }
    }

    pub(super) fn byte(&mut self) -> Result<u8, CodecError> {
        if self.at == self.filled {
            self.fill()?;
        }
        let byte = *self.buffer[..self.filled].get(self.at).ok_or(CodecError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        if let Some(bytes) = self.buffer[self.at..self.filled].first_chunk() {
            self.at += N;
            return Ok(*bytes);
        }
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    pub(super) fn end(&mut self) -> Result<(), CodecError> {
        match self.byte() {
            Err(CodecError::Truncated) => Ok(()),
            Ok(_) => Err(CodecError::Trailing),
            Err(error) => Err(error),
        }
    }

    fn fill(&mut self) -> Result<(), CodecError> {
        self.at = 0;
        self.filled = loop {
            match self.reader.read(&mut self.buffer[..]) {
                Ok(filled) => break filled,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.filled = 0;
                    return Err(error.into());
                }
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encoded_values_round_trip_and_trailing_data_is_refused(
            decisions in prop::collection::vec((0u32..=65535, any::<bool>(), 0u32..=16, any::<u32>()), 0..300),
            flip in any::<prop::sample::Index>(),
        ) {
            let write = |decisions: &[(u32, bool, u32, u32)]| {
                let mut encoder = Encoder::behind(Vec::new());
                for &(one, bit, bits, value) in decisions {
                    encoder.bit(one, bit).unwrap();
                    encoder.raw(bits, value & ((1 << bits) - 1)).unwrap();
                }
                encoder.finish()
            };
            let read = |bytes: &[u8]| -> Result<Vec<(u32, bool, u32, u32)>, CodecError> {
                let mut decoder = Decoder::new(Source::new(bytes))?;
                let mut found = Vec::new();
                for &(one, _, bits, _) in &decisions {
                    found.push((one, decoder.bit(one, false)?, bits, decoder.raw(bits, 0)?));
                }
                decoder.finish()?;
                Ok(found)
            };
            let bytes = write(&decisions);
            let found = read(&bytes).unwrap();
            for (found, given) in found.iter().zip(&decisions) {
                prop_assert_eq!((found.1, found.3), (given.1, given.3 & ((1 << given.2) - 1)));
            }
            prop_assert!(matches!(read(&[&bytes[..], &[0]].concat()), Err(CodecError::Trailing)));
            prop_assert!(read(&bytes[..bytes.len() - 1]).is_err());
            // Other bytes may say something else, but then they are the encoding of that.
            let mut other = bytes.clone();
            other[flip.index(bytes.len())] ^= 1 << (flip.index(8));
            if let Ok(found) = read(&other) {
                prop_assert_eq!(write(&found), other);
            }
        }
    }
}
