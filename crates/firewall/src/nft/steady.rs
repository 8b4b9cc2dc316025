//! Reads consistently what the kernel sends in several answers, while other programs change their own rules.
//!
//! The generation counts all programs' changes, so if a program changes rules continuously, it never stays
//! the same for the duration of a reading. In that case two consecutive readings are compared: if they are
//! equal, that was the state at the moment between them, whatever others changed.

use std::thread::sleep;
use std::time::Duration;

use crate::error::FirewallError;
use crate::programmed::Generation;

/// How often a table is read before the error that its rules keep changing.
const TRIES: u32 = 12;
/// The longest pause between two readings that differ.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// The result, and when it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConsistentRead<T> {
    pub read: T,
    /// The generation when the reading started.
    pub began: Generation,
    /// The same, if it did not change. `None`: others kept changing rules, and two readings were equal.
    pub generation: Option<Generation>,
}

/// Reads until nothing changed meanwhile, or two consecutive readings are equal.
pub(crate) fn steady<L, T>(
    link: &mut L,
    action: &'static str,
    generation: impl Fn(&mut L) -> Result<Generation, FirewallError>,
    mut read: impl FnMut(&mut L) -> Result<T, FirewallError>,
    same: impl Fn(&T, &T) -> bool,
) -> Result<ConsistentRead<T>, FirewallError> {
    let mut last = None;
    let mut before = generation(link)?;
    let mut pause = Duration::from_millis(1);
    for _ in 0..TRIES {
        let now = read(link)?;
        let after = generation(link)?;
        if after == before {
            return Ok(ConsistentRead { read: now, began: before, generation: Some(after) });
        }
        if last.as_ref().is_some_and(|last| same(last, &now)) {
            return Ok(ConsistentRead { read: now, began: before, generation: None });
        }
        if last.is_some() {
            #[allow(
                clippy::disallowed_methods,
                reason = "the program that changes our table may be done soon"
            )]
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        last = Some(now);
        before = after;
    }
    Err(FirewallError::Busy { action })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generations and readings in order; the last ones repeat.
    struct Kernel {
        generations: Vec<u32>,
        readings: Vec<char>,
    }

    fn next<T: Copy>(all: &mut Vec<T>) -> T {
        if all.len() > 1 { all.remove(0) } else { all[0] }
    }

    #[test]
    fn a_read_is_consistent() {
        type Case<'a> = (&'a str, &'a [u32], &'a str, Option<(char, Option<u32>)>);
        let forever: Vec<u32> = (0..1000).collect();
        let cases: [Case<'_>; 5] = [
            ("nobody changes anything", &[7], "a", Some(('a', Some(7)))),
            ("one change at first", &[7, 8], "ab", Some(('b', Some(8)))),
            ("others change theirs without a pause", &forever, "a", Some(('a', None))),
            ("ours was changed, too", &forever, "abcc", Some(('c', None))),
            ("ours changes without a pause", &forever, "abababababababababab", None),
        ];
        for (what, generations, readings, wanted) in cases {
            let mut kernel =
                Kernel { generations: generations.to_vec(), readings: readings.chars().collect() };
            let read = steady(
                &mut kernel,
                "reading",
                |kernel| Ok(Generation(next(&mut kernel.generations))),
                |kernel| Ok(next(&mut kernel.readings)),
                |a, b| a == b,
            );
            let read = read.map(|steady| (steady.read, steady.generation.map(|g| g.0)));
            match (read, wanted) {
                (Ok(read), Some(wanted)) => assert_eq!(read, wanted, "{what}"),
                (Err(FirewallError::Busy { .. }), None) => {}
                (read, _) => panic!("{what}: {read:?}"),
            }
        }
    }
}
