//! Diagnostics that hosts collected: list, download, delete.

use xshield_api::agents::{Diagnostics, DiagnosticsQuery};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_store::uploads::{self, Progress, Upload, UploadFilter};
use xshield_store::{Conn, Store};

use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};
use crate::lookup;
use crate::paging::{Paging, paged};

/// A position in the list of diagnostics: start of the upload and id.
pub type Place = (i64, String);

fn shown(upload: Upload, keep_for: i64) -> Diagnostics {
    Diagnostics {
        kept_until: upload.changed_at.plus(keep_for),
        sha256: upload.digest.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        complete: upload.progress == Progress::Complete,
        id: upload.id,
        asset: upload.asset_name,
        command: upload.command,
        size: upload.total,
        received: upload.received,
        created_at: upload.created_at,
    }
}

/// Diagnostics, newest first. `keep_for`: seconds until they are deleted.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn list(
    conn: &mut Conn,
    query: DiagnosticsQuery,
    keep_for: i64,
    paging: Paging<Place>,
) -> Result<Page<Diagnostics>> {
    let DiagnosticsQuery { asset, command } = query;
    let asset = lookup::asset_id(conn, asset.as_deref()).await?;
    let filter = UploadFilter { asset, command, complete: false };
    let found = uploads::list(conn, &filter, paging.after.clone(), paging.to_read()).await?;
    let place = |upload: &Upload| -> Place { (upload.created_at.0, upload.id.clone()) };
    Ok(paged(found, paging.limit, place, |upload| shown(upload, keep_for)))
}

/// The upload with an id, or the newest complete one of an asset.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn complete(conn: &mut Conn, id: &str) -> Result<Upload> {
    let found = match uploads::get(conn, id).await? {
        Some(upload) => Some(upload),
        None => {
            let unknown = |_| OperationError::not_found("asset and no upload", id);
            let asset = lookup::asset(conn, id).await.map_err(unknown)?;
            let filter =
                UploadFilter { asset: Some(asset.id), complete: true, ..UploadFilter::default() };
            uploads::list(conn, &filter, None, 1).await?.pop()
        }
    };
    found
        .filter(|upload| upload.progress == Progress::Complete)
        .ok_or_else(|| OperationError::not_found("complete upload of diagnostics of", id))
}

/// All diagnostics that one command collected. `keep_for`: seconds until they are deleted.
///
/// # Errors
/// When the database fails.
pub async fn of_command(conn: &mut Conn, id: &str, keep_for: i64) -> Result<Vec<Diagnostics>> {
    let filter = UploadFilter { command: Some(id.to_owned()), ..UploadFilter::default() };
    let found = uploads::list(conn, &filter, None, u32::MAX).await?;
    Ok(found.into_iter().map(|upload| shown(upload, keep_for)).collect())
}

/// Records a download, before the first byte is sent.
///
/// # Errors
/// When the database fails.
pub async fn handed_out(
    store: &Store,
    by: &By<Operator>,
    upload: &Upload,
    now: Timestamp,
) -> Result<()> {
    let entry = AuditEntry {
        action: "diagnostics.download",
        target: &upload.asset_name,
        before: String::new(),
        after: upload.id.clone(),
    };
    AuditedChange::begin(store, by, now).await?.commit(entry).await
}

/// Deletes diagnostics before they expire. The caller has to remove the file.
///
/// # Errors
/// When there are none of this id, or the database fails.
pub async fn forget(store: &Store, by: &By<Operator>, id: &str, now: Timestamp) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let upload = uploads::get(&mut change, id).await?;
    let upload = upload.ok_or_else(|| OperationError::not_found("upload", id))?;
    uploads::delete(&mut change, id).await?;
    let (target, before) = (&upload.asset_name, id.to_owned());
    let entry = AuditEntry { action: "diagnostics.remove", target, before, after: String::new() };
    change.commit(entry).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, by, register, store};

    #[tokio::test]
    async fn missing_diagnostics_are_named() {
        let (_dir, store) = store().await;
        register(&store, &[("web", "web")]).await;
        let mut conn = store.read().await.unwrap();
        for (id, said) in [
            ("web", "there is no complete upload of diagnostics of \"web\""),
            ("none", "there is no asset and no upload \"none\""),
        ] {
            assert_eq!(complete(&mut conn, id).await.unwrap_err().to_string(), said);
        }
        let gone = forget(&store, &by(), "up-1", NOW).await.unwrap_err();
        assert_eq!(gone.to_string(), "there is no upload \"up-1\"");
    }
}
