//! Separated values with named columns (RFC 4180, but a record is a line).

use std::borrow::Cow;
use std::io::BufRead;

use super::collector::Collector;
use super::lines::each_line;
use super::{Change, Expiry, FeedError, Fields, Port};
use crate::entry::Confidence;
use crate::text::{self, Range, Reason};

/// Where the named columns stand.
struct Columns {
    address: usize,
    confidence: Option<usize>,
    valid_until: Option<usize>,
}

pub(super) fn read(
    reader: impl BufRead,
    separator: char,
    fields: &Fields,
    port: Port,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let ascii = u8::try_from(separator).ok().filter(|byte| byte.is_ascii() && *byte != b'"');
    let separator = ascii.ok_or(FeedError::Separator { separator })?;
    let mut columns = None;
    each_line(reader, collector, |number, line, collector| {
        let comment = line.trim_ascii_start().strip_prefix(b"#");
        let Some(columns) = &columns else {
            columns = header(comment.unwrap_or(line).trim_ascii(), separator, fields);
            // Until the names are found, only comments may stand in the way.
            let other = columns.is_none() && comment.is_none() && !line.trim_ascii().is_empty();
            return if other { Err(no_column(fields)) } else { Ok(()) };
        };
        if comment.is_some() || line.trim_ascii().is_empty() {
            return Ok(());
        }
        match split(line, separator) {
            Ok(values) => {
                let until = columns.valid_until.and_then(|at| values.get(at));
                let until = until.and_then(|until| str::from_utf8(until).ok());
                let expiry =
                    until.filter(|until| !until.is_empty()).map_or(Expiry::Never, Expiry::At);
                collector.entry(number, line, entry(&values, columns, port), expiry, Change::Listed)
            }
            Err(reason) => {
                collector.reject(number, line, reason);
                Ok(())
            }
        }
    })?;
    columns.map(|_| ()).ok_or_else(|| no_column(fields))
}

fn no_column(fields: &Fields) -> FeedError {
    let optional = [&fields.confidence, &fields.valid_until].into_iter().flatten();
    let names: Vec<&str> =
        [&fields.address].into_iter().chain(optional).map(String::as_str).collect();
    FeedError::NoColumn { column: names.join(", ") }
}

fn header(line: &[u8], separator: u8, fields: &Fields) -> Option<Columns> {
    let names = split(line, separator).ok()?;
    let find = |name: &String| names.iter().position(|given| given.as_ref() == name.as_bytes());
    // A column that is named in the settings but missing would be ignored in silence.
    let optional = |name: &Option<String>| match name {
        Some(name) => find(name).map(Some),
        None => Some(None),
    };
    Some(Columns {
        address: find(&fields.address)?,
        confidence: optional(&fields.confidence)?,
        valid_until: optional(&fields.valid_until)?,
    })
}

fn entry(
    values: &[Cow<'_, [u8]>],
    columns: &Columns,
    port: Port,
) -> Result<(Range, Option<Confidence>), Reason> {
    let address = values.get(columns.address).ok_or(Reason::NoColumn)?;
    let range = match port {
        Port::LeftOut if address.contains(&b':') => {
            text::without_port(address).map(|address| Range::from(crate::Prefix::from(address)))?
        }
        _ => text::range(address)?,
    };
    let Some(at) = columns.confidence else { return Ok((range, None)) };
    let percent = text::decimal(values.get(at).ok_or(Reason::NoColumn)?, 100);
    let percent = percent.ok_or(Reason::Confidence)?;
    Ok((range, Confidence::new(percent as u8)))
}

/// The fields of a line, without white space around them and without their quotes.
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

/// The field up to its closing quote, and what follows; two quotes are one.
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
