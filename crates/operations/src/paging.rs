//! Lists in pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;

use crate::error::{OperationError, Result};

/// The default page size.
const USUAL: u32 = 100;
/// The maximum page size.
const MOST: u32 = 1000;

/// The requested part of a list. `P` is an item's position in the list's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging<P> {
    /// The number of items.
    pub limit: u32,
    /// Starts after this position; at the beginning if `None`.
    pub after: Option<P>,
}

impl<P: DeserializeOwned> Paging<P> {
    /// As requested by a caller: `cursor` is the [`Page::next`] of the previous page.
    ///
    /// # Errors
    /// When the limit is out of range, or the cursor is invalid for this list.
    pub fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<Self> {
        let limit = match limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => limit,
            limit => {
                let reason = format!("{limit} is not between 1 and {MOST}");
                return Err(OperationError::invalid("?limit", reason));
            }
        };
        let Some(cursor) = cursor else { return Ok(Self { limit, after: None }) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let after = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let after = after.ok_or_else(|| {
            OperationError::invalid(
                "?cursor",
                "not a cursor of this list; start from the first page",
            )
        })?;
        Ok(Self { limit, after: Some(after) })
    }
}

impl<P> Paging<P> {
    /// The first `limit` items.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// How many items to read for a page, to know whether another one follows.
    #[must_use]
    pub fn to_read(&self) -> u32 {
        self.limit + 1
    }
}

/// A page query as the part of a list that it requests.
pub trait Pages {
    /// The requested part of a list.
    ///
    /// # Errors
    /// When the limit is out of range, or the cursor is invalid for this list.
    fn paging<P: DeserializeOwned>(&self) -> Result<Paging<P>>;
}

impl Pages for PageQuery {
    fn paging<P: DeserializeOwned>(&self) -> Result<Paging<P>> {
        Paging::new(self.limit, self.cursor.as_deref())
    }
}

/// A page of up to `limit` of `items`; one more item means that another page follows. `place` returns an
/// item's position in the list's order.
#[must_use]
pub fn paged<T, S, P: Serialize>(
    mut items: Vec<S>,
    limit: u32,
    place: impl Fn(&S) -> P,
    show: impl FnMut(S) -> T,
) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last
        .and_then(|last| serde_json::to_vec(&place(last)).ok())
        .map(|place| URL_SAFE_NO_PAD.encode(place));
    Page { items: items.into_iter().map(show).collect(), next }
}

/// The position in a list that begins with what was seen last: when it was seen, and its number.
pub type LastSeen = (i64, i64);

/// [`paged`] for such a list. `seen` returns when an item was last seen, and its number.
#[must_use]
pub fn paged_by_last_seen<T, S>(
    items: Vec<S>,
    limit: u32,
    seen: impl Fn(&S) -> (Timestamp, i64),
    show: impl FnMut(S) -> T,
) -> Page<T> {
    let place = |item: &S| -> LastSeen {
        let (at, number) = seen(item);
        (at.0, number)
    };
    paged(items, limit, place, show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lead_through_the_whole_list() {
        let all: Vec<u32> = (0..7).collect();
        let (mut cursor, mut seen) = (None::<String>, Vec::new());
        loop {
            let paging = Paging::<u32>::new(Some(3), cursor.as_deref()).unwrap();
            let after = |item: &&u32| paging.after.is_none_or(|after| **item > after);
            let read = usize::try_from(paging.to_read()).unwrap();
            let found: Vec<u32> = all.iter().filter(after).take(read).copied().collect();
            let page = paged(found, paging.limit, |item| *item, |item| item);
            assert!(page.items.len() <= 3);
            seen.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn invalid_page_parameters_are_refused() {
        for (limit, cursor, field) in [
            (Some(0), None, "?limit"),
            (Some(1001), None, "?limit"),
            (None, Some("!"), "?cursor"),
            (None, Some("eyJhIjoxfQ"), "?cursor"),
        ] {
            match Paging::<u32>::new(limit, cursor).unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field),
                other => panic!("{other}"),
            }
        }
    }
}
