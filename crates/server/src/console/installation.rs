//! How to connect a host to this platform, and the values for its configuration.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use xshield_operations::enforcement_keys::{FollowedKey, followed};
use xshield_store::Store;

use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::host_access::HostAccess;
use crate::problem::Answer;
use crate::settings::Settings;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/installation", get(show))
}

#[derive(Template)]
#[template(path = "installation.html")]
struct InstallationPage {
    frame: Frame,
    /// The address at which hosts reach this platform, as `ctagent register --domain` takes it.
    domain: String,
    /// No public URL is configured: `domain` is a guess.
    is_guess: bool,
    /// Keys that expire soon.
    expiring: Vec<String>,
    /// Superseded keys that hosts still use.
    followed: Vec<FollowedKey>,
}

async fn show(
    Shared(store): Shared<Store>,
    Shared(settings): Shared<Arc<Settings>>,
    Shared(access): Shared<HostAccess>,
    Visitor(person): Visitor<Viewer>,
) -> Answer<Response> {
    let page = InstallationPage {
        frame: Frame::new("Installation", Section::Installation, person.caller()),
        domain: access.public_domain(),
        is_guess: settings.public_urls.is_empty(),
        expiring: super::page::warnings(&store, &settings).await?,
        followed: followed(&mut *store.read().await?).await?,
    };
    Ok(answer(StatusCode::OK, &page))
}
