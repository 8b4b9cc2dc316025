//! The number of a log group.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The log group (`NFLOG`) for live events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LiveGroup(NonZeroU16);

impl LiveGroup {
    /// The default. No program is known to use it.
    pub const DEFAULT: Self = match NonZeroU16::new(7733) {
        Some(number) => Self(number),
        None => panic!("zero is no group of ours"),
    };

    /// `None` for 0, which the kernel and other programs use for "no group".
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for LiveGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a log group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log group; expected a number from 1 to 65535")]
pub struct LiveGroupError(String);

impl FromStr for LiveGroup {
    type Err = LiveGroupError;

    fn from_str(text: &str) -> Result<Self, LiveGroupError> {
        text.parse().map(Self).map_err(|_| LiveGroupError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_groups_are_parsed() {
        assert_eq!("7733".parse(), Ok(LiveGroup::DEFAULT));
        assert_eq!(LiveGroup::DEFAULT.to_string(), "7733");
        for wrong in ["0", "65536", "-1", "", "x"] {
            assert!(wrong.parse::<LiveGroup>().is_err(), "{wrong}");
        }
    }
}
