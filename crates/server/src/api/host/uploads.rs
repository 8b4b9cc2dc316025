//! `…/host/v1/uploads/ID`: chunked upload of a file that a command requested. A chunk is acknowledged when it
//! is on disk; the file counts when it matches what the host announced.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use xshield_model::Timestamp;
use xshield_operations::ids::new_id;
use xshield_policy::AssetId;
use xshield_store::Store;
use xshield_store::uploads::{Progress, Upload};
use xshield_store::{commands, commit, uploads};
use xshield_wire::Bytes;
use xshield_wire::control::{UPLOAD_MAX, UPLOAD_PIECE, UploadStanding, UploadState};
use xshield_wire::message::{CommandKind, VERSION};

use super::signed::SignedRequest;
use crate::keys::DataDir;
use crate::limits::Limits;
use crate::problem::{Answer, ErrorResponse};
use crate::settings::Settings;
use crate::uploads::{Appended, Checked, Files, UploadError};

#[derive(Debug, Deserialize)]
struct Query {
    offset: u64,
    total: u64,
    sha256: String,
}

/// What uploads need of the platform.
#[derive(Clone)]
pub(crate) struct UploadParts {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) dir: Arc<DataDir>,
}

/// A file as announced by a host.
struct Announced {
    command: String,
    total: u64,
    digest: Bytes<32>,
}

fn standing(received: u64, progress: Progress) -> Json<UploadStanding> {
    let state = match progress {
        Progress::Partial => UploadState::Partial,
        Progress::Complete => UploadState::Complete,
    };
    Json(UploadStanding { version: VERSION, received, state })
}

/// How much has been received.
pub(super) async fn look(
    State(store): State<Store>,
    Path(command): Path<String>,
    request: SignedRequest,
) -> Answer<Json<UploadStanding>> {
    let mut conn = store.read().await?;
    let known = uploads::of_command(&mut conn, &request.asset.id, &command).await?;
    Ok(known
        .map_or(standing(0, Progress::Partial), |known| standing(known.received, known.progress)))
}

/// Stores a chunk.
pub(super) async fn take(
    State(parts): State<UploadParts>,
    Path(command): Path<String>,
    request: SignedRequest,
) -> Answer<Json<UploadStanding>> {
    let SignedRequest { asset, query, body, now, .. } = request;
    let query: Query = serde_urlencoded::from_str(&query)
        .map_err(|error| ErrorResponse::invalid("?offset", error.to_string()))?;
    let announced = announced(command, &query)?;
    // One chunk at a time: two of one upload would overwrite each other.
    let _turn = parts.limits.uploads.lock(&asset.id).await;
    let Some(upload) = open(&parts, &asset.id, announced, now).await? else {
        return Ok(standing(0, Progress::Partial));
    };
    if upload.progress == Progress::Complete {
        return Ok(standing(upload.received, upload.progress));
    }
    let end = query.offset.saturating_add(body.len() as u64);
    if body.len() > UPLOAD_PIECE || end > upload.total {
        return Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "Upload chunk too large",
        )
        .detail(format!("at most {UPLOAD_PIECE} bytes per chunk, {} in total", upload.total)));
    }
    let is_next = query.offset == upload.received && !body.is_empty();
    if !is_next && upload.received < upload.total {
        return Ok(standing(upload.received, upload.progress));
    }
    let mut upload = upload;
    if is_next {
        let (files, id) = (Files::of(&parts.dir), upload.id.clone());
        let write = move || files.append(&id, query.offset, &body);
        if kept(tokio::task::spawn_blocking(write).await?)? == Appended::Missing {
            forget(&parts.store, &upload).await?;
            return Ok(standing(0, Progress::Partial));
        }
        upload = Upload { received: end, changed_at: now, ..upload };
        write_down(&parts.store, &upload).await?;
    }
    if upload.received < upload.total {
        return Ok(standing(upload.received, upload.progress));
    }
    finish(&parts, upload).await
}

fn announced(command: String, query: &Query) -> Answer<Announced> {
    if query.total == 0 || query.total > UPLOAD_MAX {
        return Err(ErrorResponse::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "File too large",
        )
        .field("?total")
        .detail(format!("{} is not between 1 and {UPLOAD_MAX}", query.total)));
    }
    let digest = from_hex(&query.sha256)
        .ok_or_else(|| ErrorResponse::invalid("?sha256", "expected 64 hexadecimal digits"))?;
    Ok(Announced { command, total: query.total, digest })
}

fn from_hex(text: &str) -> Option<Bytes<32>> {
    let mut bytes = [0; 32];
    // The standard library accepts a sign as part of a number; this does not.
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(Bytes(bytes))
}

/// The record of this upload, created if missing. `None`: the host had announced another file and starts
/// over.
async fn open(
    parts: &UploadParts,
    asset: &AssetId,
    announced: Announced,
    now: Timestamp,
) -> Answer<Option<Upload>> {
    let Announced { command, total, digest } = announced;
    let mut tx = parts.store.write().await?;
    if commands::told(&mut tx, asset, &command).await? != Some(CommandKind::Diagnostics) {
        return Err(ErrorResponse::new(
            StatusCode::NOT_FOUND,
            "upload-not-asked",
            "File not requested",
        )
        .detail(format!("this host has received no command {command:?} that requests a file")));
    }
    let known = uploads::of_command(&mut tx, asset, &command).await?;
    let replaced = match known {
        Some(known) if known.progress == Progress::Complete => return Ok(Some(known)),
        Some(known) if known.total == total && known.digest == digest => return Ok(Some(known)),
        other => other,
    };
    let others = uploads::bytes(&mut tx).await?;
    let others = others.saturating_sub(replaced.as_ref().map_or(0, |replaced| replaced.total));
    if others.saturating_add(total) > parts.settings.uploads_total {
        metrics::counter!("xshield_refused_total", "reason" => "uploads-full").increment(1);
        let mut problem = ErrorResponse::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "uploads-full",
            "No space for the file",
        )
        .detail("the platform's space for uploads is used up; try again later");
        problem.retry_after = Some(600);
        return Err(problem);
    }
    let upload = Upload {
        id: new_id("up-").map_err(|error| ErrorResponse::internal(&error))?,
        command,
        asset: asset.clone(),
        asset_name: String::new(),
        total,
        digest,
        received: 0,
        progress: Progress::Partial,
        created_at: now,
        changed_at: now,
    };
    uploads::put(&mut tx, &upload).await?;
    commit(tx).await?;
    let Some(replaced) = replaced else { return Ok(Some(upload)) };
    let files = Files::of(&parts.dir);
    kept(tokio::task::spawn_blocking(move || files.remove(&replaced.id)).await?)?;
    Ok((replaced.received == 0).then_some(upload))
}

async fn write_down(store: &Store, upload: &Upload) -> Answer<()> {
    let mut tx = store.write().await?;
    uploads::put(&mut tx, upload).await?;
    Ok(commit(tx).await?)
}

async fn forget(store: &Store, upload: &Upload) -> Answer<()> {
    let mut tx = store.write().await?;
    uploads::delete(&mut tx, &upload.id).await?;
    Ok(commit(tx).await?)
}

/// All bytes are there: either the file matches the announcement, or the host starts over.
async fn finish(parts: &UploadParts, upload: Upload) -> Answer<Json<UploadStanding>> {
    let (files, id, digest) = (Files::of(&parts.dir), upload.id.clone(), upload.digest);
    let checked = kept(tokio::task::spawn_blocking(move || files.finish(&id, digest)).await?)?;
    match checked {
        Checked::Right => {
            let upload = Upload { progress: Progress::Complete, ..upload };
            write_down(&parts.store, &upload).await?;
            metrics::counter!("xshield_uploads_total").increment(1);
            Ok(standing(upload.received, upload.progress))
        }
        Checked::Wrong => {
            forget(&parts.store, &upload).await?;
            Err(ErrorResponse::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "digest-wrong",
                "Upload does not match its announcement",
            )
            .field("?sha256")
            .detail("the SHA-256 differs; the data was discarded: start again at offset 0"))
        }
    }
}

fn kept<T>(done: Result<T, UploadError>) -> Answer<T> {
    done.map_err(|error| {
        let mut problem = ErrorResponse::internal(&error);
        problem.status = StatusCode::INSUFFICIENT_STORAGE;
        problem.retry_after = Some(600);
        problem
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_parsed_from_hexadecimal() {
        assert_eq!(from_hex(&"0f".repeat(32)), Some(Bytes([15; 32])));
        assert_eq!(from_hex(&"0F".repeat(32)), Some(Bytes([15; 32])));
        for text in
            ["", "0f", &"0g".repeat(32), &"é".repeat(32), &"0f".repeat(33), &"+1".repeat(32)]
        {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
