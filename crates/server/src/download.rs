//! Files that the platform serves for download.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use xshield_model::Timestamp;
use xshield_operations::By;
use xshield_operations::caller::Operator;
use xshield_operations::diagnostics::{complete, handed_out};
use xshield_store::Store;

use crate::keys::DataDir;
use crate::problem::{Answer, ErrorResponse};
use crate::streamed::Streamed;
use crate::uploads::Files;

/// The bytes of diagnostics as a file download.
pub(crate) async fn diagnostics(
    store: &Store,
    dir: &DataDir,
    by: &By<Operator>,
    id: &str,
) -> Answer<Response> {
    let upload = complete(&mut *store.read().await?, id).await?;
    let path = Files::of(dir).whole(&upload.id);
    let file =
        tokio::fs::File::open(path).await.map_err(|error| ErrorResponse::internal(&error))?;
    handed_out(store, by, &upload, Timestamp::now()).await?;
    let mut response = Body::new(Streamed::of(file, upload.total)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // The id was made by the platform: letters, digits and a dash.
    let name = format!("attachment; filename=\"{}\"", upload.id);
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}
