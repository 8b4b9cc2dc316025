//! Assets: what they are and how they stand.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::assets::{Asset, AssetChange, PastProblem, PendingIdentity, WaitingIdentity};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::asset_filter::Standing;
use xshield_model::claim;
use xshield_operations::lookup::asset as named;
use xshield_operations::selection::{matching, members};
use xshield_operations::standing::spark_of;
use xshield_operations::{management, protection};
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_policy::names::{TagKey, TagValue};
use xshield_store::assets::{AssetFilter, StoredAsset, Tags};
use xshield_store::audit::Deed;
use xshield_store::identities::OtherIdentity;
use xshield_store::problems::StoredProblem;
use xshield_store::{
    Conn, assets, audit, claims as stored_claims, commit, enrolment, identities, problems,
    threat_assets, trim,
};
use xshield_wire::fingerprint::IdentityFingerprint;

use super::page::{PageQuery, paged};
use super::threat_status::asset_threat;
use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::holding;
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::BothOf;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, change, delete))
        .routes(routes!(decommission))
        .routes(routes!(reinstate))
        .routes(routes!(problems))
}

fn waiting_identity(other: OtherIdentity) -> WaitingIdentity {
    WaitingIdentity {
        fingerprint: other.fingerprint(),
        identity: other.identity.to_base64(),
        key: other.key,
        from: other.from,
        since: other.first_seen,
        last_seen: other.last_seen,
        attempts: other.attempts,
    }
}

fn shown(
    app: &App,
    asset: StoredAsset,
    tags: Tags,
    claims: &[claim::Claim],
    now: Timestamp,
) -> Asset {
    Asset {
        spark: spark_of(&asset, app.compiler.failure(&asset.id), now),
        protection: None,
        threat: None,
        findings: None,
        claims: claims.iter().map(|claim| super::claims::shown(&asset.name, claim)).collect(),
        id: asset.id,
        name: asset.name,
        source: asset.source,
        tags,
        addresses: asset.addresses,
        os: asset.os,
        kernel: asset.kernel,
        identity: asset.identity.to_base64(),
        fingerprint: IdentityFingerprint::of(&asset.identity),
        waiting_identities: None,
        registered_with: None,
        pending_identity: asset.pending.map(|pending| PendingIdentity {
            identity: pending.identity.to_base64(),
            fingerprint: IdentityFingerprint::of(&pending.identity),
            since: pending.since,
        }),
        created_at: asset.created_at,
        events_lost: asset.events_lost,
        decommissioned_at: asset.decommissioned_at,
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct AssetQuery {
    /// Part of the name.
    #[serde(default)]
    name: Option<String>,
    /// `key` or `key=value`; several, joined by `,`, must all hold.
    #[serde(default)]
    tag: Option<String>,
    /// How it stands.
    #[serde(default)]
    #[param(inline)]
    status: Option<Standing>,
    /// A segment of the committed policy.
    #[serde(default)]
    segment: Option<String>,
    /// A criteria expression, e.g. `environment = 'prod' and role in ('web','db')`.
    #[serde(default, rename = "where")]
    criteria: Option<String>,
}

/// List assets
#[utoipa::path(get, path = "/api/v1/assets", tag = "assets", params(AssetQuery, PageQuery),
    responses((status = 200, body = Page<Asset>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AssetQuery, PageQuery>,
) -> Answer<Json<Page<Asset>>> {
    let (limit, now) = (page.limit()?, Timestamp::now());
    let ids = match &query.segment {
        Some(segment) => Some(members(&app.store, &app.compiler, segment, "?segment").await?),
        None => None,
    };
    let criteria = query.criteria.as_deref().map(str::parse::<Criteria>).transpose();
    let criteria = criteria.map_err(|error| Problem::invalid("?where", error.to_string()))?;
    let tags = query.tag.as_deref().map(tag_filter).transpose()?.unwrap_or_default();
    let mut filter = AssetFilter {
        name: query.name,
        tags,
        standing: query.status,
        ids,
        ..AssetFilter::default()
    };
    protection::fill_in(&app.compiler, &mut filter).await?;
    let after = page.after::<String>()?;
    let mut conn = app.store.read().await?;
    if let Some(criteria) = &criteria {
        let matching = matching(&mut conn, criteria).await?;
        let known = filter.ids.take();
        let both = |id: &AssetId| known.as_ref().is_none_or(|known| known.contains(id));
        filter.ids = Some(matching.into_iter().filter(both).collect());
    }
    let found = assets::list(&mut conn, &filter, after.as_deref(), limit + 1, now).await?;
    let mut tags = assets::tags_of(&mut conn, found.iter().map(|asset| &asset.id)).await?;
    let claims = stored_claims::of_many(&mut conn, found.iter().map(|asset| &asset.id)).await?;
    // Whoever compiles may wait for what this holds.
    drop(conn);
    let standings = app.compiler.standings(found.iter().map(|asset| asset.id.clone())).await?;
    Ok(Json(paged(
        found,
        limit,
        |asset| asset.name.as_str().to_owned(),
        |asset| {
            let tags = tags.remove(&asset.id).unwrap_or_default();
            let claims = claims.get(&asset.id).map_or(&[][..], Vec::as_slice);
            let standing = standings.get(&asset.id);
            let shown = shown(&app, asset, tags, claims, now);
            Asset { protection: Some(protection::of(standing, &shown.spark)), ..shown }
        },
    )))
}

fn tag_filter(text: &str) -> Answer<Vec<(TagKey, Option<TagValue>)>> {
    let refuse = |reason: String| Problem::invalid("?tag", reason);
    text.split(',')
        .map(|one| {
            let (key, value) = match one.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (one, None),
            };
            let key = key.trim().parse::<TagKey>().map_err(|error| refuse(error.to_string()))?;
            let value = value.map(|value| value.trim().parse::<TagValue>()).transpose();
            Ok((key, value.map_err(|error| refuse(error.to_string()))?))
        })
        .collect()
}

/// All that is known of an asset.
pub(super) async fn with_tags(
    app: &App,
    conn: &mut Conn,
    asset: StoredAsset,
) -> Answer<Json<Asset>> {
    let mut tags = assets::tags_of(conn, std::iter::once(&asset.id)).await?;
    let tags = tags.remove(&asset.id).unwrap_or_default();
    let threat = asset_threat(&threat_assets::get(conn, &asset.id).await?);
    let waiting = identities::waiting(conn, &asset.id).await?;
    let waiting_identities = Some(waiting.into_iter().map(waiting_identity).collect());
    let registered_with = enrolment::registered_with(conn, &asset.id).await?;
    let (claims, now) = (stored_claims::of(conn, &asset.id).await?, Timestamp::now());
    let findings = Some(holding::findings(conn, &asset, now).await?);
    let shown = shown(app, asset, tags, &claims, now);
    Ok(Json(Asset { threat, findings, waiting_identities, registered_with, ..shown }))
}

/// One asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let mut shown = with_tags(&app, &mut conn, asset).await?;
    // Whoever compiles may wait for what this holds.
    drop(conn);
    let standings = app.compiler.standings([shown.id.clone()]).await?;
    shown.protection = Some(protection::of(standings.get(&shown.id), &shown.spark));
    let unmanaged = management::finding(&app.compiler, &shown.id).await?;
    shown.findings.get_or_insert_default().extend(unmanaged);
    Ok(shown)
}

/// Change an asset's tags
#[utoipa::path(patch, path = "/api/v1/assets/{asset}", tag = "assets", request_body = AssetChange,
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn change(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(change): JsonBody<AssetChange>,
) -> Answer<Json<Asset>> {
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let mut known = assets::tags_of(&mut tx, std::iter::once(&asset.id)).await?;
    let before = known.remove(&asset.id).unwrap_or_default();
    let mut after = before.clone();
    for (key, value) in change.tags {
        match value {
            Some(value) => after.insert(key, value),
            None => after.remove(&key),
        };
    }
    if after != before {
        assets::set_tags(&mut tx, &asset.id, &after).await?;
        let deed = Deed {
            actor: &allowed.actor(),
            action: "asset.tag",
            target: asset.name.as_str(),
            before: in_words(&before),
            after: in_words(&after),
        };
        audit::record(&mut tx, deed, Timestamp::now()).await?;
        commit(tx).await?;
        app.compiler.inventory_changed();
    } else {
        drop(tx);
    }
    with_tags(&app, &mut *app.store.read().await?, asset).await
}

fn in_words(tags: &Tags) -> String {
    let words: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(", ")
}

/// Forget an asset and everything it reported; a host that still runs registers again
#[utoipa::path(delete, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<StatusCode> {
    // What takes long is forgotten in pieces: others write in between.
    let known = named(&mut *app.store.read().await?, &asset).await?;
    trim::everything_of(&app.store, &known.id).await?;
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    enrolment::remember_forgotten(&mut tx, &asset.id, Timestamp::now()).await?;
    assets::delete(&mut tx, &asset.id).await?;
    record(&mut tx, allowed.caller(), "asset.delete", &asset, asset.id.as_str(), "").await?;
    commit(tx).await?;
    app.compiler.inventory_changed();
    Ok(StatusCode::NO_CONTENT)
}

/// Writes down what was done to an asset.
pub(super) async fn record(
    conn: &mut Conn,
    caller: &Caller,
    action: &'static str,
    asset: &StoredAsset,
    before: &str,
    after: &str,
) -> Answer<()> {
    let deed = Deed {
        actor: &caller.actor(),
        action,
        target: asset.name.as_str(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    Ok(audit::record(conn, deed, Timestamp::now()).await?)
}

/// Take an asset out of service: its host is refused from now on, its history stays
#[utoipa::path(post, path = "/api/v1/assets/{asset}/decommission", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn decommission(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    serve(&app, allowed.caller(), &asset, Some(Timestamp::now())).await
}

/// Take an asset into service again
#[utoipa::path(post, path = "/api/v1/assets/{asset}/reinstate", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn reinstate(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    serve(&app, allowed.caller(), &asset, None).await
}

/// Takes an asset out of service, or into it; when it is there already, nothing changes.
async fn serve(
    app: &App,
    caller: &Caller,
    asset: &str,
    out_of_service: Option<Timestamp>,
) -> Answer<Json<Asset>> {
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, asset).await?;
    let changes = asset.decommissioned_at.is_some() != out_of_service.is_some();
    if changes {
        assets::decommission(&mut tx, &asset.id, out_of_service).await?;
        let action = match out_of_service {
            Some(_) => "asset.decommission",
            None => "asset.reinstate",
        };
        record(&mut tx, caller, action, &asset, "", "").await?;
    }
    let asset = named(&mut tx, asset.id.as_str()).await?;
    let id = asset.id.clone();
    let shown = with_tags(app, &mut tx, asset).await?;
    commit(tx).await?;
    if changes {
        app.held_polls.wake(&id);
        app.compiler.inventory_changed();
    }
    Ok(shown)
}

/// What a host wanted an operator to know, also what is over; the last seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/problems", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Vec<PastProblem>)))]
async fn problems(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Vec<PastProblem>>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let shown = |stored: StoredProblem| PastProblem {
        current: asset
            .problems
            .iter()
            .any(|current| current.code == stored.code && current.text == stored.text),
        code: stored.code,
        text: stored.text,
        first_seen: stored.first_seen,
        last_seen: stored.last_seen,
        times: stored.times,
    };
    let stored = problems::list(&mut conn, &asset.id).await?;
    Ok(Json(stored.into_iter().map(shown).collect()))
}
