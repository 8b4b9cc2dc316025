//! Admin API.
use crate::state::App;
use axum::Router;
/// `/api/v1`.
pub(super) fn router() -> Router<App> {
    Router::new()
}
