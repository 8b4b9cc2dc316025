//! Identity keys that speak in an asset's name: an operator approves or rejects each by its fingerprint.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::assets::Asset;
use xshield_api::claims::{Approval, Rejection, Running};
use xshield_model::{Timestamp, relative};
use xshield_operations::lookup::asset as named;
use xshield_store::assets::StoredAsset;
use xshield_store::identities::OtherIdentity;
use xshield_store::{assets, commit, enforcement_keys, enrolment, identities};
use xshield_wire::fingerprint::IdentityFingerprint;

use super::assets::{record, with_tags};
use crate::auth::{Allowed, Operator};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(approve_identity)).routes(routes!(reject_identity))
}

/// Pin an identity key by its fingerprint, e.g. after a host was installed anew
#[utoipa::path(post, path = "/api/v1/assets/{asset}/identity/approve", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Approval,
    responses((status = 200, body = Asset)))]
async fn approve_identity(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(approval): JsonBody<Approval>,
) -> Answer<Json<Asset>> {
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let mut known = identities::waiting(&mut tx, &asset.id).await?;
    // What was turned away by mistake can still be approved.
    known.extend(identities::rejected(&mut tx, &asset.id).await?);
    let other = the_one(known, &asset, approval.fingerprint)?;
    if approval.running == Running::Keep {
        is_silent(&asset, &other, now)?;
    }
    if let Some(taken) = assets::by_identity(&mut tx, other.identity).await? {
        let detail =
            format!("the host has registered as {} since; delete that asset first", taken.name);
        return Err(Problem::conflict("identity-in-use", detail));
    }
    identities::approve(&mut tx, &asset.id, other.identity).await?;
    // A key that is used up by now lets in whom an operator approves.
    if enforcement_keys::count_registration(&mut tx, &other.key, now).await? {
        enrolment::note_registration(&mut tx, &asset.id, &other.key).await?;
    }
    let before = IdentityFingerprint::of(&asset.identity).to_string();
    let after = other.fingerprint().to_string();
    record(&mut tx, allowed.caller(), "asset.approve-identity", &asset, &before, &after).await?;
    let asset = named(&mut tx, asset.id.as_str()).await?;
    let shown = with_tags(&app, &mut tx, asset).await?;
    commit(tx).await?;
    Ok(shown)
}

/// Turn an identity key away, by its fingerprint, for good
#[utoipa::path(post, path = "/api/v1/assets/{asset}/identity/reject", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Rejection,
    responses((status = 200, body = Asset)))]
async fn reject_identity(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(rejection): JsonBody<Rejection>,
) -> Answer<Json<Asset>> {
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let waiting = identities::waiting(&mut tx, &asset.id).await?;
    let other = the_one(waiting, &asset, rejection.fingerprint)?;
    identities::reject(&mut tx, &asset.id, other.identity).await?;
    let before = other.fingerprint().to_string();
    record(&mut tx, allowed.caller(), "asset.reject-identity", &asset, &before, "").await?;
    let asset = named(&mut tx, asset.id.as_str()).await?;
    let shown = with_tags(&app, &mut tx, asset).await?;
    commit(tx).await?;
    Ok(shown)
}

/// The identity with this fingerprint.
fn the_one(
    known: Vec<OtherIdentity>,
    asset: &StoredAsset,
    fingerprint: IdentityFingerprint,
) -> Answer<OtherIdentity> {
    let name = &asset.name;
    if known.is_empty() {
        let detail = format!("no other identity key waits for {name}");
        return Err(Problem::conflict("no-pending-identity", detail));
    }
    let found = known.into_iter().find(|other| other.fingerprint() == fingerprint);
    found.ok_or_else(|| {
        let detail = format!(
            "no identity key with the fingerprint {fingerprint} waits for {name}; compare with what \
             the host shows, and see which do: xshield asset show {name}"
        );
        Problem::conflict("identity-not-waiting", detail).field("/fingerprint")
    })
}

/// Refuses while the machine with the pinned key goes on: then the other one is no new installation of
/// it, but another machine.
fn is_silent(asset: &StoredAsset, other: &OtherIdentity, now: Timestamp) -> Answer<()> {
    let Some(last) = asset.last_check_in.filter(|last| *last > other.first_seen) else {
        return Ok(());
    };
    let name = &asset.name;
    Err(Problem::conflict(
        "pinned-identity-in-use",
        format!(
            "{name} has checked in with its pinned key since this one first asked, the last time \
             {}: these are two machines. Set name: in the configuration of the other one to a name of \
             its own; or, to take the asset from the machine that has it, repeat with \
             --replace-running",
            relative(last, now)
        ),
    ))
}
