//! What a kernel can do, as far as the plan depends on it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Found out by asking the kernel, never guessed from its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Sets of concatenated fields can hold ranges (Linux 5.6). Without: ranges are rule lines.
    pub concat_intervals: bool,
    /// Set elements can carry their own counters (Linux 5.7). Without: hits are counted by rule line.
    pub element_counters: bool,
    /// The packet path can update sets with counters. Without: log lines are the only record of flows.
    pub recorder: bool,
    /// `socket cgroupv2` matches the program's cgroup (Linux 5.13). Without: rules owned by a cgroup are
    /// not enforceable.
    pub cgroups: bool,
}

impl Capabilities {
    /// A current kernel.
    pub const FULL: Self =
        Self { concat_intervals: true, element_counters: true, recorder: true, cgroups: true };
    /// The least that is supported (RHEL 7).
    pub const PLAIN: Self =
        Self { concat_intervals: false, element_counters: false, recorder: false, cgroups: false };
}

const LETTERS: [char; 4] = ['i', 'e', 'r', 'g'];

/// A letter for each that is there, `-` for each that is not: `ierg`, `----`.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [self.concat_intervals, self.element_counters, self.recorder, self.cgroups];
        let letter = |(letter, there)| if there { letter } else { '-' };
        LETTERS.into_iter().zip(all).map(letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// Why a text does not name capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not name capabilities of a kernel, such as ierg or ----")]
pub struct CapabilitiesError(String);

impl FromStr for Capabilities {
    type Err = CapabilitiesError;

    fn from_str(text: &str) -> Result<Self, CapabilitiesError> {
        let refuse = || CapabilitiesError(text.to_owned());
        let letters: Vec<char> = text.chars().collect();
        let letters: [char; 4] = letters.try_into().map_err(|_| refuse())?;
        let mut there = [false; 4];
        for ((there, wanted), got) in there.iter_mut().zip(LETTERS).zip(letters) {
            *there = match got {
                '-' => false,
                letter if letter == wanted => true,
                _ => return Err(refuse()),
            };
        }
        let [concat_intervals, element_counters, recorder, cgroups] = there;
        Ok(Self { concat_intervals, element_counters, recorder, cgroups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for bits in 0..16 {
            let capabilities = Capabilities {
                concat_intervals: bits & 1 != 0,
                element_counters: bits & 2 != 0,
                recorder: bits & 4 != 0,
                cgroups: bits & 8 != 0,
            };
            assert_eq!(capabilities.to_string().parse(), Ok(capabilities));
        }
        for wrong in ["", "ier", "ierg-", "gire", "IERG"] {
            assert!(wrong.parse::<Capabilities>().is_err(), "{wrong}");
        }
    }
}
