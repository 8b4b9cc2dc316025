//! Lists in pages, as query strings ask for them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use xshield_operations::Result;
use xshield_operations::paging::Paging;
pub(crate) use xshield_operations::paging::paged;

use crate::query::number;

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
    /// The part of a list that is asked for.
    pub(crate) fn paging<P: DeserializeOwned>(&self) -> Result<Paging<P>> {
        Paging::new(self.limit, self.cursor.as_deref())
    }

    /// How many items.
    pub(crate) fn limit(&self) -> Result<u32> {
        Ok(Paging::<()>::new(self.limit, None)?.limit)
    }

    /// The place after which the page begins.
    pub(crate) fn after<P: DeserializeOwned>(&self) -> Result<Option<P>> {
        Ok(self.paging()?.after)
    }

    /// As it was given.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}
