//! `POST /host/v1/session`: an enforcement key and an identity become a session, and a host that is
//! new becomes an asset.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::Name;
use xshield_wire::message::{SessionRequest, SessionResponse};
use xshield_wire::session::{ProvenRequest, SessionError, Terms, prove};
use xshield_wire::{Bytes as WireBytes, EnforcementKey};

use super::signed::{decommissioned, read_message, usable};
use crate::api::Client;
use crate::clock::Timestamp;
use crate::keys::{new_id, random};
use crate::problem::{Answer, Problem};
use crate::sealed::HostSession;
use crate::state::App;
use crate::store::assets::{self, NewAsset};
use crate::store::audit::{self, Deed};
use crate::store::enforcement_keys::{self, StoredKey};
use crate::store::{Conn, commit, identities};

/// No session request is near this size, in bytes.
const MAX_REQUEST: usize = 16 << 10;

pub(super) async fn set_up(
    State(app): State<App>,
    Extension(Client(from)): Extension<Client>,
    body: Bytes,
) -> Answer<Json<SessionResponse>> {
    app.limits.session(from.ip())?;
    if body.len() > MAX_REQUEST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
        ));
    }
    let request: SessionRequest = read_message(&body)?;
    let now = Timestamp::now();
    let stored = enforcement_keys::get(&mut *app.store.read().await?, &request.key_id).await?;
    let Some(stored) = stored else {
        usable(None, &request.key_id, now)?;
        return Err(Problem::not_found("enforcement key", &request.key_id));
    };
    let key = opened(&app, &stored)?;
    let proven = prove(&request, &key, now.unix()).map_err(|error| refuse(&error))?;
    usable(Some(&stored), &request.key_id, now)?;
    let name = host_name(&request.host_name)?;

    let mut tx = app.store.write().await?;
    let who = who(&mut tx, &request, &name, &stored, now).await;
    if who.is_ok() {
        enforcement_keys::touch(&mut tx, &stored.id, now).await?;
    }
    // A changed identity is remembered although it is refused.
    commit(tx).await?;
    let (asset, new) = who?;
    if new {
        tracing::info!(%asset, %name, "a host registered");
        app.compiling.inventory_changed();
    }
    answer(&app, &proven, asset, now).map(Json)
}

fn opened(app: &App, stored: &StoredKey) -> Answer<EnforcementKey> {
    let secret = app.keys.seal.open_secret(&stored.id, &stored.sealed_secret);
    let secret = secret.map_err(|error| Problem::internal(&error))?;
    let secret = <[u8; 32]>::try_from(secret)
        .map_err(|_| Problem::internal(&std::io::Error::other("a stored key is damaged")))?;
    let id = stored.id.parse().map_err(|error| {
        Problem::internal(&std::io::Error::other(format!("a stored key is damaged: {error}")))
    })?;
    Ok(EnforcementKey::new(id, secret))
}

fn refuse(error: &SessionError) -> Problem {
    let (status, slug, title) = match error {
        SessionError::Version { .. } => {
            (StatusCode::BAD_REQUEST, "version-unsupported", "The version is not spoken here")
        }
        SessionError::ClockSkew { .. } => {
            (StatusCode::UNAUTHORIZED, "clock-skew", "The clocks are too far apart")
        }
        SessionError::RequestSignature => {
            (StatusCode::UNAUTHORIZED, "identity-wrong", "The identity is not proven")
        }
        SessionError::WeakEphemeral => {
            (StatusCode::BAD_REQUEST, "ephemeral-key-weak", "The ephemeral key is not good")
        }
        _ => (StatusCode::UNAUTHORIZED, "enforcement-key-wrong", "The enforcement key is wrong"),
    };
    metrics::counter!("xshield_refused_total", "reason" => slug).increment(1);
    Problem::new(status, slug, title).detail(error.to_string())
}

/// The name under which a host registers.
///
/// # Errors
/// When it is none that policy can name.
pub(super) fn host_name(text: &str) -> Answer<Name> {
    text.parse::<Name>().map_err(|error| Problem::invalid("/host_name", error.to_string()))
}

/// Which asset this is, and whether it is new.
async fn who(
    conn: &mut Conn,
    request: &SessionRequest,
    name: &Name,
    key: &StoredKey,
    now: Timestamp,
) -> Answer<(AssetId, bool)> {
    if let Some(asset) = assets::by_identity(conn, request.identity).await? {
        if asset.decommissioned_at.is_some() {
            return Err(decommissioned(asset.name.as_str()));
        }
        return Ok((asset.id, false));
    }
    let Some(namesake) = assets::by_name(conn, name.as_str()).await? else {
        return register(conn, request.identity, name, key, now).await.map(|id| (id, true));
    };
    let known = namesake.pending.is_some_and(|pending| pending.identity == request.identity);
    let waits = identities::remember(conn, &namesake.id, request.identity, now).await?;
    if waits && !known {
        let deed = Deed {
            actor: &format!("host:{}", namesake.id),
            action: "asset.identity-changed",
            target: name.as_str(),
            before: namesake.identity.to_base64(),
            after: request.identity.to_base64(),
        };
        audit::record(conn, deed, now).await?;
    }
    if namesake.decommissioned_at.is_some() {
        return Err(decommissioned(name.as_str()));
    }
    metrics::counter!("xshield_refused_total", "reason" => "identity-changed").increment(1);
    let what_next = if waits {
        "an operator must approve the new one: xshield asset approve-identity"
    } else {
        "an operator has rejected this one"
    };
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        if waits { "identity-changed" } else { "identity-rejected" },
        "The host's identity key is not the pinned one",
    )
    .detail(format!("asset {name} is pinned to another identity key; {what_next} {name}")))
}

async fn register(
    conn: &mut Conn,
    identity: WireBytes<32>,
    name: &Name,
    key: &StoredKey,
    now: Timestamp,
) -> Answer<AssetId> {
    let id = new_id("as-").map_err(|error| Problem::internal(&error))?;
    let id: AssetId = id.parse().map_err(|error| Problem::internal(&error))?;
    let asset = NewAsset { id: &id, name, source: Source::Spark, identity, tags: &key.tags };
    assets::insert(conn, &asset, now).await?;
    let deed = Deed {
        actor: &format!("host:{id}"),
        action: "asset.register",
        target: name.as_str(),
        before: String::new(),
        after: format!("{id} with enforcement key {}", key.id),
    };
    audit::record(conn, deed, now).await?;
    Ok(id)
}

fn answer(
    app: &App,
    proven: &ProvenRequest<'_>,
    asset: AssetId,
    now: Timestamp,
) -> Answer<SessionResponse> {
    let ephemeral = random::<32>().map_err(|error| Problem::internal(&error))?;
    let expires = now.plus(app.settings.session_for);
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
        // An empty token is refused by `accept`.
        app.keys.seal.session(&session).unwrap_or_default()
    });
    match sealed {
        Ok((response, _)) => Ok(response),
        Err(error @ SessionError::Token) => Err(Problem::internal(&error)),
        Err(error) => Err(refuse(&error)),
    }
}
