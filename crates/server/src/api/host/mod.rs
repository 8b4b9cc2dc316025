//! The API for hosts: the four exchanges of [`xshield_wire`].

use axum::Router;
use axum::routing::{get, post};

use crate::state::App;

pub(crate) mod check_in;
mod clock;
mod newcomer;
mod notify;
mod refused;
mod reports;
mod ruleset;
pub(crate) mod session;
pub(crate) mod signed;
mod threat;
pub(super) mod trust;
pub(crate) mod uploads;

/// `/host/v1`.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/host/v1/session", post(session::set_up))
        .route("/host/v1/check-in", post(check_in::check_in))
        .route("/host/v1/ruleset", get(ruleset::get))
        .route(signed::REPORTS, post(reports::take))
        .route("/host/v1/notify", get(notify::wait))
        .route("/host/v1/threat/order", get(threat::order))
        .route("/host/v1/threat/path", get(threat::path))
        .route("/host/v1/threat/files/{name}", get(threat::file))
        .route("/host/v1/uploads/{command}", get(uploads::look).put(uploads::take))
}
