//! The web console: pages that a browser shows and that work without JavaScript; htmx only spares
//! whole reloads.
//!
//! A page's handler reads what the admin API reads and gives commands by the same functions. Errors
//! are [problems](crate::problem) as everywhere; `browser::guard` makes pages of them.

use axum::Router;

use crate::state::App;

mod account;
mod asset;
pub(crate) mod browser;
mod command;
mod commands;
mod files;
mod form;
mod installation;
mod look;
mod overview;
mod page;
mod policy;
mod routes;
mod sensors;
mod session;
mod sign_in;

/// Every page.
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
