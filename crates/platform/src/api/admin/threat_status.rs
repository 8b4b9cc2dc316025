//! How the list stands: on the platform, and on every host.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_model::Timestamp;
use xshield_model::threat_settings::PrivateRanges;
use xshield_policy::inventory::Asset;
use xshield_store::threat_assets::StoredThreat;
use xshield_store::{assets, threat_assets, threat_feeds};
use xshield_threat::{ThreatMode, ThreatSet};

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::state::App;
use crate::threat::parts;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(status))
}

/// How the list stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Status {
    /// The revision in force; nothing before there ever was a feed.
    revision: Option<u64>,
    /// Its prefixes.
    entries: u64,
    /// What it takes in a host's kernel, in bytes.
    kernel_bytes: u64,
    /// The revision whose listings hold until an operator resumes: feeds don't count meanwhile.
    restored: Option<u64>,
    /// Why the list could not be compiled when it last should have been.
    trouble: Option<String>,
    private_ranges: PrivateRanges,
    /// Addresses that hosts say are theirs, though they were on the list before: they stay on it
    /// until an operator makes an exception.
    listed_assets: Vec<ListedAsset>,
    feeds: Feeds,
    hosts: Hosts,
}

/// An asset's address that is on the list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ListedAsset {
    asset: String,
    address: String,
}

/// How the feeds stand, in numbers.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
struct Feeds {
    all: u64,
    /// Their entries may be out of date.
    stale: Vec<String>,
    /// A listing waits for an operator.
    held: Vec<String>,
    /// The source says otherwise than what is in force: an operator turned that away.
    differs: Vec<String>,
    /// The last run failed.
    failing: Vec<String>,
}

/// How the hosts stand, in numbers.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
struct Hosts {
    /// That know threat lists.
    all: u64,
    /// That have the list they should have.
    up_to_date: u64,
    /// How many hold which revision.
    by_revision: BTreeMap<u64, u64>,
    /// How many are in which mode, `inbound/outbound`.
    by_mode: BTreeMap<String, u64>,
    /// Whose memory holds a part of the list only.
    parts: Vec<String>,
    /// That could not carry their order out, and why.
    failures: Vec<HostFailure>,
}

/// A host that could not carry its order out.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct HostFailure {
    asset: String,
    reason: String,
}

/// Names that are given at most.
const MOST: usize = 100;

/// How the list stands, here and on the hosts
#[utoipa::path(get, path = "/api/v1/threat/status", tag = "threats",
    responses((status = 200, body = Status)))]
async fn status(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Status>> {
    let now = Timestamp::now();
    let mut conn = app.store.read().await?;
    let settings = threat_assets::settings(&mut conn).await?;
    let mut feeds = Feeds::default();
    for feed in threat_feeds::all(&mut conn).await? {
        feeds.all += 1;
        let name = || String::from(feed.id.clone());
        feeds.stale.extend(feed.is_stale(now).then(name));
        feeds.held.extend(feed.held.map(|_| name()));
        feeds.differs.extend(feed.state.differs.as_ref().map(|_| name()));
        feeds.failing.extend(feed.state.failure.as_ref().map(|_| name()));
    }
    let mut hosts = Hosts::default();
    for (name, stored) in threat_assets::all(&mut conn).await? {
        hosts.add(name, &stored);
    }
    let assets = assets::inventory(&mut conn).await?.assets;
    drop(conn);
    let listed_assets = listed_assets(app.threat.list().set(), &assets);
    let worker = app.clone();
    let kernel_bytes =
        tokio::task::spawn_blocking(move || worker.threat.current().whole_bytes()).await?;
    let name = app.threat.current().revision;
    Ok(Json(Status {
        revision: name.map(|name| name.revision),
        entries: name.map_or(0, |name| name.entries),
        kernel_bytes,
        restored: settings.pinned,
        trouble: app.threat.trouble(),
        private_ranges: settings.private_ranges,
        listed_assets,
        feeds,
        hosts,
    }))
}

fn listed_assets(set: &ThreatSet, assets: &[Asset]) -> Vec<ListedAsset> {
    let of_asset = |asset: &Asset| -> Vec<ListedAsset> {
        let addresses = asset.addresses.iter().map(|address| address.to_canonical());
        let listed = addresses.filter(|address| set.contains(*address));
        let name = asset.name.as_str();
        listed.map(|a| ListedAsset { asset: name.to_owned(), address: a.to_string() }).collect()
    };
    assets.iter().flat_map(of_asset).take(MOST).collect()
}

impl Hosts {
    fn add(&mut self, name: String, stored: &StoredThreat) {
        let Some((standing, _)) = &stored.standing else { return };
        let ordered = stored.order.as_ref();
        self.all += 1;
        self.up_to_date += u64::from(ordered.is_none_or(|signed| {
            standing.order == Some(signed.wanted()) && standing.failure.is_none()
        }));
        if let Some(list) = &standing.list {
            *self.by_revision.entry(list.revision).or_default() += 1;
        }
        let mode = format!("{}/{}", standing.inbound, standing.outbound);
        *self.by_mode.entry(mode).or_default() += 1;
        let part = standing.list.as_ref().is_some_and(xshield_wire::threat::ListName::is_part);
        if part && self.parts.len() < MOST {
            self.parts.push(name.clone());
        }
        if let Some(reason) = standing.failure.clone().filter(|_| self.failures.len() < MOST) {
            self.failures.push(HostFailure { asset: name, reason });
        }
    }
}

/// What an asset's view says about threats.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AssetThreat {
    /// The modes ordered.
    #[schema(value_type = Option<String>)]
    pub(crate) inbound: Option<ThreatMode>,
    #[schema(value_type = Option<String>)]
    pub(crate) outbound: Option<ThreatMode>,
    /// The list it should have.
    pub(crate) wanted: Option<List>,
    /// The list in its kernel.
    pub(crate) in_force: Option<List>,
    /// Whether it carries out what it should.
    pub(crate) up_to_date: bool,
    /// Bytes that the list may take there; nothing when nobody knows.
    pub(crate) budget: Option<u64>,
    /// Elements in its kernel's sets.
    pub(crate) elements: u64,
    /// When its kernel's list was last compared entry by entry and found equal.
    pub(crate) verified_at: Option<Timestamp>,
    /// Why it could not carry its order out.
    pub(crate) failure: Option<String>,
    /// When it said so.
    pub(crate) told_at: Timestamp,
}

/// A list or a part of one.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct List {
    pub(crate) revision: u64,
    pub(crate) entries: u64,
    /// Prefixes of the whole list: more than `entries` when only a part fits.
    pub(crate) whole_entries: u64,
    /// Entries below this confidence (percent) are left out; 0 for a whole list.
    pub(crate) least_confidence: u8,
}

fn list(name: &xshield_wire::threat::ListName) -> List {
    List {
        revision: name.revision,
        entries: name.entries,
        whole_entries: name.whole_entries,
        least_confidence: name.least_confidence,
    }
}

impl AssetThreat {
    /// What is stored of an asset; nothing when its program knows no threat lists.
    pub(crate) fn of(stored: &StoredThreat) -> Option<Self> {
        let (standing, told_at) = stored.standing.as_ref()?;
        let order = stored.order.as_ref();
        Some(Self {
            inbound: order.map(|signed| signed.order.inbound),
            outbound: order.map(|signed| signed.order.outbound),
            wanted: order.and_then(|signed| signed.order.list.as_ref()).map(list),
            in_force: standing.list.as_ref().map(list),
            up_to_date: order.is_none_or(|signed| standing.order == Some(signed.wanted()))
                && standing.failure.is_none(),
            budget: parts::budget(stored.budget, standing.memory, standing.budget),
            elements: standing.elements,
            verified_at: standing.verified_at.map(Timestamp::from_unix),
            failure: standing.failure.clone(),
            told_at: *told_at,
        })
    }
}
