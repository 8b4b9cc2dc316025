//! What becomes of traffic with listed peers: for the platform, its segments, its assets; and how
//! much memory an asset gives the list.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_modes::ChangedSettings;
use xshield_api::threat_modes::{
    Budget, ModeChange, ModePair, Modes, NamedModes, Settings, WantedMode, Way,
};
use xshield_intelligence::list::reload_rules;
use xshield_model::Timestamp;
use xshield_model::threat_settings::{PrivateRanges, Wish};
use xshield_operations::lookup::asset as named;
use xshield_store::audit::Deed;
use xshield_store::{Conn, audit, commit, threat_assets};
use xshield_threat::ThreatMode;

use super::threat_impact;
use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        .routes(routes!(settings, change_settings))
        .routes(routes!(put_budget))
}

fn pair(wish: Wish) -> ModePair {
    ModePair { inbound: wish.inbound, outbound: wish.outbound }
}

/// Where which mode is set
#[utoipa::path(get, path = "/api/v1/threat/modes", tag = "threats",
    responses((status = 200, body = Modes)))]
async fn get(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Modes>> {
    shown(&mut *app.store.read().await?).await.map(Json)
}

async fn shown(conn: &mut Conn) -> Answer<Modes> {
    let settings = threat_assets::settings(conn).await?;
    let named = |(name, wish): (String, Wish)| NamedModes { name, modes: pair(wish) };
    let assets = threat_assets::all(conn).await?.into_iter();
    let assets = assets.map(|(name, stored)| (name, stored.wish));
    Ok(Modes {
        platform: ModePair { inbound: Some(settings.inbound), outbound: Some(settings.outbound) },
        segments: threat_assets::segments(conn).await?.into_iter().map(named).collect(),
        assets: assets.filter(|(_, wish)| *wish != Wish::default()).map(named).collect(),
    })
}

fn mode(wanted: WantedMode) -> Option<ThreatMode> {
    match wanted {
        WantedMode::Block => Some(ThreatMode::Block),
        WantedMode::EventOnly => Some(ThreatMode::EventOnly),
        WantedMode::Off => Some(ThreatMode::Off),
        WantedMode::Inherit => None,
    }
}

/// The wish once it is changed so.
fn over(change: &ModeChange, wish: Wish) -> Wish {
    let mode = mode(change.mode);
    match change.direction {
        None => Wish { inbound: mode, outbound: mode },
        Some(Way::Inbound) => Wish { inbound: mode, ..wish },
        Some(Way::Outbound) => Wish { outbound: mode, ..wish },
    }
}

/// Set a mode, for the platform, a segment or an asset
#[utoipa::path(put, path = "/api/v1/threat/modes", tag = "threats", request_body = ModeChange,
    responses((status = 200, body = Modes)))]
async fn put(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(change): JsonBody<ModeChange>,
) -> Answer<Json<Modes>> {
    let known = segments(&app).await?;
    let mut tx = app.store.write().await?;
    let (target, before, after) = match (&change.segment, &change.asset) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("/asset", "name a segment or an asset, not both"));
        }
        (Some(segment), None) => {
            let stored = threat_assets::segments(&mut tx).await?;
            let before = stored.iter().find(|(name, _)| name == segment);
            // A segment that is gone can still lose its modes.
            if before.is_none() && !known.contains(segment) {
                let reason = "the committed policy has no such segment";
                return Err(Problem::invalid("/segment", reason));
            }
            let before = before.map(|(_, wish)| *wish).unwrap_or_default();
            let after = over(&change, before);
            threat_assets::put_segment(&mut tx, segment, after).await?;
            (format!("segment {segment}"), before, after)
        }
        (None, Some(asset)) => {
            let asset = named(&mut tx, asset).await?;
            let stored = threat_assets::get(&mut tx, &asset.id).await?;
            let after = over(&change, stored.wish);
            threat_assets::put_wish(&mut tx, &asset.id, after, stored.budget).await?;
            (format!("asset {}", asset.name), stored.wish, after)
        }
        (None, None) => {
            let mut settings = threat_assets::settings(&mut tx).await?;
            let before =
                Wish { inbound: Some(settings.inbound), outbound: Some(settings.outbound) };
            let after = over(&change, before);
            let (Some(inbound), Some(outbound)) = (after.inbound, after.outbound) else {
                return Err(Problem::invalid("/mode", "nothing is wider than the platform"));
            };
            (settings.inbound, settings.outbound) = (inbound, outbound);
            threat_assets::put_settings(&mut tx, &settings).await?;
            ("platform".to_owned(), before, after)
        }
    };
    let deed = Deed {
        actor: &allowed.actor(),
        action: "threat.mode",
        target: &target,
        before: in_words(before),
        after: in_words(after),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    let modes = shown(&mut tx).await?;
    commit(tx).await?;
    reload_rules(&app.threat).await?;
    app.threat.tell_hosts();
    Ok(Json(modes))
}

async fn segments(app: &App) -> Answer<Vec<String>> {
    let committed = app.compiler.committed().await?;
    let segments = committed.iter().flat_map(|committed| committed.policy.segments());
    Ok(segments.map(|segment| segment.name.as_str().to_owned()).collect())
}

fn in_words(wish: Wish) -> String {
    let word = |mode: Option<ThreatMode>| mode.map_or("inherit", ThreatMode::as_str);
    format!("inbound {}, outbound {}", word(wish.inbound), word(wish.outbound))
}

/// Settings of the threat list
#[utoipa::path(get, path = "/api/v1/threat/settings", tag = "threats",
    responses((status = 200, body = Settings)))]
async fn settings(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Settings>> {
    let stored = threat_assets::settings(&mut *app.store.read().await?).await?;
    let (private_ranges, verify_every) = (stored.private_ranges, stored.verify_every);
    Ok(Json(Settings { private_ranges, verify_every }))
}

/// Change settings of the threat list
///
/// Refused with status 409 when private ranges would be listed from now on, and that has not the expected
/// impact.
#[utoipa::path(put, path = "/api/v1/threat/settings", tag = "threats", request_body = ChangedSettings,
    responses((status = 200, body = Settings)))]
async fn change_settings(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(wanted): JsonBody<ChangedSettings>,
) -> Answer<Json<Settings>> {
    let ChangedSettings { private_ranges, verify_every, expected_impact } = wanted;
    let wanted = Settings { private_ranges, verify_every };
    let impact = match private_ranges {
        PrivateRanges::Listed => Some(threat_impact::of_private_ranges(&app).await?),
        PrivateRanges::Protected => None,
    };
    let mut tx = app.store.write().await?;
    let mut stored = threat_assets::settings(&mut tx).await?;
    let words = |private: PrivateRanges, every: u32| {
        format!("private ranges {private:?}, verify every {every} s").to_lowercase()
    };
    let before = words(stored.private_ranges, stored.verify_every);
    if let (PrivateRanges::Protected, Some(impact)) = (stored.private_ranges, impact) {
        threat_impact::check(&impact, &expected_impact)?;
    }
    stored.private_ranges = wanted.private_ranges;
    stored.verify_every = wanted.verify_every;
    threat_assets::put_settings(&mut tx, &stored).await?;
    let deed = Deed {
        actor: &allowed.actor(),
        action: "threat.settings",
        target: "platform",
        before,
        after: words(wanted.private_ranges, wanted.verify_every),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    // What goes wrong is shown with the list.
    drop(app.threat.compile().await);
    Ok(Json(wanted))
}

/// Give an asset's list so much memory
#[utoipa::path(put, path = "/api/v1/assets/{asset}/threat/budget", tag = "threats",
    params(("asset" = String, Path, description = "id or name")), request_body = Budget,
    responses((status = 200, body = Budget)))]
async fn put_budget(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(budget): JsonBody<Budget>,
) -> Answer<Json<Budget>> {
    let mut tx = app.store.write().await?;
    let asset = named(&mut tx, &asset).await?;
    let stored = threat_assets::get(&mut tx, &asset.id).await?;
    threat_assets::put_wish(&mut tx, &asset.id, stored.wish, budget.bytes).await?;
    let words =
        |bytes: Option<u64>| bytes.map_or("auto".to_owned(), |bytes| format!("{bytes} bytes"));
    let deed = Deed {
        actor: &allowed.actor(),
        action: "threat.budget",
        target: asset.name.as_str(),
        before: words(stored.budget),
        after: words(budget.bytes),
    };
    audit::record(&mut tx, deed, Timestamp::now()).await?;
    commit(tx).await?;
    app.threat.tell_hosts();
    Ok(Json(budget))
}
