//! The detailed log of a run while the platform requests one: what was done, step by step.
//!
//! One thread runs one cycle at a time, so the lines are kept in thread-local storage; nothing has to be
//! passed around, and a line costs one check if no log is kept.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use xshield_wire::foreign::one_line;
use xshield_wire::telemetry::{DebugArea, DebugLine};

/// The most lines kept between two deliveries; the others are counted.
const MOST: usize = 5_000;
/// The longest line, in characters; longer ones are cut.
const LONGEST: usize = 1_000;

#[derive(Debug, Default)]
struct Trace {
    lines: Vec<DebugLine>,
    dropped: u64,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Starts keeping lines, in addition to those already kept.
pub(crate) fn begin() {
    TRACE.with_borrow_mut(|trace| {
        trace.get_or_insert_default();
    });
}

/// Stops keeping lines.
pub(crate) fn end() {
    TRACE.with_borrow_mut(|trace| *trace = None);
}

/// Adds a line. The text is only built if it is kept; it must not contain secrets.
pub(crate) fn line(area: DebugArea, text: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        let Some(trace) = trace else { return };
        if trace.lines.len() >= MOST {
            trace.dropped += 1;
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let text = one_line(&text()).chars().take(LONGEST).collect();
        trace.lines.push(DebugLine { at_ms, area, text });
    });
}

/// The lines since the last call, and the number of lines that were dropped.
pub(crate) fn take() -> (Vec<DebugLine>, u64) {
    TRACE.with_borrow_mut(|trace| {
        let taken = trace.as_mut().map(std::mem::take).unwrap_or_default();
        (taken.lines, taken.dropped)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_lines_are_kept_while_enabled_and_the_excess_is_counted() {
        line(DebugArea::Network, || unreachable!("nobody wants it"));
        begin();
        for number in 0..MOST + 3 {
            line(DebugArea::Policy, || format!("line {number}\nforged"));
        }
        begin();
        let (lines, dropped) = take();
        assert_eq!((lines.len(), dropped), (MOST, 3));
        assert_eq!(lines[1].text, "line 1\u{fffd}forged");
        line(DebugArea::Policy, || "again".to_owned());
        assert_eq!(take().0.len(), 1);
        end();
        assert_eq!(take(), (Vec::new(), 0));
    }
}
