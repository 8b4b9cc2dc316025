//! Replaces `libfuzzer-sys` under its name and with its macro, so that a fuzz target becomes a function that
//! a test can call.

pub use arbitrary;

// So that the path with which a target names the macro resolves to this crate.
extern crate self as libfuzzer_sys;

use arbitrary::{Arbitrary, Unstructured};

/// Creates a target's input from bytes as `libfuzzer-sys` does, and runs the target; too few bytes are
/// ignored.
pub fn with_input<'a, T: Arbitrary<'a>>(bytes: &'a [u8], target: impl FnOnce(T)) {
    if bytes.len() < T::size_hint(0).0 {
        return;
    }
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        target(input);
    }
}

/// Defines `run`, a function that takes the bytes of an input.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:expr) => {
        pub(crate) fn run($bytes: &[u8]) {
            $body
        }
    };
    (|$input:ident: $kind:ty| $body:expr) => {
        pub(crate) fn run(bytes: &[u8]) {
            $crate::with_input(bytes, |$input: $kind| $body);
        }
    };
}
