//! Paginated lists.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::query::number;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; `null` on the last one.
    pub next: Option<String>,
}

/// The requested page.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items on the page; 100 when left out, 1000 at most.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u32>)]
    pub limit: Option<u32>,
    /// `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}
