//! The request of a host that has a session: who it is, and a body that is what it signed.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::assets::StoredAsset;
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{assets, enforcement_keys};
use xshield_wire::message::UnixSeconds;
use xshield_wire::signature::{self, ReceivedHeaders, RequestHead, SignatureError};
use xshield_wire::{SessionKey, bounds};

use super::clock;
use crate::bodies::{Held, MAX_BODY};
use crate::door::guest::{Party, vouch};
use crate::problem::{Answer, Problem};
use crate::sealed::{HostSession, SealError};
use crate::state::App;

/// Where reports go.
pub(super) const REPORTS: &str = "/host/v1/reports";
/// Largest body of other requests: of check-ins, and pieces of files. In bytes.
const MAX_OTHERS: usize = bounds::CHECK_IN_BYTES;

/// Evidence that a known host with a good session sent exactly this.
#[derive(Debug)]
pub(super) struct FromHost {
    /// The asset, as it was stored before this request.
    pub(super) asset: StoredAsset,
    /// The request's headers.
    pub(super) headers: HeaderMap,
    /// The signed query; empty when there is none.
    pub(super) query: String,
    /// The body, as sent.
    pub(super) body: Held,
    /// When it arrived.
    pub(super) now: Timestamp,
    /// When it was signed, by the host's clock.
    pub(super) signed_at: UnixSeconds,
}

/// A request that is refused, and whose it is as far as its session says.
#[derive(Debug)]
pub(super) struct TurnedAway {
    /// Whose session it is.
    pub(super) asset: Option<AssetId>,
    /// Why.
    pub(super) problem: Problem,
}

impl IntoResponse for TurnedAway {
    fn into_response(self) -> Response {
        self.problem.into_response()
    }
}

impl FromRequest<App> for FromHost {
    type Rejection = TurnedAway;

    async fn from_request(request: Request, app: &App) -> Result<Self, TurnedAway> {
        let now = Timestamp::now();
        let session = session_of(app, request.headers(), now)
            .map_err(|problem| TurnedAway { asset: None, problem })?;
        let asset = session.asset.clone();
        Self::of_session(request, app, session, now)
            .await
            .map_err(|problem| TurnedAway { asset: Some(asset), problem })
    }
}

impl FromHost {
    async fn of_session(
        request: Request,
        app: &App,
        session: HostSession,
        now: Timestamp,
    ) -> Answer<Self> {
        app.limits.request(&session.asset)?;
        let (mut parts, body) = request.into_parts();
        let head = RequestHead {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query(),
        };
        let key = SessionKey::from_bytes(session.session_key.0);
        let headers = received(&parts.headers);
        let verified = signature::verify_head(&key, &session.asset, head, &headers, now.unix());
        if let Err(SignatureError::Clock { created, .. }) = &verified {
            clock::note_refused(app, &session.asset, *created).await?;
        }
        let announced = verified.map_err(|error| refuse_signature(&error))?;
        let asset = known_asset(app, &session).await?;
        let party = Party::Host(asset.id.clone());
        vouch(&mut parts.extensions, party.clone())?;
        let most = if parts.uri.path() == REPORTS { MAX_BODY } else { MAX_OTHERS };
        let body = app.limits.bodies.read(&party, body, most).await?;
        let signed = announced.with_body(&body).map_err(|error| refuse_signature(&error))?;
        let signed_at = signed.created();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Ok(Self { asset, headers: parts.headers, query, body, now, signed_at })
    }
}

fn received(headers: &HeaderMap) -> ReceivedHeaders<'_> {
    ReceivedHeaders::find(|name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    })
}

pub(super) fn session_of(app: &App, headers: &HeaderMap, now: Timestamp) -> Answer<HostSession> {
    let token = received(headers).token().map_err(|error| refuse_signature(&error))?;
    app.keys.seal.open_session(token, now).map_err(|error| {
        let slug = match error {
            SealError::Expired => "session-expired",
            SealError::Foreign | SealError::Sealing => "session-unknown",
        };
        Problem::new(StatusCode::UNAUTHORIZED, slug, "The session is not good")
            .detail(format!("{error}; set up a new session"))
    })
}

fn refuse_signature(error: &SignatureError) -> Problem {
    let (status, slug, title) = match error {
        SignatureError::Clock { .. } => {
            (StatusCode::UNAUTHORIZED, "clock-skew", "The clocks are too far apart")
        }
        SignatureError::Missing { .. } | SignatureError::Malformed { .. } => {
            (StatusCode::UNAUTHORIZED, "signature-malformed", "The request is not signed properly")
        }
        _ => (StatusCode::UNAUTHORIZED, "signature-wrong", "The signature is wrong"),
    };
    metrics::counter!("xshield_refused_total", "reason" => slug).increment(1);
    Problem::new(status, slug, title).detail(error.to_string())
}

async fn known_asset(app: &App, session: &HostSession) -> Answer<StoredAsset> {
    let mut conn = app.store.read().await?;
    let asset = assets::by_id(&mut conn, session.asset.as_str()).await?.ok_or_else(|| {
        Problem::new(StatusCode::UNAUTHORIZED, "asset-unknown", "The asset is not known")
            .detail("the asset was deleted; set up a new session to register again")
    })?;
    if asset.identity != session.identity {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "session-unknown",
            "The session is not good",
        )
        .detail("another identity key is pinned for this asset since; set up a new session"));
    }
    if asset.decommissioned_at.is_some() {
        return Err(decommissioned(asset.name.as_str()));
    }
    let key = enforcement_keys::get(&mut conn, &session.key_id).await?;
    usable(key.as_ref(), &session.key_id)?;
    Ok(asset)
}

/// What a host hears whose asset an operator has taken out of service.
pub(super) fn decommissioned(name: &str) -> Problem {
    metrics::counter!("xshield_refused_total", "reason" => "asset-decommissioned").increment(1);
    Problem::new(
        StatusCode::FORBIDDEN,
        "asset-decommissioned",
        "The asset has been taken out of service",
    )
    .detail(format!(
        "an operator has decommissioned {name}; remove the program from the host, or take the asset \
         into service again: xshield asset reinstate {name}"
    ))
}

/// Whether hosts that are registered may use an enforcement key: whether it is there and not revoked.
/// Its term and its other limits concern registrations.
///
/// # Errors
/// A problem that says why not.
pub(super) fn usable(key: Option<&StoredKey>, id: &str) -> Answer<()> {
    let refuse = |slug: &str, title: &str, detail: String| {
        metrics::counter!("xshield_refused_total", "reason" => slug.to_owned()).increment(1);
        Err(Problem::new(StatusCode::UNAUTHORIZED, slug, title)
            .detail(format!("{detail}; put a current key into the host's configuration"))
            .field("/key_id"))
    };
    let Some(key) = key else {
        let detail = format!("the platform has no enforcement key {id:?}");
        return refuse("enforcement-key-unknown", "The enforcement key is not known", detail);
    };
    if let Some(since) = key.revoked_at {
        let detail = format!("enforcement key {id:?} was revoked at {}", since.to_rfc3339());
        return refuse("enforcement-key-revoked", "The enforcement key is revoked", detail);
    }
    Ok(())
}
