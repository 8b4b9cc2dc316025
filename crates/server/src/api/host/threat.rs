//! `GET /host/v1/threat/…`: a host's order, the update path to its list, and the files on that path.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::fs::File;
use xshield_intelligence::Threats;
use xshield_intelligence::files::FileError;
use xshield_model::file_name::FileName;
use xshield_store::threat_assets::SignedOrder;
use xshield_store::threat_lists::StoredFile;
use xshield_store::{Store, threat_assets};
use xshield_threat::Digest;
use xshield_wire::Bytes;
use xshield_wire::message::VERSION;
use xshield_wire::threat::{ThreatFile, ThreatFileKind, ThreatPath};

use super::ruleset::has;
use super::signed::SignedRequest;
use crate::client::Client;
use crate::connections::party::Party;
use crate::connections::registry::identify;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::streamed::Streamed;

pub(super) async fn order(State(store): State<Store>, request: SignedRequest) -> Answer<Response> {
    let signed = ordered(&store, &request).await?;
    let digest = signed.digest.to_base64();
    let etag = HeaderValue::from_str(&format!("\"{digest}\""))
        .map_err(|error| ErrorResponse::internal(&error))?;
    if has(&request.headers, &digest) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::ETAG, etag), (header::CONTENT_TYPE, kind)], signed.envelope).into_response())
}

async fn ordered(store: &Store, request: &SignedRequest) -> Answer<SignedOrder> {
    let stored = threat_assets::get(&mut *store.read().await?, &request.asset.id).await?;
    stored.order.ok_or_else(|| {
        ErrorResponse::new(StatusCode::NOT_FOUND, "no-threat-order", "No threat order yet")
            .detail("no threat feed has given a list; 'xshield threat feed add' adds one")
    })
}

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    from: Option<String>,
}

pub(super) async fn path(
    State(store): State<Store>,
    State(threat): State<Arc<Threats>>,
    Query(query): Query<From>,
    request: SignedRequest,
) -> Answer<Json<ThreatPath>> {
    let from = query.from.filter(|from| !from.is_empty()).map(|from| from.parse::<Digest>());
    let from =
        from.transpose().map_err(|error| ErrorResponse::invalid("?from", error.to_string()))?;
    let order = ordered(&store, &request).await?.order;
    let files = match order.list {
        Some(list) => threat.paths.lead(from, Digest(list.digest.0)).await?,
        None => Vec::new(),
    };
    Ok(Json(ThreatPath { version: VERSION, files: files.iter().map(named).collect() }))
}

fn named(file: &StoredFile) -> ThreatFile {
    ThreatFile {
        kind: if file.base.is_some() { ThreatFileKind::Delta } else { ThreatFileKind::Snapshot },
        sha256: Bytes(file.name.0.0),
        bytes: file.bytes,
        to: Bytes(file.target.0),
    }
}

pub(super) async fn file(
    State(threat): State<Arc<Threats>>,
    State(limits): State<Arc<Limits>>,
    Path(name): Path<String>,
    Extension(Client(client)): Extension<Client>,
    mut request: Request,
) -> Answer<Response> {
    let missing = || {
        ErrorResponse::not_found("threat file", &name).detail(
            "the file does not exist or is no longer kept; request the path to the list again",
        )
    };
    let parsed: FileName = name.parse().map_err(|_| missing())?;
    let etag = HeaderValue::from_str(&format!("\"{parsed}\""))
        .map_err(|error| ErrorResponse::internal(&error))?;
    let _permit = limits.files.acquire().await;
    let worker = threat.clone();
    let found = tokio::task::spawn_blocking(move || worker.files.open_whole(parsed)).await?;
    let (file, length) = match found {
        Ok(Some(found)) => found,
        // A client that requests the path again is routed around the file, or the file is rebuilt.
        Ok(None) => {
            threat.paths.forget(&[parsed].into());
            return Err(missing());
        }
        Err(error @ FileError::Damaged { .. }) => {
            tracing::error!(%error, "a threat file is damaged; it is not used any more");
            threat.paths.forget(&[parsed].into());
            threat.files.remove(parsed).map_err(|error| ErrorResponse::internal(&error))?;
            return Err(missing());
        }
        Err(error) => return Err(ErrorResponse::internal(&error)),
    };
    // Only hosts know the digests, and they download large files on separate connections.
    identify(request.extensions_mut(), Party::Reader(client.ip().into()))?;
    // The name is the content's digest, so it can be cached forever.
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    let kept = [(header::ETAG, etag), (header::CACHE_CONTROL, kept)];
    if has(request.headers(), &name) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
    Ok((kept, kind, Body::new(Streamed::of(File::from_std(file), length))).into_response())
}
