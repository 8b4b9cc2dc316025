//! What makes a whole feed unusable.

use std::io;

use thiserror::Error;

/// Why nothing of a feed may be used.
#[derive(Debug, Error)]
pub enum FeedError {
    /// Reading failed.
    #[error("reading the feed failed; it is tried again at its next time")]
    Read(#[source] io::Error),
    /// Nothing is listed.
    #[error("the feed lists nothing; if that is meant, allow it to be empty")]
    Empty,
    /// No line was an entry.
    #[error("none of {rejected} lines is an entry; check the feed's format")]
    NothingUsable {
        /// Lines that should have been entries.
        rejected: u64,
    },
    /// A web page.
    #[error("the feed is a web page, not a list; check its address and its login")]
    Html,
    /// A compressed file.
    #[error(
        "the feed is compressed as {form}, which is not read here; unpack it, or offer it as gzip or zstd, once"
    )]
    Compressed {
        /// How.
        form: &'static str,
    },
    /// UTF-16 or binary.
    #[error("the feed is not UTF-8 text")]
    Charset,
    /// A line or text beyond the limit.
    #[error("line {line} of the feed is longer than {limit} bytes")]
    LineTooLong {
        /// The line, from 1.
        line: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// More bytes than the limit.
    #[error("the feed is larger than {limit} bytes; raise its limit if that is right")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// More entries than the limit.
    #[error("the feed has more than {limit} entries; raise its limit if that is right")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// A JSON document that ends too early.
    #[error("the feed ends in the middle of its document; it is tried again at its next time")]
    Truncated,
    /// Not JSON.
    #[error("the feed is not the JSON document it should be; check its format")]
    Json(#[source] serde_json::Error),
    /// A separator that can't be one.
    #[error("{separator:?} can't separate values; choose another ASCII character")]
    Separator {
        /// The separator.
        separator: char,
    },
    /// No line with the column names.
    #[error("the feed has no column {column:?}{}; check the feed's settings", listed(.there))]
    NoColumn {
        /// The column, or several.
        column: String,
        /// The columns that there are.
        there: Vec<String>,
    },
    /// No object has the field of the address.
    #[error("no object of the feed has a field {field:?}{}; check the feed's settings", listed(.there))]
    NoField {
        /// The field.
        field: String,
        /// The fields of the first object.
        there: Vec<String>,
    },
    /// A quoted field that never ends.
    #[error(
        "a quoted field that begins on line {line} of the feed, or on one of its next lines, does not end"
    )]
    OpenQuote {
        /// The line of its record, from 1.
        line: u64,
    },
    /// A name in a manifest that is none of an event.
    #[error("the manifest names {name:?}, which is no event with a time; check the feed's address")]
    NoEvent {
        /// The name.
        name: String,
    },
    /// No array where there should be one.
    #[error("the feed has no list {list:?}; check the feed's format and path")]
    NoList {
        /// Where it should be.
        list: String,
    },
}

/// Names that are listed, and characters of each.
const NAMES: usize = 20;
const NAME_CHARACTERS: usize = 40;

/// `; it has "a", "b"`, or nothing.
fn listed(names: &[String]) -> String {
    let shown =
        |name: &String| format!("{:?}", name.chars().take(NAME_CHARACTERS).collect::<String>());
    let names: Vec<String> = names.iter().take(NAMES).map(shown).collect();
    if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
}
