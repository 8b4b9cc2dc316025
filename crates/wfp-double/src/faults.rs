//! Calls that fail on demand: one line each in the file `faults` of the directory.
//!
//! ```text
//! at 7 0x80320012        the seventh call answers FWP_E_TIMEOUT and does nothing
//! at 7 after 1726        it does what is asked, and its answer is lost
//! at 7 kill              the program is killed before the call does anything
//! at 7 after kill        … after it did
//! from 3 1753            the third call and all after it fail
//! FwpmEngineOpen0 5      every call of this name fails
//! ```

use std::str::FromStr;

/// Which calls a fault concerns. Calls are counted from 1, by program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    At(u64),
    From(u64),
    Named(String),
}

/// What happens in place of the call, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEffect {
    /// It answers with this code.
    Answer(u32),
    /// The program is killed.
    Kill,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The call does nothing.
    Before,
    /// The call did what was asked.
    After,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(Vec<(Which, Moment, FaultEffect)>);

/// A line that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fault: expected `at N [after] CODE|kill`, `from N …` or `FUNCTION …`")]
pub struct FaultsError(String);

impl Faults {
    /// What happens to a call.
    #[must_use]
    pub fn of(&self, number: u64, name: &str) -> Option<(Moment, FaultEffect)> {
        let concerns = |which: &Which| match which {
            Which::At(at) => *at == number,
            Which::From(from) => number >= *from,
            Which::Named(named) => named == name,
        };
        let found = self.0.iter().find(|(which, _, _)| concerns(which));
        found.map(|(_, moment, outcome)| (*moment, *outcome))
    }
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        text.lines()
            .map(|line| fault(line).ok_or_else(|| FaultsError(line.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn fault(line: &str) -> Option<(Which, Moment, FaultEffect)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (which, rest) = match &words[..] {
        ["at", number, rest @ ..] => (Which::At(number.parse().ok()?), rest),
        ["from", number, rest @ ..] => (Which::From(number.parse().ok()?), rest),
        [name, rest @ ..] if name.starts_with("Fwpm") => (Which::Named((*name).to_owned()), rest),
        _ => return None,
    };
    let (moment, outcome) = match rest {
        ["after", outcome] => (Moment::After, outcome),
        [outcome] => (Moment::Before, outcome),
        _ => return None,
    };
    let outcome = match *outcome {
        "kill" => FaultEffect::Kill,
        code => FaultEffect::Answer(match code.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => code.parse().ok()?,
        }),
    };
    Some((which, moment, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_faults() {
        let faults: Faults =
            "at 2 0x80320012\nat 3 after kill\nfrom 5 1753\nFwpmEngineOpen0 5".parse().unwrap();
        for (number, name, wanted) in [
            (1, "FwpmFilterAdd0", None),
            (1, "FwpmEngineOpen0", Some((Moment::Before, FaultEffect::Answer(5)))),
            (2, "FwpmEngineOpen0", Some((Moment::Before, FaultEffect::Answer(0x8032_0012)))),
            (3, "FwpmFilterAdd0", Some((Moment::After, FaultEffect::Kill))),
            (4, "FwpmFilterAdd0", None),
            (9, "FwpmFilterAdd0", Some((Moment::Before, FaultEffect::Answer(1753)))),
        ] {
            assert_eq!(faults.of(number, name), wanted, "call {number}");
        }
        for wrong in ["at", "at x 5", "at 1", "at 1 2 3", "sometimes 5", "at 1 after"] {
            assert!(wrong.parse::<Faults>().is_err(), "{wrong}");
        }
    }
}
