//! Central settings of hosts: for all, for a segment, for one asset.

use std::ops::RangeInclusive;

use xshield_api::host_configuration::{Configured, Effective, HostSettings, Scope as ShownScope};
use xshield_model::Timestamp;
use xshield_store::host_configuration::{self as stored, Scope, StoredConfiguration};
use xshield_store::{Conn, Store, assets};
use xshield_wire::control::HostConfiguration;

use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;

/// Computes the effective settings of each host.
pub trait HostConfigurator: Send + Sync {
    /// Computes them now; hosts with changed settings are notified.
    ///
    /// # Errors
    /// When the database fails.
    fn refresh(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Validates the settings and converts them for hosts.
fn checked(settings: HostSettings) -> Result<HostConfiguration> {
    within("/heartbeat", settings.heartbeat, 10..=86_400)?;
    within("/telemetry", settings.telemetry, 10..=86_400)?;
    within("/inventory", settings.inventory, 60..=604_800)?;
    let cpu_budget = settings.cpu_budget_percent.map(thousandths).transpose()?;
    within("/memory_budget", settings.memory_budget, 16..=4096)?;
    Ok(HostConfiguration {
        version: 0,
        heartbeat: settings.heartbeat,
        telemetry: settings.telemetry,
        inventory: settings.inventory,
        cloud_metadata: settings.cloud_metadata,
        live_events: settings.live_events,
        cpu_budget,
        memory_budget: settings.memory_budget,
    })
}

/// Hosts use thousandths.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "1 to 1,000 fits, and other values were refused before"
)]
fn thousandths(percent: f64) -> Result<u16> {
    match percent {
        0.1..=100.0 => Ok((percent * 10.0).round() as u16),
        _ => {
            let reason = format!("{percent} is not between 0.1 and 100");
            Err(OperationError::invalid("/cpu_budget_percent", reason))
        }
    }
}

fn within(field: &str, value: Option<u32>, range: RangeInclusive<u32>) -> Result<()> {
    match value {
        Some(value) if !range.contains(&value) => {
            let reason = format!("{value} is not between {} and {}", range.start(), range.end());
            Err(OperationError::invalid(field, reason))
        }
        _ => Ok(()),
    }
}

async fn shown(conn: &mut Conn, stored: StoredConfiguration) -> Result<Configured> {
    let (scope, name) = match stored.scope {
        Scope::Platform => (ShownScope::Platform, None),
        Scope::Segment(name) => (ShownScope::Segment, Some(name)),
        Scope::Asset(id) => {
            let asset = assets::by_id(conn, id.as_str()).await?;
            (
                ShownScope::Asset,
                Some(asset.map_or_else(|| id.to_string(), |asset| asset.name.to_string())),
            )
        }
    };
    Ok(Configured {
        scope: scope.into(),
        name,
        settings: HostSettings::from(stored.settings).into(),
        updated_at: stored.updated_at,
        updated_by: stored.updated_by,
    })
}

/// All configured settings.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn) -> Result<Vec<Configured>> {
    let mut all = Vec::new();
    for stored in stored::all(conn).await? {
        all.push(shown(conn, stored).await?);
    }
    Ok(all)
}

/// The effective settings of an asset, merged from all that apply to it.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn effective(conn: &mut Conn, named: &str) -> Result<Effective> {
    let asset = lookup::asset(conn, named).await?;
    let effective = stored::of(conn, &asset.id).await?.unwrap_or_default();
    let version = effective.version;
    Ok(Effective { version, settings: HostSettings::from(effective).into() })
}

/// Configures all hosts; each host decides on settings that are omitted.
///
/// # Errors
/// When a value is out of range, or the database fails.
pub async fn set_for_all(
    store: &Store,
    configurator: &impl HostConfigurator,
    by: &By<Operator>,
    settings: HostSettings,
    now: Timestamp,
) -> Result<HostSettings> {
    let scope = (Scope::Platform, "platform".to_owned());
    set(store, configurator, by, scope, settings, now).await
}

/// Configures the hosts of a segment; omitted settings are inherited from the platform. The settings of a
/// segment that no longer exists can still be removed.
///
/// # Errors
/// When there is no such segment, a value is out of range, or the database fails.
pub async fn set_for_segment(
    store: &Store,
    compiler: &RulesetCompiler,
    configurator: &impl HostConfigurator,
    by: &By<Operator>,
    (name, settings): (String, HostSettings),
    now: Timestamp,
) -> Result<HostSettings> {
    let committed = compiler.committed().await?;
    let known = committed
        .is_some_and(|one| one.policy.segments().any(|segment| segment.name.as_str() == name));
    let takes_away = checked(settings.clone())? == HostConfiguration::default();
    if !known && !takes_away {
        return Err(OperationError::not_found("segment in the committed policy", name));
    }
    let target = format!("segment {name}");
    set(store, configurator, by, (Scope::Segment(name), target), settings, now).await
}

/// Configures one host; omitted settings are inherited from its segments and the platform.
///
/// # Errors
/// When there is no such asset, a value is out of range, or the database fails.
pub async fn set_for_asset(
    store: &Store,
    configurator: &impl HostConfigurator,
    by: &By<Operator>,
    (named, settings): (&str, HostSettings),
    now: Timestamp,
) -> Result<HostSettings> {
    let asset = lookup::asset(&mut *store.read().await?, named).await?;
    let scope = (Scope::Asset(asset.id), asset.name.to_string());
    set(store, configurator, by, scope, settings, now).await
}

async fn set(
    store: &Store,
    configurator: &impl HostConfigurator,
    by: &By<Operator>,
    (scope, target): (Scope, String),
    settings: HostSettings,
    now: Timestamp,
) -> Result<HostSettings> {
    let configured = StoredConfiguration {
        scope,
        settings: checked(settings.clone())?,
        updated_at: now,
        updated_by: by.actor(),
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    let before = stored::all(&mut change).await?;
    let before = before.into_iter().find(|one| one.scope == configured.scope);
    let in_words = |settings: &HostConfiguration| {
        let settings = HostConfiguration { version: 0, ..settings.clone() };
        serde_json::to_string(&settings).unwrap_or_default()
    };
    stored::put(&mut change, &configured).await?;
    let entry = AuditEntry {
        action: "host-configuration.set",
        target: &target,
        before: before.map_or_else(String::new, |before| in_words(&before.settings)),
        after: in_words(&configured.settings),
    };
    change.commit(entry).await?;
    configurator.refresh().await?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, RecordedSignals, audited, by, register, store};

    fn heartbeat(seconds: u32) -> HostSettings {
        HostSettings { heartbeat: Some(seconds), ..HostSettings::default() }
    }

    #[tokio::test]
    async fn settings_are_validated_scoped_and_applied_at_once() {
        let (_dir, store) = store().await;
        let (noted, by) = (RecordedSignals::default(), by::<Operator>());
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        register(&store, &[("web", "web")]).await;
        for (settings, field) in [
            (heartbeat(9), "/heartbeat"),
            (HostSettings { telemetry: Some(86_401), ..heartbeat(10) }, "/telemetry"),
            (HostSettings { inventory: Some(59), ..heartbeat(10) }, "/inventory"),
            (
                HostSettings { cpu_budget_percent: Some(0.0), ..heartbeat(10) },
                "/cpu_budget_percent",
            ),
            (HostSettings { memory_budget: Some(15), ..heartbeat(10) }, "/memory_budget"),
        ] {
            match set_for_all(&store, &noted, &by, settings, NOW).await.unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field),
                other => panic!("{other}"),
            }
        }
        let none = ("none".to_owned(), heartbeat(10));
        let none = set_for_segment(&store, &compiler, &noted, &by, none, NOW).await;
        let none = none.unwrap_err().to_string();
        assert_eq!(none, "there is no segment in the committed policy \"none\"");
        assert!(noted.take().is_empty());

        set_for_all(&store, &noted, &by, heartbeat(60), NOW).await.unwrap();
        set_for_asset(&store, &noted, &by, ("web", heartbeat(10)), NOW).await.unwrap();
        let gone = ("none".to_owned(), HostSettings::default());
        set_for_segment(&store, &compiler, &noted, &by, gone, NOW).await.unwrap();
        assert_eq!(noted.take(), ["work out configurations"; 3]);
        let mut conn = store.read().await.unwrap();
        let names: Vec<_> =
            list(&mut conn).await.unwrap().into_iter().map(|one| one.name).collect();
        assert!(names.contains(&Some("web".to_owned())) && names.contains(&None), "{names:?}");
        let audited = audited(&store).await;
        assert!(audited[0].starts_with("user:ann host-configuration.set platform:  -> {"));
        assert!(audited[1].starts_with("user:ann host-configuration.set web:  -> {"));
    }
}
