//! `GET /metrics`: the platform's metrics, for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use xshield_intelligence::Threats;
use xshield_intelligence::measure::measure;
use xshield_model::Timestamp;
use xshield_store::{Store, assets};

use super::key_metrics::expiry_series;
use crate::auth::{Allowed, Viewer};
use crate::cached_page::CachedPage;
use crate::client::Client;
use crate::held_polls::HeldPolls;
use crate::problem::{Answer, ErrorResponse};
use crate::settings::Settings;

/// What the page shows, and the last rendered one.
#[derive(Clone)]
pub(crate) struct MetricsParts {
    pub(crate) store: Store,
    pub(crate) settings: Arc<Settings>,
    pub(crate) held_polls: Arc<HeldPolls>,
    pub(crate) threat: Arc<Threats>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) metrics_page: Arc<CachedPage>,
}

/// Served to the configured networks, and to clients with a token.
pub(super) async fn show(
    State(parts): State<MetricsParts>,
    Extension(Client(from)): Extension<Client>,
    token: Result<Allowed<Viewer>, ErrorResponse>,
) -> Answer<Response> {
    let networks = &parts.settings.metrics_networks;
    if !networks.iter().any(|network| network.contains(&from.ip())) {
        token.map_err(|problem| {
            problem.detail(format!(
                "{} may not read metrics: send an API token, or start the platform with \
                 --metrics-network",
                from.ip()
            ))
        })?;
    }
    let kept_for = Duration::from_millis(parts.settings.metrics_kept_ms);
    let page = parts.metrics_page.within(kept_for, || measured(&parts)).await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, page).into_response())
}

async fn measured(parts: &MetricsParts) -> Answer<String> {
    let now = Timestamp::now();
    let standings = assets::standings(&mut *parts.store.read().await?, now).await?;
    for (standing, count) in standings {
        metrics::gauge!("xshield_assets", "standing" => standing).set(count);
    }
    let held = u32::try_from(parts.held_polls.held()).unwrap_or(u32::MAX);
    metrics::gauge!("xshield_polls_held").set(held);
    measure(&parts.threat, &mut *parts.store.read().await?, now).await?;
    let mut page = parts.metrics.render();
    page.push_str(&expiry_series(&mut *parts.store.read().await?, now).await?);
    Ok(page)
}
