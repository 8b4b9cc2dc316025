//! Parses Windows' logs about flows: the Security log and Windows Firewall's own log. The same on every OS,
//! and pure, apart from reading the file in [`follow_file()`].
//!
//! 1. [`Fields`]: an event's named values, from JSON, or from the XML that `EvtRender` returns (feature
//!    `windows-xml`);
//! 2. [`Event`]: their meaning, determined by the addresses of this host and not by the names of fields,
//!    which mean different ends on different builds of Windows;
//! 3. [`Repeats`]: a drop reported by two events counts once;
//! 4. [`FirewallLog`]: `pfirewall.log`, by the columns that its header names;
//! 5. `follow` (feature `windows-xml`): the Security log from run to run, each event once, with gaps reported;
//! 6. [`follow_file()`]: the same of `pfirewall.log`.

mod ends;
mod event;
mod fields;
mod firewall_log;
#[cfg(any(test, feature = "windows-xml"))]
mod follow;
mod follow_file;
mod position;
mod repeats;
#[cfg(any(test, feature = "windows-xml"))]
mod xml;

pub use ends::{Detail, Ends, OwnAddresses};
pub use event::{Event, EventError, FilterChange, FilterEvent, FlowEvent, FlowOutcome, Socket};
pub use fields::Fields;
pub use firewall_log::{FirewallLine, FirewallLog, FirewallLogError};
#[cfg(any(test, feature = "windows-xml"))]
pub use follow::{Batch, Gap, KINDS, SecurityLog, Span, bookmark_record, follow, query};
pub use follow_file::{FileBatch, FilePosition, follow_file};
pub use position::Position;
pub use repeats::Repeats;
#[cfg(any(test, feature = "windows-xml"))]
pub use xml::{EventXmlError, read_xml};

#[cfg(test)]
mod tests;
