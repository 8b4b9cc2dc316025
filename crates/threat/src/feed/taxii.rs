//! TAXII 2.1 collections: which page to request next, and where to continue the next time. The pages
//! themselves are parsed as [`super::Format::Stix`].
//!
//! The objects added since the last round are requested (`added_after`, from the server's own
//! `X-TAXII-Date-Added-Last`), page by page (`more`, `next`). Additions alone don't show that an indicator
//! was deleted or now has other addresses, nor that another one still lists a revoked address, so from time
//! to time a [`Round`] reads the whole collection.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Page, PageContent, unix_seconds};

/// The media type to accept.
pub const MEDIA_TYPE: &str = "application/taxii+json;version=2.1";
/// The header with the time at which the last object of a page was added.
pub const LAST_ADDED: &str = "X-TAXII-Date-Added-Last";

/// The most pages of a round, in case a server always announces more.
const PAGES: u32 = 10_000;
/// The number of objects requested per page; a server may return fewer. Servers refuse a `next` without it.
const LIMIT: u32 = 1_000;
/// The longest `next`, in bytes.
const NEXT_BYTES: usize = 4096;

/// The position in a collection; to be kept between rounds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bookmark {
    /// When the last object that was read was added, as the server wrote it.
    pub added_after: Option<String>,
    /// When the whole collection was last read, in Unix seconds.
    pub whole_at: Option<u64>,
}

/// What the pages of a round contain together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The whole collection: what was listed before and is missing was removed.
    Whole,
    /// What was added since the last round, to be applied with [`crate::Listing::updated`].
    Added,
}

/// One round of requests to a collection, page by page.
#[derive(Debug, Clone)]
pub struct Round {
    before: Bookmark,
    now: u64,
    extent: Extent,
    /// The start of the request: objects added after this.
    added_after: Option<String>,
    /// The next page, if the server named it.
    next: Option<String>,
    last_added: Option<String>,
    pages: u32,
    /// The pages so far.
    seen: HashSet<PageContent>,
}

/// What to do after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// Send another request, with [`Round::query`].
    Ask,
    /// All pages were read; save this once their content is saved.
    Done(Bookmark),
}

/// Why a collection can't be read completely. Nothing of the round may be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaxiiError {
    /// More is announced, but not how to request it.
    #[error("the TAXII server announces more objects but sends neither `next` nor {LAST_ADDED}")]
    NoWayOn,
    /// A page was received twice.
    #[error("the TAXII server sends the same objects again instead of the next page")]
    Circle,
    /// Too many pages.
    #[error("the TAXII server has more than {PAGES} pages; ask its operator for larger pages")]
    Endless,
    /// A `next` that is too long.
    #[error("the TAXII server's `next` is longer than {NEXT_BYTES} bytes")]
    Next,
}

impl Round {
    /// A round at `now` (Unix seconds): the whole collection if that was last read `whole_every` ago or more,
    /// or if the server never sent a position.
    #[must_use]
    pub fn begin(before: Bookmark, now: u64, whole_every: Duration) -> Self {
        let due = before.whole_at.is_none_or(|at| now.abs_diff(at) >= whole_every.as_secs());
        let added_after = before.added_after.clone().filter(|_| !due);
        let extent = if added_after.is_none() { Extent::Whole } else { Extent::Added };
        Self {
            before,
            now,
            extent,
            added_after,
            next: None,
            last_added: None,
            pages: 0,
            seen: HashSet::new(),
        }
    }

    /// What the pages contain together.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// The query of the next request, without its `?`.
    #[must_use]
    pub fn query(&self) -> String {
        let mut query = format!("match%5Btype%5D=indicator&limit={LIMIT}");
        let values = [("added_after", &self.added_after), ("next", &self.next)];
        for (name, value) in values {
            if let Some(value) = value {
                query += &format!("&{name}={}", escaped(value));
            }
        }
        query
    }

    /// Adds a page that was read: its envelope, and the header [`LAST_ADDED`].
    ///
    /// # Errors
    /// If there are more pages that can't be requested.
    pub fn page(&mut self, page: &Page, last_added: Option<&str>) -> Result<Onward, TaxiiError> {
        self.pages += 1;
        if let Some(time) = last_added.map(str::trim).filter(|time| unix_seconds(time).is_some()) {
            self.last_added = Some(time.to_owned());
        }
        if !page.more {
            return Ok(Onward::Done(self.bookmark()));
        }
        if self.pages >= PAGES {
            return Err(TaxiiError::Endless);
        }
        // The server may use the same `next` for every page.
        if page.content.is_some_and(|content| !self.seen.insert(content)) {
            return Err(TaxiiError::Circle);
        }
        match (&page.next, &self.last_added) {
            (Some(next), _) if next.len() > NEXT_BYTES => return Err(TaxiiError::Next),
            (Some(next), _) => self.next = Some(next.clone()),
            (None, Some(last)) if self.added_after.as_ref() == Some(last) => {
                return Err(TaxiiError::Circle);
            }
            (None, Some(last)) => {
                self.added_after = Some(last.clone());
                self.next = None;
            }
            (None, None) => return Err(TaxiiError::NoWayOn),
        }
        Ok(Onward::Ask)
    }

    fn bookmark(&self) -> Bookmark {
        let Self { before, now, extent, last_added, .. } = self;
        Bookmark {
            // An empty page has no such header: the position stays the same.
            added_after: last_added.clone().or_else(|| before.added_after.clone()),
            whole_at: match extent {
                Extent::Whole => Some(*now),
                Extent::Added => before.whole_at,
            },
        }
    }
}

/// Escapes a value in a query: all characters except unreserved ones (RFC 3986).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn page(more: bool, next: Option<&str>) -> Page {
        Page { more, next: next.map(str::to_owned), content: None }
    }

    fn bookmark(added_after: &str, whole_at: u64) -> Bookmark {
        Bookmark { added_after: Some(added_after.to_owned()), whole_at: Some(whole_at) }
    }

    const LAST: &str = "2026-11-20T10:00:00.123456Z";
    const LATER: &str = "2026-11-21T10:00:00Z";

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let mut round = Round::begin(Bookmark::default(), 1000, DAY);
        assert_eq!(
            (round.extent(), round.query().as_str()),
            (Extent::Whole, "match%5Btype%5D=indicator&limit=1000")
        );
        assert_eq!(round.page(&page(true, Some("a/b=&")), Some(LAST)), Ok(Onward::Ask));
        assert_eq!(round.query(), "match%5Btype%5D=indicator&limit=1000&next=a%2Fb%3D%26");
        assert_eq!(round.page(&page(true, None), Some(LAST)), Ok(Onward::Ask));
        assert!(round.query().ends_with("&added_after=2026-11-20T10%3A00%3A00.123456Z"));
        let done = round.page(&page(false, None), Some(LATER));
        assert_eq!(done, Ok(Onward::Done(bookmark(LATER, 1000))));
    }

    #[test]
    fn rounds_resume_and_restart_periodically() {
        let day = DAY.as_secs();
        let mut round = Round::begin(bookmark(LAST, 1000), 1000 + day - 1, DAY);
        assert_eq!(round.extent(), Extent::Added);
        assert!(round.query().contains("added_after=2026-11-20"));
        let done = round.page(&page(false, None), None);
        assert_eq!(done, Ok(Onward::Done(bookmark(LAST, 1000))));
        for now in [1000 + day, 0] {
            let late =
                Round::begin(bookmark(LAST, 1000 + if now == 0 { day } else { 0 }), now, DAY);
            assert_eq!(late.extent(), Extent::Whole, "a clock set back is no reason to wait");
            assert!(!late.query().contains("added_after"));
        }
        // If a server never sends its position, the whole collection is read each time.
        let silent = Bookmark { added_after: None, whole_at: Some(1000) };
        assert_eq!(Round::begin(silent, 1001, DAY).extent(), Extent::Whole);
    }

    #[test]
    fn servers_without_progress_are_abandoned() {
        let begin = || Round::begin(bookmark(LAST, 1000), 1001, DAY);
        assert_eq!(begin().page(&page(true, None), None), Err(TaxiiError::NoWayOn));
        assert_eq!(begin().page(&page(true, None), Some("yesterday")), Err(TaxiiError::NoWayOn));
        assert_eq!(begin().page(&page(true, None), Some(LAST)), Err(TaxiiError::Circle));
        let long = "x".repeat(NEXT_BYTES + 1);
        assert_eq!(begin().page(&page(true, Some(&long)), None), Err(TaxiiError::Next));
        // The same `next` is accepted as long as other objects are received.
        let mut round = begin();
        let with = |content: u8| Page {
            content: Some(PageContent([content; 32])),
            ..page(true, Some("p"))
        };
        for content in [1, 2, 3] {
            assert_eq!(round.page(&with(content), None), Ok(Onward::Ask));
        }
        assert_eq!(round.page(&with(1), None), Err(TaxiiError::Circle));
        let mut round = begin();
        let last = (0..PAGES).map(|n| round.page(&page(true, Some(&n.to_string())), None)).last();
        assert_eq!(last, Some(Err(TaxiiError::Endless)));
    }
}
