//! TAXII 2.1 collections: which page to ask for next, and where to go on the next time. The pages
//! themselves are read as [`super::Format::Stix`].
//!
//! A collection is asked for what was added after the last visit (`added_after`, from the server's
//! own `X-TAXII-Date-Added-Last`), page by page (`more`, `next`). Changes alone can't say that an
//! indicator was deleted or now names other addresses, nor that another one still lists an address
//! that is revoked, so a [`Round`] begins from the start from time to time.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Page, PageContent, unix_seconds};

/// The media type to accept.
pub const MEDIA_TYPE: &str = "application/taxii+json;version=2.1";
/// The header that says when the last object of a page was added.
pub const LAST_ADDED: &str = "X-TAXII-Date-Added-Last";

/// Pages of a round at most; a server that has always more is not asked for ever.
const PAGES: u32 = 10_000;
/// Objects of a page that are asked for; a server may give fewer. Servers refuse a `next` without it.
const LIMIT: u32 = 1_000;
/// Bytes of a `next` at most.
const NEXT_BYTES: usize = 4096;

/// How far a collection was read; to be kept between rounds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bookmark {
    /// When the last object that was read was added, in the server's words.
    pub added_after: Option<String>,
    /// When the collection was last read from its start, in Unix seconds.
    pub whole_at: Option<u64>,
}

/// What the pages of a round are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that the collection has: what was listed before and does not come again is gone.
    Whole,
    /// What was added since the last round, to be taken by [`crate::Listing::updated`].
    Added,
}

/// One visit to a collection, page by page.
#[derive(Debug, Clone)]
pub struct Round {
    before: Bookmark,
    now: u64,
    extent: Extent,
    /// What is asked for: objects added after this.
    added_after: Option<String>,
    /// The next page of that, where the server names it.
    next: Option<String>,
    last_added: Option<String>,
    pages: u32,
    /// What was on the pages so far.
    seen: HashSet<PageContent>,
}

/// What to do after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// Ask again, with [`Round::query`].
    Ask,
    /// All pages are read; keep this once their content is kept.
    Done(Bookmark),
}

/// Why a collection can't be read to its end. Nothing of the round may be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaxiiError {
    /// More is announced, but not how to ask for it.
    #[error("the TAXII server has more objects but names neither `next` nor {LAST_ADDED}")]
    NoWayOn,
    /// A page comes a second time.
    #[error("the TAXII server gives the same objects again instead of the next page")]
    Circle,
    /// Too many pages.
    #[error("the TAXII server has more than {PAGES} pages; ask its operator for larger ones")]
    Endless,
    /// A `next` that is too long.
    #[error("the TAXII server's `next` is longer than {NEXT_BYTES} bytes")]
    Next,
}

impl Round {
    /// A visit at `now` (Unix seconds): from the start when that was `whole_every` ago or more, and
    /// when the server never said how far it was.
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

    /// What the pages are together.
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

    /// Takes note of a page that was read: what its envelope said, and the header [`LAST_ADDED`].
    ///
    /// # Errors
    /// When there is more but no way to it.
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
        // What `next` says is the server's own business, and may be the same for every page.
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
            // An empty page has no such header: then all is read up to where it was.
            added_after: last_added.clone().or_else(|| before.added_after.clone()),
            whole_at: match extent {
                Extent::Whole => Some(*now),
                Extent::Added => before.whole_at,
            },
        }
    }
}

/// A value in a query: what is not unreserved (RFC 3986) is escaped.
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
    fn rounds_go_on_where_the_last_one_ended_and_begin_anew_in_time() {
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
        // A server that never says how far it was is read from the start each time.
        let silent = Bookmark { added_after: None, whole_at: Some(1000) };
        assert_eq!(Round::begin(silent, 1001, DAY).extent(), Extent::Whole);
    }

    #[test]
    fn servers_that_lead_nowhere_are_left() {
        let begin = || Round::begin(bookmark(LAST, 1000), 1001, DAY);
        assert_eq!(begin().page(&page(true, None), None), Err(TaxiiError::NoWayOn));
        assert_eq!(begin().page(&page(true, None), Some("yesterday")), Err(TaxiiError::NoWayOn));
        assert_eq!(begin().page(&page(true, None), Some(LAST)), Err(TaxiiError::Circle));
        let long = "x".repeat(NEXT_BYTES + 1);
        assert_eq!(begin().page(&page(true, Some(&long)), None), Err(TaxiiError::Next));
        // The same `next` leads on for as long as other objects come.
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
