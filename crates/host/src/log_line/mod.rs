//! What our rules write to the kernel's log, as text and as what it says. Where that log is, the modules
//! of each system know.

mod cursor;
mod heading;
mod line;

pub use cursor::Cursor;
pub use heading::{Heading, PREFIX};
pub use line::{LogLine, LoggedFlow, LoggedThreat, events, flows, threats};
