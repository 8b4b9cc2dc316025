//! Errors that make a whole feed unusable.

use std::io;

use thiserror::Error;

/// Why a feed can't be used.
#[derive(Debug, Error)]
pub enum FeedError {
    /// Reading failed.
    #[error("reading the feed failed; it is tried again at the next interval")]
    Read(#[source] io::Error),
    /// It has no entries.
    #[error("the feed has no entries; if that is intended, allow it to be empty")]
    Empty,
    /// No line is an entry.
    #[error("none of {rejected} lines is an entry; check the feed's format")]
    NothingUsable {
        /// The number of invalid lines.
        rejected: u64,
    },
    /// A web page.
    #[error("the feed is a web page, not a list; check its address and its credentials")]
    Html,
    /// A compressed file.
    #[error(
        "the feed is compressed as {form}, which is not supported; provide it uncompressed, or \
         compressed once with gzip or zstd"
    )]
    Compressed {
        /// The compression.
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
    #[error("the feed ends in the middle of its document; it is tried again at the next interval")]
    Truncated,
    /// Not JSON.
    #[error("the feed is not a JSON document of the configured format; check its format")]
    Json(#[source] serde_json::Error),
    /// An invalid separator.
    #[error("{separator:?} can't be a separator; choose another ASCII character")]
    Separator {
        /// The separator.
        separator: char,
    },
    /// There is no line with the column names.
    #[error("the feed has no column {column:?}{}; check the feed's settings", listed(.there))]
    NoColumn {
        /// The missing column, or several.
        column: String,
        /// The existing columns.
        there: Vec<String>,
    },
    /// No object has the address field.
    #[error("no object of the feed has a field {field:?}{}; check the feed's settings", listed(.there))]
    NoField {
        /// The field.
        field: String,
        /// The fields of the first object.
        there: Vec<String>,
    },
    /// A quoted field that is never closed.
    #[error(
        "a quoted field that begins on line {line} of the feed, or on one of its next lines, does not end"
    )]
    OpenQuote {
        /// The line of its record, from 1.
        line: u64,
    },
    /// A name in a manifest that is not an event's.
    #[error(
        "the manifest contains {name:?}, which is not an event with a time; check the feed's \
         address"
    )]
    NoEvent {
        /// The name.
        name: String,
    },
    /// There is no array at the configured path.
    #[error("the feed has no list {list:?}; check the feed's format and path")]
    NoList {
        /// The path.
        list: String,
    },
}

/// The most names listed, and the most characters of each.
const NAMES: usize = 20;
const NAME_CHARACTERS: usize = 40;

/// `; it has "a", "b"`, or an empty text.
fn listed(names: &[String]) -> String {
    let shown =
        |name: &String| format!("{:?}", name.chars().take(NAME_CHARACTERS).collect::<String>());
    let names: Vec<String> = names.iter().take(NAMES).map(shown).collect();
    if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) }
}
