//! `GET /host/v1/ruleset`: the signed ruleset, or 304 when the host has it.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::signed_rulesets::signed;
use xshield_store::Store;
use xshield_store::rulesets;
use xshield_wire::message::Digest;

use super::signed::SignedRequest;
use crate::keys::Keys;
use crate::problem::{Answer, ErrorResponse};

/// Below this size, in bytes, compression saves no packet.
const WORTH_COMPRESSING: usize = 1200;

pub(super) async fn get(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(keys): State<Arc<Keys>>,
    request: SignedRequest,
) -> Answer<Response> {
    let no_policy = || {
        ErrorResponse::new(StatusCode::NOT_FOUND, "no-policy", "No ruleset yet")
            .detail("no policy is committed; 'xshield policy synchronize' commits one")
    };
    let stored = rulesets::get(&mut *store.read().await?, &request.asset.id).await?;
    let stored = stored.ok_or_else(no_policy)?;
    if has(&request.headers, &stored.digest.to_base64()) {
        let etag = etag(stored.digest)?;
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let signed = signed(&compiler, &keys.policy, &request.asset.id).await?.ok_or_else(no_policy)?;
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(signed.stored.digest)?);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut body = signed.envelope.to_bytes();
    if body.len() >= WORTH_COMPRESSING && takes_zstd(&request.headers) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        let packed: io::Result<Vec<u8>> =
            tokio::task::spawn_blocking(move || zstd::bulk::compress(&body, 3)).await?;
        body = packed.map_err(|error| ErrorResponse::internal(&error))?;
    }
    *response.body_mut() = body.into();
    Ok(response)
}

fn etag(digest: Digest) -> Answer<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", digest.to_base64()))
        .map_err(|error| ErrorResponse::internal(&error))
}

/// Whether the client already has the content with this tag.
pub(super) fn has(headers: &HeaderMap, digest: &str) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == digest)
}

fn takes_zstd(headers: &HeaderMap) -> bool {
    let values =
        headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map(str::parse::<f32>);
        let refused = weight.is_some_and(|weight| weight.is_ok_and(|weight| weight <= 0.0));
        name.trim().eq_ignore_ascii_case("zstd") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn accepted_encodings_are_parsed() {
        for (value, taken) in [
            ("zstd", true),
            ("gzip, zstd;q=0.8", true),
            ("zstd;q=0", false),
            ("gzip", false),
            ("", false),
        ] {
            assert_eq!(takes_zstd(&headers(header::ACCEPT_ENCODING, value)), taken, "{value}");
        }
    }

    #[test]
    fn etags_are_compared() {
        for (value, known) in [
            ("\"abc=\"", true),
            ("abc=", true),
            ("W/\"abc=\"", true),
            ("\"x\", \"abc=\"", true),
            ("\"abd=\"", false),
        ] {
            assert_eq!(has(&headers(header::IF_NONE_MATCH, value), "abc="), known, "{value}");
        }
    }
}
