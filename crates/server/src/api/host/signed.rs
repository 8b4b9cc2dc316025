//! Authenticates a request of a host with a session: the host, and the body as it was signed.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use xshield_model::Timestamp;
use xshield_policy::AssetId;
use xshield_store::assets::StoredAsset;
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{Store, assets, enforcement_keys};
use xshield_wire::message::UnixSeconds;
use xshield_wire::signature::{self, ReceivedHeaders, RequestHead, SignatureError};
use xshield_wire::{SessionKey, bounds};

use super::clock;
use crate::bodies::{Held, MAX_BODY};
use crate::connections::party::Party;
use crate::connections::registry::identify;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::sealed::{HostSession, SealError};

/// The path of reports.
pub(super) const REPORTS: &str = "/host/v1/reports";
/// The largest body of other requests (check-ins and upload chunks), in bytes.
const MAX_OTHERS: usize = bounds::CHECK_IN_BYTES;

/// What verifying a request of a host needs of the platform.
#[derive(Clone)]
pub(crate) struct VerifierParts {
    pub(crate) store: Store,
    pub(crate) keys: Arc<Keys>,
    pub(crate) limits: Arc<Limits>,
}

/// Proof that a known host with a valid session sent exactly this.
#[derive(Debug)]
pub(super) struct SignedRequest {
    /// The asset, as stored before this request.
    pub(super) asset: StoredAsset,
    /// The request's headers.
    pub(super) headers: HeaderMap,
    /// The signed query; empty if there is none.
    pub(super) query: String,
    /// The body as sent.
    pub(super) body: Held,
    /// The time of arrival.
    pub(super) now: Timestamp,
    /// The time of the signature, by the host's clock.
    pub(super) signed_at: UnixSeconds,
}

/// A refused request, with its asset as far as the session identifies it.
#[derive(Debug)]
pub(super) struct RefusedRequest {
    /// The asset of the session.
    pub(super) asset: Option<AssetId>,
    /// The reason.
    pub(super) problem: ErrorResponse,
}

impl IntoResponse for RefusedRequest {
    fn into_response(self) -> Response {
        self.problem.into_response()
    }
}

impl<S> FromRequest<S> for SignedRequest
where
    S: Send + Sync,
    VerifierParts: FromRef<S>,
{
    type Rejection = RefusedRequest;

    async fn from_request(request: Request, state: &S) -> Result<Self, RefusedRequest> {
        let parts = VerifierParts::from_ref(state);
        let now = Timestamp::now();
        let session = session_of(&parts.keys, request.headers(), now)
            .map_err(|problem| RefusedRequest { asset: None, problem })?;
        let asset = session.asset.clone();
        Self::of_session(request, &parts, session, now)
            .await
            .map_err(|problem| RefusedRequest { asset: Some(asset), problem })
    }
}

impl SignedRequest {
    async fn of_session(
        request: Request,
        platform: &VerifierParts,
        session: HostSession,
        now: Timestamp,
    ) -> Answer<Self> {
        platform.limits.request(&session.asset)?;
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
            clock::note_refused(&platform.store, &session.asset, *created).await?;
        }
        let announced = verified.map_err(|error| refuse_signature(&error))?;
        let asset = known_asset(&platform.store, &session).await?;
        let party = Party::Host(asset.id.clone());
        identify(&mut parts.extensions, party.clone())?;
        let most = if parts.uri.path() == REPORTS { MAX_BODY } else { MAX_OTHERS };
        let body = platform.limits.bodies.read(&party, body, most).await?;
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

pub(super) fn session_of(keys: &Keys, headers: &HeaderMap, now: Timestamp) -> Answer<HostSession> {
    let token = received(headers).token().map_err(|error| refuse_signature(&error))?;
    keys.seal.open_session(token, now).map_err(|error| {
        let slug = match error {
            SealError::Expired => "session-expired",
            SealError::Foreign | SealError::Sealing => "session-unknown",
        };
        ErrorResponse::new(StatusCode::UNAUTHORIZED, slug, "Invalid session")
            .detail(format!("{error}; set up a new session"))
    })
}

fn refuse_signature(error: &SignatureError) -> ErrorResponse {
    let (status, slug, title) = match error {
        SignatureError::Clock { .. } => {
            (StatusCode::UNAUTHORIZED, "clock-skew", "Clock difference too large")
        }
        SignatureError::Missing { .. } | SignatureError::Malformed { .. } => {
            (StatusCode::UNAUTHORIZED, "signature-malformed", "Malformed request signature")
        }
        _ => (StatusCode::UNAUTHORIZED, "signature-wrong", "Wrong request signature"),
    };
    metrics::counter!("xshield_refused_total", "reason" => slug).increment(1);
    ErrorResponse::new(status, slug, title).detail(error.to_string())
}

async fn known_asset(store: &Store, session: &HostSession) -> Answer<StoredAsset> {
    let mut conn = store.read().await?;
    let asset = assets::by_id(&mut conn, session.asset.as_str()).await?.ok_or_else(|| {
        ErrorResponse::new(StatusCode::UNAUTHORIZED, "asset-unknown", "Unknown asset")
            .detail("the asset was deleted; set up a new session to register again")
    })?;
    if asset.identity != session.identity {
        return Err(ErrorResponse::new(
            StatusCode::UNAUTHORIZED,
            "session-unknown",
            "Invalid session",
        )
        .detail("another identity key has been pinned for this asset; set up a new session"));
    }
    if asset.decommissioned_at.is_some() {
        return Err(decommissioned(asset.name.as_str()));
    }
    let key = enforcement_keys::get(&mut conn, &session.key_id).await?;
    usable(key.as_ref(), &session.key_id)?;
    Ok(asset)
}

/// The refusal for a host whose asset was decommissioned.
pub(super) fn decommissioned(name: &str) -> ErrorResponse {
    metrics::counter!("xshield_refused_total", "reason" => "asset-decommissioned").increment(1);
    ErrorResponse::new(StatusCode::FORBIDDEN, "asset-decommissioned", "Asset decommissioned")
        .detail(format!(
            "an operator has decommissioned {name}; remove the program from the host, or reinstate \
         the asset: xshield asset reinstate {name}"
        ))
}

/// Whether registered hosts may use an enforcement key, i.e. whether it exists and is not revoked. Its term
/// and other limits only apply to registrations.
///
/// # Errors
/// A problem with the reason.
pub(super) fn usable(key: Option<&StoredKey>, id: &str) -> Answer<()> {
    let refuse = |slug: &str, title: &str, detail: String| {
        metrics::counter!("xshield_refused_total", "reason" => slug.to_owned()).increment(1);
        Err(ErrorResponse::new(StatusCode::UNAUTHORIZED, slug, title)
            .detail(format!("{detail}; configure the host with a valid key"))
            .field("/key_id"))
    };
    let Some(key) = key else {
        let detail = format!("the platform has no enforcement key {id:?}");
        return refuse("enforcement-key-unknown", "Unknown enforcement key", detail);
    };
    if let Some(since) = key.revoked_at {
        let detail = format!("enforcement key {id:?} was revoked at {}", since.to_rfc3339());
        return refuse("enforcement-key-revoked", "Enforcement key revoked", detail);
    }
    Ok(())
}
