//! How a host comes to this platform, and the texts that its configuration takes.

use askama::Template;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use xshield_operations::enforcement_keys::{FollowedKey, followed};

use super::page::{Frame, Section, answer};
use super::session::Visitor;
use crate::auth::Viewer;
use crate::problem::Answer;
use crate::state::App;

pub(super) fn router() -> Router<App> {
    Router::new().route("/installation", get(show))
}

#[derive(Template)]
#[template(path = "installation.html")]
struct InstallationPage {
    frame: Frame,
    /// How hosts reach this platform, as `ctagent register --domain` takes it.
    domain: String,
    /// Nobody has said how hosts reach it: `domain` is a guess.
    is_guess: bool,
    /// Keys that end soon.
    expiring: Vec<String>,
    /// Keys that another one follows and that hosts still use.
    followed: Vec<FollowedKey>,
}

async fn show(Shared(app): Shared<App>, Visitor(person): Visitor<Viewer>) -> Answer<Response> {
    let page = InstallationPage {
        frame: Frame::new("Installation", Section::Installation, person.caller()),
        domain: app.public_domain(),
        is_guess: app.settings.public_urls.is_empty(),
        expiring: super::page::warnings(&app).await?,
        followed: followed(&mut *app.store.read().await?).await?,
    };
    Ok(answer(StatusCode::OK, &page))
}
