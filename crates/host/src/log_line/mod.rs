//! The format of our lines in the kernel's log, and their meaning. The modules of each system know where that
//! log is.

mod cursor;
mod heading;
mod line;

pub use cursor::Cursor;
pub use heading::{Heading, PREFIX};
pub use line::{LogLine, LoggedFlow, LoggedThreat, events, flows, threats};
