//! Separated values with named or numbered columns (RFC 4180): a quoted field may span several lines.

use std::borrow::Cow;
use std::io::BufRead;

use super::collector::{Collector, Entry, expiry, percent};
use super::lines::each_line;
use super::{Expiry, FeedError, Fields, Port, Presence};
use crate::text::{self, Range, Reason};

pub(super) fn read(
    reader: impl BufRead,
    separator: char,
    fields: &Fields,
    port: Port,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let ascii = u8::try_from(separator).ok().filter(|byte| byte.is_ascii() && *byte != b'"');
    let separator = ascii.ok_or(FeedError::Separator { separator })?;
    let wanted = fields.names();
    records(reader, separator, &wanted, collector, |number, line, values, collector| {
        match entry(fields, values, port) {
            Ok(None) => {
                collector.skip();
                Ok(())
            }
            Ok(Some(entry)) => collector.entry(number, line, Ok(entry), Presence::Listed),
            Err(reason) => collector.entry(number, line, Err(reason), Presence::Listed),
        }
    })
}

/// The values of the requested columns, in the order of the request; `None` if the line is too short.
pub(super) type Values<'a> = [Option<&'a [u8]>];

/// Calls `each` with every record below the line with the `wanted` names: its number, its line, its values.
pub(super) fn records(
    reader: impl BufRead,
    separator: u8,
    wanted: &[&str],
    collector: &mut Collector<'_>,
    mut each: impl FnMut(u64, &[u8], &Values<'_>, &mut Collector<'_>) -> Result<(), FeedError>,
) -> Result<(), FeedError> {
    let mut columns = numbered(wanted);
    let mut there = None;
    let mut record = Record::default();
    each_line(reader, collector, |number, line, collector| {
        let comment = line.trim_ascii_start().strip_prefix(b"#").filter(|_| !record.is_open());
        let is_blank = line.trim_ascii().is_empty() && !record.is_open();
        let Some(columns) = &columns else {
            let line = comment.unwrap_or(line).trim_ascii();
            columns = header(line, separator, wanted);
            // Until the names are found, only comments may precede them.
            if columns.is_some() || is_blank {
                return Ok(());
            }
            there = Some(names(line, separator));
            return if comment.is_none() { Err(no_column(wanted, there.take())) } else { Ok(()) };
        };
        if comment.is_some() || is_blank {
            return Ok(());
        }
        record.add(number, line, separator, collector.limits.line_bytes)?;
        if record.is_open() {
            return Ok(());
        }
        let (number, line) = record.take();
        match split(&line, separator) {
            Ok(values) => {
                let value = |&at: &usize| values.get(at).map(AsRef::as_ref);
                let values: Vec<Option<&[u8]>> = columns.iter().map(value).collect();
                each(number, &line, &values, collector)
            }
            Err(reason) => {
                collector.reject(number, &line, reason);
                Ok(())
            }
        }
    })?;
    match (record.is_open(), columns) {
        (true, _) => Err(FeedError::OpenQuote { line: record.number }),
        (false, Some(_)) => Ok(()),
        (false, None) => Err(no_column(wanted, there)),
    }
}

/// The lines of a record: one, or several with a quoted field.
#[derive(Debug, Default)]
struct Record {
    /// Its first line.
    number: u64,
    text: Vec<u8>,
    place: Place,
}

/// The position of a byte in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before anything of a field but spaces.
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// After a quote that closes the field, unless another one follows.
    Quote,
}

impl Record {
    fn is_open(&self) -> bool {
        self.place == Place::Quoted
    }

    fn add(
        &mut self,
        number: u64,
        line: &[u8],
        separator: u8,
        limit: usize,
    ) -> Result<(), FeedError> {
        if self.is_open() {
            self.text.push(b'\n');
        } else {
            self.text.clear();
            (self.number, self.place) = (number, Place::FieldStart);
        }
        if self.text.len() + line.len() > limit {
            return Err(FeedError::LineTooLong { line: self.number, limit });
        }
        self.text.extend_from_slice(line);
        for &byte in line {
            self.place = match (self.place, byte) {
                (Place::FieldStart, b' ') => Place::FieldStart,
                (Place::FieldStart, b'"') | (Place::Quote, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::Quote,
                (Place::Quoted, _) => Place::Quoted,
                (_, byte) if byte == separator => Place::FieldStart,
                (Place::FieldStart | Place::Plain | Place::Quote, _) => Place::Plain,
            };
        }
        Ok(())
    }

    /// Its first line, and its text.
    fn take(&mut self) -> (u64, Vec<u8>) {
        (self.number, std::mem::take(&mut self.text))
    }
}

fn no_column(wanted: &[&str], there: Option<Vec<String>>) -> FeedError {
    FeedError::NoColumn { column: wanted.join(", "), there: there.unwrap_or_default() }
}

/// Columns by number from 1 (`@1`), in files without a line of names.
fn numbered(wanted: &[&str]) -> Option<Vec<usize>> {
    let column = |name: &&str| {
        let number = text::decimal(name.strip_prefix('@')?.as_bytes(), u32::from(u16::MAX))?;
        usize::try_from(number).ok()?.checked_sub(1)
    };
    wanted.iter().map(column).collect()
}

/// The names of a line, for people.
fn names(line: &[u8], separator: u8) -> Vec<String> {
    let names = split(line, separator).unwrap_or_default();
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The positions of the wanted columns. All of them must exist, since a configured but missing column would
/// be ignored silently.
fn header(line: &[u8], separator: u8, wanted: &[&str]) -> Option<Vec<usize>> {
    let names = split(line, separator).ok()?;
    let find = |name: &&str| names.iter().position(|given| given.as_ref() == name.as_bytes());
    wanted.iter().map(find).collect()
}

/// The entry of a record; `None` if it has no address.
fn entry(fields: &Fields, values: &Values<'_>, port: Port) -> Result<Option<Entry>, Reason> {
    let mut values = values.iter().map(|value| value.ok_or(Reason::NoColumn));
    let mut next = || values.next().unwrap_or(Err(Reason::NoColumn));
    let address = next()?;
    let confidence = fields.confidence.as_ref().map(|_| next()).transpose()?;
    let until = fields.valid_until.as_ref().map(|_| next()).transpose()?;
    let range = match port {
        Port::InUrl => match text::host_of_url(address)? {
            Some(host) => Range::from(crate::Prefix::from(host)),
            None => return Ok(None),
        },
        Port::LeftOut if address.contains(&b':') => {
            Range::from(crate::Prefix::from(text::without_port(address)?))
        }
        Port::LeftOut | Port::Refused => text::range(address)?,
    };
    let confidence = confidence.map_or(Ok(None), percent)?;
    let expiry = match until {
        Some(until) => expiry(str::from_utf8(until).map_err(|_| Reason::NotUtf8)?)?,
        None => Expiry::Never,
    };
    Ok(Some(Entry { confidence, expiry, ..range.into() }))
}

/// The fields of a line, without surrounding white space and quotes.
fn split(line: &[u8], separator: u8) -> Result<Vec<Cow<'_, [u8]>>, Reason> {
    let mut fields = Vec::new();
    let mut rest = Some(line);
    while let Some(text) = rest {
        // Spaces only: a tab may be the separator.
        let spaces = text.iter().take_while(|&&byte| byte == b' ').count();
        let text = &text[spaces..];
        if let Some(quoted) = text.strip_prefix(b"\"") {
            let (field, after) = unquoted(quoted)?;
            let after = if separator == b'\t' { after } else { after.trim_ascii() };
            fields.push(field);
            rest = match after.split_first() {
                None => None,
                Some((&first, after)) if first == separator => Some(after),
                Some(_) => return Err(Reason::Quotes),
            };
        } else {
            let end = text.iter().position(|&byte| byte == separator);
            fields.push(Cow::Borrowed(text[..end.unwrap_or(text.len())].trim_ascii()));
            rest = end.map(|end| &text[end + 1..]);
        }
    }
    Ok(fields)
}

/// The field up to its closing quote, and the rest; two quotes are one.
fn unquoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Reason> {
    let mut doubled = false;
    let mut at = 0;
    loop {
        let quote = text[at..].iter().position(|&byte| byte == b'"').ok_or(Reason::Quotes)? + at;
        if text.get(quote + 1) != Some(&b'"') {
            let field = &text[..quote];
            let field = if doubled { halved(field).into() } else { field.into() };
            return Ok((field, &text[quote + 1..]));
        }
        doubled = true;
        at = quote + 2;
    }
}

fn halved(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(byte);
        if byte == b'"' {
            rest.next();
        }
    }
    bytes
}
