//! The body of a request, within what its sender may have in memory, as bytes or as JSON.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::bodies::{Held, MAX_BODY, MAX_OF_STRANGERS};
use crate::client::Client;
use crate::door::guest::Party;
use crate::problem::{Answer, Problem, parse_json};
use crate::source::Source;
use crate::state::App;

/// Reads the body of a request: as large as bodies may be of a sender who was vouched for before, and
/// a small one of anybody else.
///
/// # Errors
/// When it is too large, too slow, breaks off, or finds no room.
pub(crate) async fn take(app: &App, request: Request) -> Answer<Held> {
    let known = request.extensions().get::<Party>().cloned();
    let party = match known {
        Some(party) => party,
        None => {
            let Client(from) = *request.extensions().get::<Client>().ok_or_else(no_client)?;
            Party::Stranger(Source::from(from.ip()))
        }
    };
    let most = if matches!(party, Party::Stranger(_)) { MAX_OF_STRANGERS } else { MAX_BODY };
    app.limits.bodies.read(&party, request.into_body(), most).await
}

fn no_client() -> Problem {
    Problem::internal(&std::io::Error::other("the request came by no connection"))
}

/// A JSON body; what does not fit is refused with the field's JSON pointer.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let body = take(app, request).await?;
        parse_json(&body).map(Self)
    }
}
