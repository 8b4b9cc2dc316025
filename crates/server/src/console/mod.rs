//! The web console: pages that work without JavaScript; htmx only avoids full reloads.
//!
//! The handler of a page uses the same functions as the admin API to read data and send commands. Errors are
//! [problems](crate::problem) as everywhere; `browser::guard` turns them into pages.

use axum::Router;

use crate::state::App;

mod account;
mod asset;
pub(crate) mod browser;
mod command;
mod commands;
mod display;
mod files;
mod form;
mod installation;
mod overview;
mod page;
mod policy;
mod routes;
mod sensors;
mod session;
mod sign_in;

/// All pages.
pub(super) fn router() -> Router<App> {
    Router::new()
        .merge(overview::router())
        .merge(sign_in::router())
        .merge(account::router())
        .merge(sensors::router())
        .merge(asset::router())
        .merge(commands::router())
        .merge(command::router())
        .merge(policy::router())
        .merge(installation::router())
        .merge(files::router())
}
