//! Lists in pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xshield_api::page::Page;

use crate::problem::{Answer, Problem};
use crate::query::number;

const USUAL: u32 = 100;
const MOST: u32 = 1000;

/// Which page.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items on the page; 100 when left out, 1000 at most.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u32>)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default)]
    cursor: Option<String>,
}

impl PageQuery {
    /// How many items.
    pub(crate) fn limit(&self) -> Answer<u32> {
        match self.limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => Ok(limit),
            limit => {
                Err(Problem::invalid("?limit", format!("{limit} is not between 1 and {MOST}")))
            }
        }
    }

    /// As it was given.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The place after which the page begins.
    pub(crate) fn after<P: DeserializeOwned>(&self) -> Answer<Option<P>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        place
            .map(Some)
            .ok_or_else(|| Problem::invalid("?cursor", "not a cursor of this list; begin anew"))
    }
}

/// A page of up to `limit` of `items`, of which there is one more when another page follows.
/// `place` tells an item's place in the list's order.
pub(crate) fn paged<T, S, P: Serialize>(
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
