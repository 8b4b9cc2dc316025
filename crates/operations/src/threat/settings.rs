//! The settings of the threat list.

use xshield_api::impact::ExpectedImpact;
use xshield_api::threat_modes::{ChangedSettings, PrivateRangesImpact, Settings};
use xshield_model::Timestamp;
use xshield_model::threat_settings::PrivateRanges;
use xshield_store::{Conn, Store, threat_assets};

use super::engine::ThreatEngine;
use super::lists::ThreatLists;
use super::private_ranges;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};

/// The settings of the threat list.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn) -> Result<Settings> {
    let stored = threat_assets::settings(conn).await?;
    let (private_ranges, verify_every) = (stored.private_ranges, stored.verify_every);
    Ok(Settings { private_ranges: private_ranges.into(), verify_every })
}

/// Changes the settings of the threat list.
///
/// # Errors
/// When feeds could list private ranges from now on and that does not have the expected impact, or the
/// database fails.
pub async fn change(
    store: &Store,
    engine: &(impl ThreatEngine + ThreatLists),
    by: &By<Operator>,
    request: ChangedSettings,
    now: Timestamp,
) -> Result<Settings> {
    let impact = match request.private_ranges {
        PrivateRanges::Listed => Some(private_ranges::impact(store, engine, now).await?),
        PrivateRanges::Protected => None,
    };
    change_with(store, engine, by, request, impact.as_ref(), now).await
}

/// The same with a given impact of listing private ranges.
async fn change_with(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    request: ChangedSettings,
    impact: Option<&PrivateRangesImpact>,
    now: Timestamp,
) -> Result<Settings> {
    let ChangedSettings { private_ranges, verify_every, expected_impact } = request;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let mut stored = threat_assets::settings(&mut change).await?;
    let words = |private: PrivateRanges, every: u32| {
        format!("private ranges {private:?}, verify every {every} s").to_lowercase()
    };
    let before = words(stored.private_ranges, stored.verify_every);
    if let (PrivateRanges::Protected, Some(impact)) = (stored.private_ranges, impact) {
        check(impact, &expected_impact)?;
    }
    stored.private_ranges = private_ranges;
    stored.verify_every = verify_every;
    threat_assets::put_settings(&mut change, &stored).await?;
    let after = words(private_ranges, verify_every);
    let entry = AuditEntry { action: "threat.settings", target: "platform", before, after };
    change.commit(entry).await?;
    engine.compile().await;
    Ok(Settings { private_ranges: private_ranges.into(), verify_every })
}

/// Refuses when something else is expected. `any` and this digest are accepted; "nothing is lost" can't be
/// guaranteed.
fn check(impact: &PrivateRangesImpact, expected: &ExpectedImpact) -> Result<()> {
    let (code, detail) = match expected {
        ExpectedImpact::Any => return Ok(()),
        ExpectedImpact::Exactly(digest) if *digest == impact.digest => return Ok(()),
        ExpectedImpact::NoLoss => (
            "impact-is-loss",
            "feeds could cut hosts off from their neighbours; nothing was changed. See GET \
             /api/v1/threat/private-ranges/impact, and if that is intended, give its digest, or \
             any, as the expected impact",
        ),
        ExpectedImpact::Exactly(_) => (
            "impact-differs",
            "the impact is no longer the expected one: feeds or assets have changed since; nothing \
             was changed. See GET /api/v1/threat/private-ranges/impact again",
        ),
    };
    Err(OperationError::conflict_at("/expected_impact", code, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, RecordedSignals, audited, by, store};

    fn impact() -> PrivateRangesImpact {
        PrivateRangesImpact {
            digest: format!("sha256:{}", "0a".repeat(32)),
            entries: 1,
            samples: Vec::new(),
            assets: 1,
            assets_private: 1,
            assets_inside: 0,
            recent_peers: 0,
        }
    }

    #[tokio::test]
    async fn listing_private_ranges_needs_the_expected_impact() {
        let (_dir, store) = store().await;
        let (engine, by) = (RecordedSignals::default(), by::<Operator>());
        let listed = |expected_impact| ChangedSettings {
            private_ranges: PrivateRanges::Listed,
            verify_every: 3600,
            expected_impact,
        };
        let impact = impact();
        for (expected, refused) in [
            (ExpectedImpact::NoLoss, Some("impact-is-loss")),
            (ExpectedImpact::Exactly("sha256:other".to_owned()), Some("impact-differs")),
            (ExpectedImpact::Exactly(impact.digest.clone()), None),
            // They are listed already: no further agreement is needed.
            (ExpectedImpact::NoLoss, None),
        ] {
            let request = listed(expected);
            let done = change_with(&store, &engine, &by, request, Some(&impact), NOW).await;
            let code = match done {
                Ok(_) => None,
                Err(OperationError::Conflict { code, .. }) => Some(code),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(code, refused);
            let told = if refused.is_some() { 0 } else { 1 };
            assert_eq!(engine.take().len(), told);
        }
        assert_eq!(audited(&store).await.len(), 2);
    }
}
