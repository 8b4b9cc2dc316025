//! Lists that are read one family after the other.

use super::CodecError;
use crate::entry::{Net, Prefix};

/// A list in normal form, read from front to back: IPv4 first, each family ascending.
pub trait ByFamily {
    /// The next IPv4 prefix; `None` at the end of IPv4.
    ///
    /// # Errors
    /// When the list can't be read or is damaged.
    fn next_v4(&mut self) -> Result<Option<Net<u32>>, CodecError>;

    /// The next IPv6 prefix, whether or not all of IPv4 was read; `None` at the end.
    ///
    /// # Errors
    /// When the list can't be read or is damaged.
    fn next_v6(&mut self) -> Result<Option<Net<u128>>, CodecError>;
}

impl<B: ByFamily> ByFamily for &mut B {
    fn next_v4(&mut self) -> Result<Option<Net<u32>>, CodecError> {
        (**self).next_v4()
    }

    fn next_v6(&mut self) -> Result<Option<Net<u128>>, CodecError> {
        (**self).next_v6()
    }
}

/// Prefixes of both families, by family.
pub struct Families<I> {
    prefixes: I,
    held: Option<Prefix>,
}

impl<I> Families<I> {
    /// Of prefixes in normal form, IPv4 first.
    pub fn of(prefixes: I) -> Self {
        Self { prefixes, held: None }
    }
}

impl<I: Iterator<Item = Result<Prefix, CodecError>>> Families<I> {
    fn next(&mut self) -> Result<Option<Prefix>, CodecError> {
        match self.held.take() {
            Some(held) => Ok(Some(held)),
            None => self.prefixes.next().transpose(),
        }
    }
}

impl<I: Iterator<Item = Result<Prefix, CodecError>>> ByFamily for Families<I> {
    fn next_v4(&mut self) -> Result<Option<Net<u32>>, CodecError> {
        match self.next()? {
            Some(Prefix::V4(net)) => Ok(Some(net)),
            other => {
                self.held = other;
                Ok(None)
            }
        }
    }

    fn next_v6(&mut self) -> Result<Option<Net<u128>>, CodecError> {
        loop {
            match self.next()? {
                Some(Prefix::V6(net)) => return Ok(Some(net)),
                Some(Prefix::V4(_)) => {}
                None => return Ok(None),
            }
        }
    }
}
