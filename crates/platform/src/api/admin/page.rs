//! Lists in pages, as query strings ask for them.

use serde::de::{DeserializeOwned, IgnoredAny};
use xshield_api::page::PageQuery;
use xshield_operations::Result;
use xshield_operations::paging::Paging;
pub(crate) use xshield_operations::paging::paged;

/// A page query as the part of a list that it asks for.
pub(crate) trait Pages {
    /// The part of a list that is asked for.
    fn paging<P: DeserializeOwned>(&self) -> Result<Paging<P>>;

    /// How many items.
    fn limit(&self) -> Result<u32> {
        Ok(self.paging::<IgnoredAny>()?.limit)
    }

    /// The place after which the page begins.
    fn after<P: DeserializeOwned>(&self) -> Result<Option<P>> {
        Ok(self.paging()?.after)
    }
}

impl Pages for PageQuery {
    fn paging<P: DeserializeOwned>(&self) -> Result<Paging<P>> {
        Paging::new(self.limit, self.cursor.as_deref())
    }
}
