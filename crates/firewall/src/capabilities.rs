//! The features of a kernel on which the plan depends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Determined by testing the kernel, never derived from its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Sets of concatenated fields can contain ranges (Linux 5.6). Otherwise, ranges are separate rules.
    pub concat_intervals: bool,
    /// Set elements can have their own counters (Linux 5.7). Otherwise, hits are counted per nftables rule.
    pub element_counters: bool,
    /// Packets can update sets with counters. Otherwise, log lines are the only record of flows.
    pub recorder: bool,
    /// `socket cgroupv2` matches the program's cgroup (Linux 5.13). Otherwise, rules for a cgroup are not
    /// enforceable.
    pub cgroups: bool,
    /// `fib daddr type local` matches destinations that are addresses of this host (Linux 4.10). Otherwise,
    /// only loopback addresses are recognized.
    #[serde(default)]
    pub local_destinations: bool,
    /// `ct original ip saddr` matches the opener of a flow (Linux 4.17). Otherwise, forwarded packets can't
    /// be judged.
    #[serde(default)]
    pub forwarded: bool,
}

impl Capabilities {
    /// A current kernel.
    pub const FULL: Self = Self {
        concat_intervals: true,
        element_counters: true,
        recorder: true,
        cgroups: true,
        local_destinations: true,
        forwarded: true,
    };
    /// The minimum that is supported (RHEL 7).
    pub const PLAIN: Self = Self {
        concat_intervals: false,
        element_counters: false,
        recorder: false,
        cgroups: false,
        local_destinations: false,
        forwarded: false,
    };

    fn all(self) -> [bool; LETTERS.len()] {
        [
            self.concat_intervals,
            self.element_counters,
            self.recorder,
            self.cgroups,
            self.local_destinations,
            self.forwarded,
        ]
    }
}

const LETTERS: [char; 6] = ['i', 'e', 'r', 'g', 'l', 'f'];
/// The number of letters in the first version. Later capabilities that are absent in a text count as missing.
const AT_LEAST: usize = 4;

/// A letter for each existing capability, `-` for each missing one: `ierglf`, `------`.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |(letter, there)| if there { letter } else { '-' };
        LETTERS.into_iter().zip(self.all()).map(letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// The text does not describe capabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not describe a kernel's capabilities, such as iergl or -----")]
pub struct CapabilitiesError(String);

impl FromStr for Capabilities {
    type Err = CapabilitiesError;

    fn from_str(text: &str) -> Result<Self, CapabilitiesError> {
        let refuse = || CapabilitiesError(text.to_owned());
        if !(AT_LEAST..=LETTERS.len()).contains(&text.chars().count()) {
            return Err(refuse());
        }
        let mut there = [false; LETTERS.len()];
        for ((there, wanted), got) in there.iter_mut().zip(LETTERS).zip(text.chars()) {
            *there = match got {
                '-' => false,
                letter if letter == wanted => true,
                _ => return Err(refuse()),
            };
        }
        let [concat_intervals, element_counters, recorder, cgroups, local_destinations, forwarded] =
            there;
        Ok(Self {
            concat_intervals,
            element_counters,
            recorder,
            cgroups,
            local_destinations,
            forwarded,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for bits in 0..64 {
            let capabilities = Capabilities {
                concat_intervals: bits & 1 != 0,
                element_counters: bits & 2 != 0,
                recorder: bits & 4 != 0,
                cgroups: bits & 8 != 0,
                local_destinations: bits & 16 != 0,
                forwarded: bits & 32 != 0,
            };
            assert_eq!(capabilities.to_string().parse(), Ok(capabilities));
        }
        // As older versions wrote it into the kernel.
        let before = Capabilities { forwarded: false, ..Capabilities::FULL };
        assert_eq!("iergl".parse(), Ok(before));
        let before = Capabilities { local_destinations: false, ..before };
        assert_eq!("ierg".parse(), Ok(before));
        for wrong in ["", "ier", "ierglf-", "iergx", "gire", "IERG"] {
            assert!(wrong.parse::<Capabilities>().is_err(), "{wrong}");
        }
    }
}
