//! What our rules wrote to the kernel's log.

mod line;

pub use line::{LogLine, PREFIX, events};
