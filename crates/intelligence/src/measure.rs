//! Gauges for `/metrics`, updated on request.

use xshield_model::Timestamp;
use xshield_store::{Conn, StoreResult, threat_assets, threat_feeds};

use crate::state::Threats;

/// Sets the gauges.
///
/// # Errors
/// When the database fails.
// Counts and times are far below the exact range of a float.
#[allow(clippy::cast_precision_loss, reason = "see above")]
pub async fn measure(threats: &Threats, conn: &mut Conn, now: Timestamp) -> StoreResult<()> {
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    for feed in threat_feeds::all(conn).await? {
        let labels = [("feed", String::from(feed.id.clone()))];
        let last = feed.last_success.map_or(0.0, |at| at.0 as f64);
        metrics::gauge!("xshield_threat_feed_last_success_seconds", &labels).set(last);
        metrics::gauge!("xshield_threat_feed_entries", &labels).set(feed.state.entries as f64);
        metrics::gauge!("xshield_threat_feed_rejected", &labels)
            .set(feed.state.read.rejected as f64);
        metrics::gauge!("xshield_threat_feed_stale", &labels).set(flag(feed.is_stale(now)));
        metrics::gauge!("xshield_threat_feed_held", &labels).set(flag(feed.held.is_some()));
        metrics::gauge!("xshield_threat_feed_differs", &labels)
            .set(flag(feed.state.differs.is_some()));
        metrics::gauge!("xshield_threat_feed_failures", &labels)
            .set(f64::from(feed.state.failures));
    }
    let current = threats.current().revision;
    let (revision, entries) = current.map_or((0, 0), |name| (name.revision, name.entries));
    metrics::gauge!("xshield_threat_revision").set(revision as f64);
    metrics::gauge!("xshield_threat_entries").set(entries as f64);
    let settings = threat_assets::settings(conn).await?;
    metrics::gauge!("xshield_threat_restored").set(flag(settings.pinned.is_some()));
    Ok(())
}
