//! Derives the effective settings of each host from what operators configure.

use std::sync::Arc;

use tokio::sync::{Mutex, Notify};
use xshield_model::Timestamp;
use xshield_operations::parsed_policies::ParsedPolicies;
use xshield_policy::document::Policy;
use xshield_policy::inventory::Asset;
use xshield_store::host_configuration::{self as store, Scope, StoredConfiguration};
use xshield_store::{Store, StoreResult, assets, commit};
use xshield_wire::control::HostConfiguration;

use crate::held_polls::HeldPolls;

/// Computes the settings of each host.
#[derive(Debug)]
pub struct HostConfigurations {
    store: Store,
    policies: Arc<ParsedPolicies>,
    held_polls: Arc<HeldPolls>,
    changed: Notify,
    turn: Mutex<()>,
}

impl HostConfigurations {
    /// For the hosts in `store`, by the committed policy's segments; hosts are notified through `held_polls`.
    #[must_use]
    pub fn new(store: Store, policies: Arc<ParsedPolicies>, held_polls: Arc<HeldPolls>) -> Self {
        Self { store, policies, held_polls, changed: Notify::new(), turn: Mutex::default() }
    }

    /// Policy or inventory have changed, and with them possibly the segments of assets.
    pub fn changed(&self) {
        self.changed.notify_one();
    }
}

/// Recomputes the settings of hosts whenever something has changed.
pub async fn run(configurations: Arc<HostConfigurations>) {
    loop {
        if let Err(error) = configurations.refresh().await {
            tracing::error!(%error, "could not compute the host configurations");
        }
        configurations.changed.notified().await;
    }
}

impl HostConfigurations {
    /// Recomputes the settings of every host; changed ones get a new version, and their host is notified.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn refresh(&self) -> StoreResult<()> {
        let _turn = self.turn.lock().await;
        let configured = store::all(&mut *self.store.read().await?).await?;
        let segments = configured.iter().any(|one| matches!(one.scope, Scope::Segment(_)));
        let committed = match segments {
            true => self.policies.committed(&mut *self.store.read().await?).await?,
            false => None,
        };
        let (inventory, before) = {
            let mut conn = self.store.read().await?;
            let before = store::of_all(&mut conn).await?;
            if configured.is_empty() && before.is_empty() {
                return Ok(());
            }
            (assets::inventory(&mut conn).await?, before)
        };
        let (now, mut changed) = (Timestamp::now(), Vec::new());
        for asset in inventory.assets {
            let known = before.get(asset.id.as_str());
            let version = known.map_or(0, |known| known.version);
            let wanted = HostConfiguration {
                version,
                ..effective(&configured, &asset, committed.as_deref())
            };
            if known.cloned().unwrap_or_default() != wanted {
                // From the clock, so that no number is reused after a restore from a backup.
                let version = now.unix().max(version + 1);
                changed.push((asset.id, HostConfiguration { version, ..wanted }));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        for (asset, wanted) in &changed {
            store::put_effective(&mut tx, asset, wanted).await?;
        }
        commit(tx).await?;
        changed.iter().for_each(|(asset, _)| self.held_polls.wake(asset));
        Ok(())
    }
}

/// The settings for an asset: for each setting, the value of the narrowest scope that has one.
fn effective(
    configured: &[StoredConfiguration],
    asset: &Asset,
    committed: Option<&Policy>,
) -> HostConfiguration {
    let holds = |scope: &Scope| match scope {
        Scope::Platform => true,
        Scope::Asset(id) => *id == asset.id,
        Scope::Segment(name) => committed.is_some_and(|policy| {
            let mut segments = policy.segments();
            segments.any(|known| known.name.as_str() == name && known.criteria.matches(asset))
        }),
    };
    // Of several segments, the first by name is applied last.
    let rank = |scope: &Scope| match scope {
        Scope::Platform => (0, None),
        Scope::Segment(name) => (1, Some(std::cmp::Reverse(name.clone()))),
        Scope::Asset(_) => (2, None),
    };
    let mut holding: Vec<_> = configured.iter().filter(|one| holds(&one.scope)).collect();
    holding.sort_by_key(|one| rank(&one.scope));
    holding.into_iter().fold(HostConfiguration::default(), |under, one| over(under, &one.settings))
}

/// `top` where it has a value, `under` elsewhere.
fn over(under: HostConfiguration, top: &HostConfiguration) -> HostConfiguration {
    HostConfiguration {
        version: 0,
        heartbeat: top.heartbeat.or(under.heartbeat),
        telemetry: top.telemetry.or(under.telemetry),
        inventory: top.inventory.or(under.inventory),
        cloud_metadata: top.cloud_metadata.or(under.cloud_metadata),
        live_events: top.live_events.or(under.live_events),
        cpu_budget: top.cpu_budget.or(under.cpu_budget),
        memory_budget: top.memory_budget.or(under.memory_budget),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_operations::policy::documents::read_stored;
    use xshield_policy::inventory::Source;

    fn configured(
        scope: Scope,
        heartbeat: Option<u32>,
        telemetry: Option<u32>,
    ) -> StoredConfiguration {
        StoredConfiguration {
            scope,
            settings: HostConfiguration { heartbeat, telemetry, ..HostConfiguration::default() },
            updated_at: Timestamp(0),
            updated_by: String::new(),
        }
    }

    fn asset(id: &str, role: &str) -> Asset {
        Asset {
            id: id.parse().unwrap(),
            name: id.parse().unwrap(),
            tags: [("role".parse().unwrap(), role.to_owned().try_into().unwrap())].into(),
            addresses: Vec::new(),
            os: String::new(),
            source: Source::Agent,
        }
    }

    #[test]
    fn the_most_specific_scope_takes_precedence() {
        let segment = |name: &str| Scope::Segment(name.to_owned());
        let all = [
            configured(Scope::Platform, Some(100), Some(100)),
            configured(segment("b"), Some(30), None),
            configured(segment("a"), Some(20), None),
            configured(segment("gone"), Some(5), None),
            configured(Scope::Asset("as-1".parse().unwrap()), Some(10), None),
        ];
        let text = r#"[{"segment": {"name": "a", "criteria": "role = 'web'"}},
                       {"segment": {"name": "b", "criteria": "role in ('web', 'db')"}}]"#;
        let policy = read_stored(text).unwrap().policy;
        for (id, role, heartbeat) in
            [("as-1", "web", 10), ("as-2", "web", 20), ("as-3", "db", 30), ("as-4", "x", 100)]
        {
            let got = effective(&all, &asset(id, role), Some(&policy));
            assert_eq!((got.heartbeat, got.telemetry), (Some(heartbeat), Some(100)), "{id}");
        }
        assert_eq!(effective(&[], &asset("as-1", "web"), None), HostConfiguration::default());
    }
}
