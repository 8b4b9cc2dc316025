//! Reads the Security log from run to run: each event once, with gaps reported.

use quick_xml::Reader;
use quick_xml::events::Event as Xml;

use super::ends::OwnAddresses;
use super::event::Event;
use super::position::Position;
use super::xml::read_xml;

/// The kinds of events that are read: those about flows.
pub const KINDS: [u32; 3] = [5152, 5156, 5157];

/// The numbers of the records that a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The oldest.
    pub oldest: u64,
    /// The newest.
    pub newest: u64,
}

/// The Security log, or a test's.
pub trait SecurityLog {
    /// Why it can't be read.
    type Error;

    /// The records that it holds; `None` if it is empty.
    ///
    /// # Errors
    /// If the log can't be opened.
    fn span(&mut self) -> Result<Option<Span>, Self::Error>;

    /// Passes events of [`KINDS`] to `each` as XML, the oldest first: those with a record number above the
    /// position's, at most `most`. Returns Windows' bookmark of the last one; `None` if there was none.
    ///
    /// # Errors
    /// If the log can't be read.
    fn read(
        &mut self,
        after: &Position,
        most: usize,
        each: &mut dyn FnMut(&str),
    ) -> Result<Option<String>, Self::Error>;
}

/// Whether records are missing between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// None is missing.
    None,
    /// So many records, of all kinds, were overwritten by newer ones before they were read.
    Overwritten(u64),
    /// The log was cleared; it is unknown how many records were.
    Cleared,
}

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The events, the oldest first.
    pub events: Vec<Event>,
    /// Events that could not be parsed.
    pub unreadable: u64,
    /// Whether records are missing before these.
    pub gap: Gap,
    /// Whether this was everything up to now.
    pub is_complete: bool,
    /// Where the next read begins.
    pub position: Position,
}

/// Reads at most `most` events after `position`. Without a position, nothing is read: events from before
/// the first run tell nothing about a policy of ours.
///
/// A log that was cleared and has since grown beyond the position again is not recognised as cleared.
///
/// # Errors
/// If the log can't be read; the position stays valid.
pub fn follow<L: SecurityLog>(
    log: &mut L,
    own: &OwnAddresses,
    position: Option<&Position>,
    most: usize,
) -> Result<Batch, L::Error> {
    let span = log.span()?;
    let newest = span.map_or(0, |span| span.newest);
    let start = Position { record: newest, bookmark: None };
    let nothing = Batch {
        events: Vec::new(),
        unreadable: 0,
        gap: Gap::None,
        is_complete: true,
        position: start,
    };
    let Some(position) = position else { return Ok(nothing) };
    let (gap, after) = if newest < position.record {
        (Gap::Cleared, Position::default())
    } else {
        let missing = span.map_or(0, |span| span.oldest.saturating_sub(position.record + 1));
        let gap = if missing > 0 { Gap::Overwritten(missing) } else { Gap::None };
        (gap, position.clone())
    };
    let (mut events, mut unreadable, mut count) = (Vec::new(), 0, 0);
    let mut each = |text: &str| {
        count += 1;
        let fields = read_xml(text).ok();
        match fields.and_then(|fields| Event::read(&fields, own).ok()) {
            Some(event) => events.extend(event),
            None => unreadable += 1,
        }
    };
    let bookmark = log.read(&after, most, &mut each)?;
    let is_complete = count < most;
    let read = bookmark.as_deref().and_then(bookmark_record).unwrap_or(after.record);
    let record = if is_complete { read.max(newest) } else { read };
    let position = Position { record, bookmark: bookmark.or(after.bookmark) };
    Ok(Batch { events, unreadable, gap, is_complete, position })
}

/// The query for events of [`KINDS`] above a record number, in the part of XPath that Windows knows.
#[must_use]
pub fn query(after: u64) -> String {
    let kinds: Vec<String> = KINDS.iter().map(|kind| format!("EventID={kind}")).collect();
    format!("*[System[({}) and (EventRecordID>{after})]]", kinds.join(" or "))
}

/// The record number in a bookmark of Windows.
#[must_use]
pub fn bookmark_record(bookmark: &str) -> Option<u64> {
    let mut reader = Reader::from_str(bookmark);
    loop {
        let (Xml::Start(start) | Xml::Empty(start)) = (match reader.read_event().ok()? {
            Xml::Eof => return None,
            event => event,
        }) else {
            continue;
        };
        if start.local_name().as_ref() == "Bookmark" {
            let record = start.try_get_attribute("RecordId").ok()??;
            return record.value.parse().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with records of these numbers, of which the even ones are events of flows.
    struct Fake {
        records: Vec<u64>,
        cut: bool,
    }

    fn bookmark(record: u64) -> String {
        format!(
            "<BookmarkList>\r\n  <Bookmark Channel='Security' RecordId='{record}' IsCurrent='true'/>\r\n\
             </BookmarkList>"
        )
    }

    fn xml(record: u64) -> String {
        format!(
            "<Event><System><EventID>5157</EventID><EventRecordID>{record}</EventRecordID></System>\
             <EventData><Data Name='ProcessID'>4</Data><Data Name='Application'>System</Data>\
             <Data Name='Direction'>%%14592</Data><Data Name='SourceAddress'>10.0.0.9</Data>\
             <Data Name='SourcePort'>{record}</Data><Data Name='DestAddress'>10.0.0.5</Data>\
             <Data Name='DestPort'>445</Data><Data Name='Protocol'>6</Data>\
             <Data Name='FilterRTID'>70</Data></EventData></Event>"
        )
    }

    impl SecurityLog for Fake {
        type Error = &'static str;

        fn span(&mut self) -> Result<Option<Span>, Self::Error> {
            let ends = self.records.first().zip(self.records.last());
            Ok(ends.map(|(&oldest, &newest)| Span { oldest, newest }))
        }

        fn read(
            &mut self,
            after: &Position,
            most: usize,
            each: &mut dyn FnMut(&str),
        ) -> Result<Option<String>, Self::Error> {
            let wanted = |record: &&u64| **record > after.record && record.is_multiple_of(2);
            let mut last = None;
            for &record in self.records.iter().filter(wanted).take(most) {
                let text = xml(record);
                let end = if self.cut { text.len() / 2 } else { text.len() };
                each(&text[..end]);
                last = Some(bookmark(record));
            }
            Ok(last)
        }
    }

    fn own() -> OwnAddresses {
        ["10.0.0.5".parse().unwrap()].into_iter().collect()
    }

    /// The remote ports of a batch, which are the numbers of its records.
    fn records(batch: &Batch) -> Vec<u16> {
        let port = |event: &Event| match event {
            Event::Flow(flow) => match flow.ends {
                super::super::Ends::Peer { remote, .. } => remote.1,
                _ => 0,
            },
            _ => 0,
        };
        batch.events.iter().map(port).collect()
    }

    #[test]
    fn each_event_is_read_once_and_gaps_are_reported() {
        let log = |records: std::ops::RangeInclusive<u64>| records.collect::<Vec<u64>>();
        #[rustfmt::skip]
        let table = [
            // Position, records, most; events, gap, complete, position after.
            (None, log(1..=9), 10, vec![], Gap::None, true, 9),
            (None, vec![], 10, vec![], Gap::None, true, 0),
            (Some(9), log(1..=9), 10, vec![], Gap::None, true, 9),
            (Some(9), log(1..=13), 10, vec![10, 12], Gap::None, true, 13),
            (Some(9), log(10..=13), 10, vec![10, 12], Gap::None, true, 13),
            (Some(9), log(11..=13), 10, vec![12], Gap::Overwritten(1), true, 13),
            (Some(9), log(1..=30), 3, vec![10, 12, 14], Gap::None, false, 14),
            (Some(9), log(20..=30), 3, vec![20, 22, 24], Gap::Overwritten(10), false, 24),
            (Some(9), log(1..=5), 10, vec![2, 4], Gap::Cleared, true, 5),
            (Some(9), vec![], 10, vec![], Gap::Cleared, true, 0),
            (Some(0), vec![], 10, vec![], Gap::None, true, 0),
            (Some(0), log(1..=2), 10, vec![2], Gap::None, true, 2),
        ];
        for (record, numbers, most, expected, gap, is_complete, after) in table {
            let position =
                record.map(|record| Position { record, bookmark: Some(bookmark(record)) });
            let mut fake = Fake { records: numbers, cut: false };
            let batch = follow(&mut fake, &own(), position.as_ref(), most).unwrap();
            assert_eq!(records(&batch), expected, "{position:?}");
            assert_eq!((batch.gap, batch.is_complete, batch.unreadable), (gap, is_complete, 0));
            assert_eq!(batch.position.record, after, "{position:?}");
        }
    }

    #[test]
    fn a_log_is_read_to_its_end_in_batches() {
        let mut fake = Fake { records: (1..=101).collect(), cut: false };
        let (mut position, mut found) = (Position::default(), Vec::new());
        loop {
            let batch = follow(&mut fake, &own(), Some(&position), 7).unwrap();
            found.extend(records(&batch));
            assert_eq!(batch.gap, Gap::None);
            position = batch.position;
            if batch.is_complete {
                break;
            }
        }
        assert_eq!(found, (1..=50).map(|half| half * 2).collect::<Vec<u16>>());
        assert_eq!(position.record, 101);
        let kept: Position =
            serde_json::from_str(&serde_json::to_string(&position).unwrap()).unwrap();
        assert_eq!(kept, position);
    }

    #[test]
    fn truncated_records_are_counted() {
        let mut fake = Fake { records: (1..=6).collect(), cut: true };
        let batch = follow(&mut fake, &own(), Some(&Position::default()), 10).unwrap();
        assert_eq!((batch.events.len(), batch.unreadable, batch.position.record), (0, 3, 6));
    }

    #[test]
    fn bookmarks_and_queries() {
        assert_eq!(bookmark_record(&bookmark(42)), Some(42));
        for wrong in ["", "<BookmarkList/>", "<Bookmark/>", "<Bookmark RecordId='x'/>", "<a"] {
            assert_eq!(bookmark_record(wrong), None, "{wrong}");
        }
        let expected = "*[System[(EventID=5152 or EventID=5156 or EventID=5157) and \
                        (EventRecordID>7)]]";
        assert_eq!(query(7), expected);
    }
}
