//! MISP attributes, as JSON or as the CSV that `restSearch` exports.

use std::io::BufRead;

use super::collector::{Collector, Entry};
use super::json::says;
use super::{FeedError, Presence, csv, json};
use crate::text::{self, Reason};

pub(super) fn read(
    mut reader: impl BufRead,
    collector: &mut Collector<'_>,
) -> Result<(), FeedError> {
    let head = reader.fill_buf().map_err(FeedError::Read)?;
    match head.trim_ascii_start().first() {
        Some(b'{' | b'[') | None => json::misp(reader, collector),
        Some(_) => csv(reader, collector),
    }
}

fn csv(reader: impl BufRead, collector: &mut Collector<'_>) -> Result<(), FeedError> {
    let wanted = ["type", "value", "to_ids"];
    csv::records(reader, b',', &wanted, collector, |number, line, values, collector| {
        let mut texts =
            values.iter().map(|value| value.and_then(|value| str::from_utf8(value).ok()));
        let mut next = || texts.next().flatten();
        let (Some(kind), Some(value), Some(to_ids)) = (next(), next(), next()) else {
            collector.reject(number, line, Reason::NoColumn);
            return Ok(());
        };
        let attribute = Attribute {
            kind,
            value,
            detects: says(to_ids) != Some(false),
            change: Presence::Listed,
        };
        attribute.give(number, line, collector)
    })
}

/// One attribute.
pub(super) struct Attribute<'a> {
    pub(super) kind: &'a str,
    pub(super) value: &'a str,
    /// Whether it is for detection, and not context such as a victim's address.
    pub(super) detects: bool,
    pub(super) change: Presence,
}

impl Attribute<'_> {
    /// Passes on its entry if it contains an address.
    pub(super) fn give(
        &self,
        line: u64,
        text: &[u8],
        collector: &mut Collector<'_>,
    ) -> Result<(), FeedError> {
        let range = match self.kind {
            "ip-src" | "ip-dst" => text::range(self.value.as_bytes()),
            "ip-src|port" | "ip-dst|port" => {
                let (address, port) = self.value.split_once('|').unwrap_or((self.value, ""));
                let port = text::decimal(port.as_bytes(), u32::from(u16::MAX));
                port.ok_or(Reason::TrailingText).and_then(|_| text::range(address.as_bytes()))
            }
            _ => {
                collector.skip();
                return Ok(());
            }
        };
        if !self.detects {
            collector.skip();
            return Ok(());
        }
        collector.entry(line, text, range.map(Entry::from), self.change)
    }
}
