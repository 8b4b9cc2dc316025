//! `POST /host/v1/session`: sets up a session from an enforcement key and an identity, and registers new
//! hosts as assets.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use xshield_model::Timestamp;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::ids::random;
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_policy::AssetId;
use xshield_policy::names::Name;
use xshield_store::enforcement_keys::StoredKey;
use xshield_store::{Conn, Store, assets, commit, enforcement_keys, enrolment};
use xshield_wire::message::{SessionRequest, SessionResponse, UnixSeconds};
use xshield_wire::session::{ProvenRequest, SessionError, Terms, prove};
use xshield_wire::{Bytes as WireBytes, EnforcementKey};

use super::newcomer::Newcomer;
use super::signed::{decommissioned, usable};
use super::{clock, refused};
use crate::bodies::MAX_UNAUTHENTICATED;
use crate::client::Client;
use crate::connections::party::Party;
use crate::connections::registry::identify;
use crate::host_message::read_message;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::refusal_batch::Refusal;
use crate::sealed::HostSession;
use crate::settings::Settings;

/// What setting up a session needs of the platform.
#[derive(Clone)]
pub(crate) struct SessionParts {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) compiler: Arc<RulesetCompiler>,
    pub(crate) parsed_policies: Arc<ParsedPolicies>,
}

pub(super) async fn set_up(
    State(parts): State<SessionParts>,
    Extension(Client(from)): Extension<Client>,
    mut request: Request,
) -> Answer<Json<SessionResponse>> {
    parts.limits.session(from.ip())?;
    let mut connection = std::mem::take(request.extensions_mut());
    let anonymous = Party::Unauthenticated(from.ip().into());
    let body =
        parts.limits.bodies.read(&anonymous, request.into_body(), MAX_UNAUTHENTICATED).await?;
    let request: SessionRequest = read_message(&body)?;
    let now = Timestamp::now();
    let stored = enforcement_keys::get(&mut *parts.store.read().await?, &request.key_id).await?;
    let tell = |key: Option<&StoredKey>, refusal: &ErrorResponse| {
        parts.limits.note_refused(Refusal {
            action: "host.session-refused",
            reason: refusal.slug().to_owned(),
            subject: key.map(|key| key.id.clone()),
            from: from.ip().into(),
        });
    };
    let Some(stored) = stored else {
        usable(None, &request.key_id).inspect_err(|refusal| tell(None, refusal))?;
        return Err(ErrorResponse::not_found("enforcement key", &request.key_id));
    };
    let key = opened(&parts.keys, &stored)?;
    let proven = match prove(&request, &key, now.unix()) {
        Ok(proven) => proven,
        Err(error) => {
            let refusal = refuse(&error);
            tell(Some(&stored), &refusal);
            if let SessionError::ClockSkew { host, .. } = error {
                note_skew(&parts.store, &request, host).await?;
                note_refused(&parts.store, &request, &refusal).await?;
            }
            return Err(refusal);
        }
    };
    if let Err(refusal) = usable(Some(&stored), &request.key_id) {
        tell(Some(&stored), &refusal);
        note_refused(&parts.store, &request, &refusal).await?;
        return Err(refusal);
    }

    if has_a_taken_name(&parts.store, &request).await? {
        let room = parts.limits.namesake(&stored.id).map_err(ErrorResponse::from);
        room.inspect_err(|refusal| tell(Some(&stored), refusal))?;
    }

    let mut tx = parts.store.write().await?;
    let who = who(&parts.parsed_policies, &mut tx, &request, &stored, from.ip(), now).await;
    if let Ok((asset, _)) = &who {
        enforcement_keys::touch(&mut tx, &stored.id, from.ip(), now).await?;
        enrolment::note_session(&mut tx, asset, &request, from.ip(), now).await?;
    }
    // The other identity is recorded although it is refused.
    commit(tx).await?;
    let (asset, new) = who.inspect_err(|refusal| tell(Some(&stored), refusal))?;
    identify(&mut connection, Party::Host(asset.clone()))?;
    if new {
        tracing::info!(%asset, name = request.host_name, "a host registered");
        parts.compiler.host_changed();
    }
    answer(&parts, &proven, asset, now).map(Json)
}

/// Whether it has an unknown identity key and claims the name of another host.
async fn has_a_taken_name(store: &Store, request: &SessionRequest) -> Answer<bool> {
    let mut conn = store.read().await?;
    let is_known = assets::by_identity(&mut conn, request.identity).await?.is_some();
    Ok(!is_known && assets::by_name(&mut conn, &request.host_name).await?.is_some())
}

/// Shows the clock offset of a host that is refused because of it; its request is verified except for the
/// time.
async fn note_skew(store: &Store, request: &SessionRequest, host: UnixSeconds) -> Answer<()> {
    let asset = assets::by_identity(&mut *store.read().await?, request.identity).await?;
    match asset {
        Some(asset) => clock::note_refused(store, &asset.id, host).await,
        None => Ok(()),
    }
}

/// Records that a registered host can't set up a session. Only for requests that are signed with its identity
/// key.
async fn note_refused(
    store: &Store,
    request: &SessionRequest,
    refusal: &ErrorResponse,
) -> Answer<()> {
    let asset = assets::by_identity(&mut *store.read().await?, request.identity).await?;
    if let Some(asset) = asset.filter(|asset| asset.decommissioned_at.is_none()) {
        refused::note(store, &asset.id, refusal).await;
    }
    Ok(())
}

fn opened(keys: &Keys, stored: &StoredKey) -> Answer<EnforcementKey> {
    let secret = keys.seal.open_secret(&stored.id, &stored.sealed_secret);
    let secret = secret.map_err(|error| ErrorResponse::internal(&error))?;
    let secret = <[u8; 32]>::try_from(secret)
        .map_err(|_| ErrorResponse::internal(&std::io::Error::other("a stored key is damaged")))?;
    let id = stored.id.parse().map_err(|error| {
        ErrorResponse::internal(&std::io::Error::other(format!("a stored key is damaged: {error}")))
    })?;
    Ok(EnforcementKey::new(id, secret))
}

fn refuse(error: &SessionError) -> ErrorResponse {
    let (status, slug, title) = match error {
        SessionError::Version { .. } => {
            (StatusCode::BAD_REQUEST, "version-unsupported", "Unsupported protocol version")
        }
        SessionError::ClockSkew { .. } => {
            (StatusCode::UNAUTHORIZED, "clock-skew", "Clock difference too large")
        }
        SessionError::RequestSignature => {
            (StatusCode::UNAUTHORIZED, "identity-wrong", "Invalid proof of identity")
        }
        SessionError::WeakEphemeral => {
            (StatusCode::BAD_REQUEST, "ephemeral-key-weak", "Invalid ephemeral key")
        }
        _ => (StatusCode::UNAUTHORIZED, "enforcement-key-wrong", "Wrong enforcement key"),
    };
    metrics::counter!("xshield_refused_total", "reason" => slug).increment(1);
    ErrorResponse::new(status, slug, title).detail(error.to_string())
}

/// The name under which a host registers.
///
/// # Errors
/// When policy can't refer to such a name.
pub(super) fn host_name(text: &str) -> Answer<Name> {
    text.parse::<Name>().map_err(|error| ErrorResponse::invalid("/host_name", error.to_string()))
}

/// The asset of this host, and whether it is new. A registered host is recognized by its identity key,
/// whatever the term of the enforcement key or its name; any other host must be admitted by that key, under a
/// valid name.
async fn who(
    policies: &ParsedPolicies,
    conn: &mut Conn,
    request: &SessionRequest,
    key: &StoredKey,
    from: IpAddr,
    now: Timestamp,
) -> Answer<(AssetId, bool)> {
    if let Some(asset) = assets::by_identity(conn, request.identity).await? {
        if asset.decommissioned_at.is_some() {
            return Err(decommissioned(asset.name.as_str()));
        }
        return Ok((asset.id, false));
    }
    let name = host_name(&request.host_name)?;
    let policies = policies.policies(conn).await?;
    let newcomer = Newcomer { request, name: &name, policies: &policies, from, now };
    newcomer.enrol(conn, key).await.map(|id| (id, true))
}

fn answer(
    parts: &SessionParts,
    proven: &ProvenRequest<'_>,
    asset: AssetId,
    now: Timestamp,
) -> Answer<SessionResponse> {
    let ephemeral = random::<32>().map_err(|error| ErrorResponse::internal(&error))?;
    let expires = now.plus(parts.settings.session_for);
    let request = proven.request();
    let terms = Terms { asset: asset.clone(), ephemeral, expires: expires.unix() };
    let sealed = proven.accept(terms, |key| {
        let session = HostSession {
            asset,
            identity: request.identity,
            key_id: request.key_id.clone(),
            session_key: WireBytes(*key.expose_secret()),
            expires: expires.0,
        };
        // `accept` rejects an empty token.
        parts.keys.seal.session(&session).unwrap_or_default()
    });
    match sealed {
        Ok((response, _)) => Ok(response),
        Err(error @ SessionError::Token) => Err(ErrorResponse::internal(&error)),
        Err(error) => Err(refuse(&error)),
    }
}
