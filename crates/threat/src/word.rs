//! The two widths of an address as numbers, so that every algorithm is written once.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::ops::{Add, BitAnd, BitOr, Not, Shl, Shr, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub trait Word:
    sealed::Sealed
    + Copy
    + Ord
    + Hash
    + Debug
    + Default
    + Into<u128>
    + Add<Output = Self>
    + Sub<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// Bits of an address.
    const BITS: u8;
    /// The highest address.
    const MAX: Self;
    /// The number one.
    const ONE: Self;

    /// The number of low zero bits; [`Word::BITS`] for zero.
    fn low_zeros(self) -> u8;

    /// The number of bits that the number needs; 0 for zero.
    fn width(self) -> u8;

    /// The low bits of a wider number.
    fn truncated(wide: u128) -> Self;

    /// As an address.
    fn address(self) -> IpAddr;

    /// The host mask of a prefix of `len` bits; `len` is at most [`Word::BITS`].
    #[must_use]
    fn host_mask(len: u8) -> Self {
        if len == Self::BITS { Self::default() } else { Self::MAX >> u32::from(len) }
    }
}

impl Word for u32 {
    const BITS: u8 = 32;
    const MAX: Self = Self::MAX;
    const ONE: Self = 1;

    fn low_zeros(self) -> u8 {
        self.trailing_zeros() as u8
    }

    fn width(self) -> u8 {
        (Self::BITS - self.leading_zeros()) as u8
    }

    fn truncated(wide: u128) -> Self {
        wide as Self
    }

    fn address(self) -> IpAddr {
        IpAddr::V4(self.into())
    }
}

impl Word for u128 {
    const BITS: u8 = 128;
    const MAX: Self = Self::MAX;
    const ONE: Self = 1;

    fn low_zeros(self) -> u8 {
        self.trailing_zeros() as u8
    }

    fn width(self) -> u8 {
        (Self::BITS - self.leading_zeros()) as u8
    }

    fn truncated(wide: u128) -> Self {
        wide
    }

    fn address(self) -> IpAddr {
        IpAddr::V6(self.into())
    }
}
