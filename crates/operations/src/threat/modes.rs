//! What is done with traffic of listed peers, for the platform, its segments and assets, and how much memory
//! an asset may use for the list.

use xshield_api::threat_modes::{Budget, ModeChange, ModePair, Modes, NamedModes, WantedMode, Way};
use xshield_model::Timestamp;
use xshield_model::threat_settings::ScopeModes;
use xshield_store::{Conn, Store, threat_assets};
use xshield_threat::ThreatMode;

use super::engine::ThreatEngine;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;

fn pair(wanted: ScopeModes) -> ModePair {
    ModePair { inbound: wanted.inbound.map(Into::into), outbound: wanted.outbound.map(Into::into) }
}

/// Where each mode is set.
///
/// # Errors
/// When the database fails.
pub async fn get(conn: &mut Conn) -> Result<Modes> {
    let settings = threat_assets::settings(conn).await?;
    let named = |(name, wanted): (String, ScopeModes)| NamedModes { name, modes: pair(wanted) };
    let assets = threat_assets::all(conn).await?.into_iter();
    let assets = assets.map(|(name, stored)| (name, stored.modes));
    Ok(Modes {
        platform: pair(ScopeModes {
            inbound: Some(settings.inbound),
            outbound: Some(settings.outbound),
        }),
        segments: threat_assets::segments(conn).await?.into_iter().map(named).collect(),
        assets: assets.filter(|(_, wanted)| *wanted != ScopeModes::default()).map(named).collect(),
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

/// The modes with this change applied.
fn over(change: &ModeChange, wanted: ScopeModes) -> ScopeModes {
    let mode = mode(change.mode);
    match change.direction {
        None => ScopeModes { inbound: mode, outbound: mode },
        Some(Way::Inbound) => ScopeModes { inbound: mode, ..wanted },
        Some(Way::Outbound) => ScopeModes { outbound: mode, ..wanted },
    }
}

/// Sets the mode for the platform, a segment or an asset.
///
/// # Errors
/// When it refers to something that does not exist, or there is nothing wider to inherit from, or the
/// database fails.
pub async fn set(
    store: &Store,
    compiler: &RulesetCompiler,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    wanted: &ModeChange,
    now: Timestamp,
) -> Result<Modes> {
    let committed = compiler.committed().await?;
    let segments = committed.iter().flat_map(|committed| committed.policy.segments());
    let known: Vec<&str> = segments.map(|segment| segment.name.as_str()).collect();
    let mut change = AuditedChange::begin(store, by, now).await?;
    let (target, before, after) = match (&wanted.segment, &wanted.asset) {
        (Some(_), Some(_)) => {
            return Err(OperationError::invalid("/asset", "name a segment or an asset, not both"));
        }
        (Some(segment), None) => {
            let stored = threat_assets::segments(&mut change).await?;
            let before = stored.iter().find(|(name, _)| name == segment);
            // The modes of a segment that no longer exists can still be removed.
            if before.is_none() && !known.contains(&segment.as_str()) {
                let reason = "the committed policy has no such segment";
                return Err(OperationError::invalid("/segment", reason));
            }
            let before = before.map(|(_, stored)| *stored).unwrap_or_default();
            let after = over(wanted, before);
            threat_assets::put_segment(&mut change, segment, after).await?;
            (format!("segment {segment}"), before, after)
        }
        (None, Some(asset)) => {
            let asset = lookup::asset(&mut change, asset).await?;
            let stored = threat_assets::get(&mut change, &asset.id).await?;
            let after = over(wanted, stored.modes);
            threat_assets::put_wish(&mut change, &asset.id, after, stored.budget).await?;
            (format!("asset {}", asset.name), stored.modes, after)
        }
        (None, None) => {
            let mut settings = threat_assets::settings(&mut change).await?;
            let before =
                ScopeModes { inbound: Some(settings.inbound), outbound: Some(settings.outbound) };
            let after = over(wanted, before);
            let (Some(inbound), Some(outbound)) = (after.inbound, after.outbound) else {
                return Err(OperationError::invalid(
                    "/mode",
                    "the platform has nothing to inherit from",
                ));
            };
            (settings.inbound, settings.outbound) = (inbound, outbound);
            threat_assets::put_settings(&mut change, &settings).await?;
            ("platform".to_owned(), before, after)
        }
    };
    let modes = get(&mut change).await?;
    let (before, after) = (in_words(before), in_words(after));
    change.commit(AuditEntry { action: "threat.mode", target: &target, before, after }).await?;
    engine.modes_changed().await?;
    Ok(modes)
}

fn in_words(wanted: ScopeModes) -> String {
    let word = |mode: Option<ThreatMode>| mode.map_or("inherit", ThreatMode::as_str);
    format!("inbound {}, outbound {}", word(wanted.inbound), word(wanted.outbound))
}

/// Sets how much memory an asset may use for the list.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn set_budget(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    asset: &str,
    budget: &Budget,
    now: Timestamp,
) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, asset).await?;
    let stored = threat_assets::get(&mut change, &asset.id).await?;
    threat_assets::put_wish(&mut change, &asset.id, stored.modes, budget.bytes).await?;
    let words =
        |bytes: Option<u64>| bytes.map_or("auto".to_owned(), |bytes| format!("{bytes} bytes"));
    let entry = AuditEntry {
        action: "threat.budget",
        target: asset.name.as_str(),
        before: words(stored.budget),
        after: words(budget.bytes),
    };
    change.commit(entry).await?;
    engine.tell_hosts();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, RecordedSignals, audited, by, register, store};

    fn wanted(text: serde_json::Value) -> ModeChange {
        serde_json::from_value(text).unwrap()
    }

    #[tokio::test]
    async fn modes_are_set_in_their_scope_and_signalled() {
        let (_dir, store) = store().await;
        let (engine, by) = (RecordedSignals::default(), by::<Operator>());
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        register(&store, &[("web", "web")]).await;
        for (text, field) in [
            (serde_json::json!({"mode": "inherit"}), "/mode"),
            (serde_json::json!({"mode": "off", "segment": "none"}), "/segment"),
            (serde_json::json!({"mode": "off", "segment": "s", "asset": "web"}), "/asset"),
        ] {
            let wanted = wanted(text);
            match set(&store, &compiler, &engine, &by, &wanted, NOW).await.unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field),
                other => panic!("{other}"),
            }
        }
        assert!(engine.take().is_empty());
        let inbound = wanted(
            serde_json::json!({"mode": "event-only", "asset": "web", "direction": "inbound"}),
        );
        let modes = set(&store, &compiler, &engine, &by, &inbound, NOW).await.unwrap();
        assert_eq!(modes.assets[0].modes.inbound, Some(ThreatMode::EventOnly.into()));
        assert_eq!(modes.assets[0].modes.outbound, None);
        let budget = Budget { bytes: Some(1 << 20) };
        set_budget(&store, &engine, &by, "web", &budget, NOW).await.unwrap();
        assert_eq!(engine.take(), ["other modes", "tell hosts"]);
        assert_eq!(
            audited(&store).await,
            [
                "user:ann threat.mode asset web: inbound inherit, outbound inherit -> inbound \
                 event-only, outbound inherit",
                "user:ann threat.budget web: auto -> 1048576 bytes",
            ]
        );
    }
}
