//! Changes of assets by operators.

use std::collections::BTreeMap;

use xshield_api::assets::Asset;
use xshield_model::Timestamp;
use xshield_policy::names::{TagKey, TagValue};
use xshield_store::assets::{self, StoredAsset, Tags};
use xshield_store::{Store, enrolment, trim};

use super::read::whole;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::Result;
use crate::lookup;
use crate::signals::Signals;

fn entry<'a>(action: &'static str, asset: &'a StoredAsset) -> AuditEntry<'a> {
    let (before, after) = (String::new(), String::new());
    AuditEntry { action, target: asset.name.as_str(), before, after }
}

/// Sets tags of an asset; tags without a value are removed.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn set_tags(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    named: &str,
    tags: BTreeMap<TagKey, Option<TagValue>>,
    now: Timestamp,
) -> Result<Asset> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, named).await?;
    let mut known = assets::tags_of(&mut change, std::iter::once(&asset.id)).await?;
    let before = known.remove(&asset.id).unwrap_or_default();
    let mut after = before.clone();
    for (key, value) in tags {
        match value {
            Some(value) => after.insert(key, value),
            None => after.remove(&key),
        };
    }
    if after == before {
        drop(change);
    } else {
        assets::set_tags(&mut change, &asset.id, &after).await?;
        let (before, after) = (in_words(&before), in_words(&after));
        change.commit(AuditEntry { before, after, ..entry("asset.tag", &asset) }).await?;
        compiler.inventory_changed();
    }
    whole(&mut *store.read().await?, compiler, asset, now).await
}

fn in_words(tags: &Tags) -> String {
    let words: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(", ")
}

/// Deletes an asset and everything it reported; a host that still runs registers again.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn delete(
    store: &Store,
    compiler: &RulesetCompiler,
    by: &By<Operator>,
    named: &str,
    now: Timestamp,
) -> Result<()> {
    // Large data is deleted in batches, so that others can write in between.
    let known = lookup::asset(&mut *store.read().await?, named).await?;
    trim::everything_of(store, &known.id).await?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, named).await?;
    enrolment::remember_forgotten(&mut change, &asset.id, now).await?;
    assets::delete(&mut change, &asset.id).await?;
    let before = asset.id.to_string();
    change.commit(AuditEntry { before, ..entry("asset.delete", &asset) }).await?;
    compiler.inventory_changed();
    Ok(())
}

/// Decommissions an asset: its host is refused from now on, its history is kept. Does nothing if it is
/// already decommissioned.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn decommission(
    store: &Store,
    compiler: &RulesetCompiler,
    signals: &impl Signals,
    by: &By<Operator>,
    named: &str,
    now: Timestamp,
) -> Result<Asset> {
    serve(store, compiler, signals, by, named, (Some(now), now)).await
}

/// Reinstates a decommissioned asset. Does nothing if it is in service.
///
/// # Errors
/// When there is no such asset, or the database fails.
pub async fn reinstate(
    store: &Store,
    compiler: &RulesetCompiler,
    signals: &impl Signals,
    by: &By<Operator>,
    named: &str,
    now: Timestamp,
) -> Result<Asset> {
    serve(store, compiler, signals, by, named, (None, now)).await
}

async fn serve(
    store: &Store,
    compiler: &RulesetCompiler,
    signals: &impl Signals,
    by: &By<Operator>,
    named: &str,
    (out_of_service, now): (Option<Timestamp>, Timestamp),
) -> Result<Asset> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let asset = lookup::asset(&mut change, named).await?;
    let changes = asset.decommissioned_at.is_some() != out_of_service.is_some();
    if changes {
        assets::decommission(&mut change, &asset.id, out_of_service).await?;
        let action = match out_of_service {
            Some(_) => "asset.decommission",
            None => "asset.reinstate",
        };
        change.record(entry(action, &asset)).await?;
    }
    let asset = lookup::asset(&mut change, asset.id.as_str()).await?;
    let id = asset.id.clone();
    let shown = whole(&mut change, compiler, asset, now).await?;
    change.commit_recorded().await?;
    if changes {
        signals.wake_host(&id);
        compiler.inventory_changed();
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, RecordedSignals, audited, by, register, store};

    fn tags(text: &str) -> BTreeMap<TagKey, Option<TagValue>> {
        let tag = |part: &str| {
            let (key, value) = part.split_once('=').unwrap();
            let value = Some(value).filter(|value| !value.is_empty());
            (key.parse().unwrap(), value.map(|value| value.parse().unwrap()))
        };
        text.split(',').map(tag).collect()
    }

    #[tokio::test]
    async fn an_asset_is_tagged_decommissioned_and_deleted_once() {
        let (_dir, store) = store().await;
        let (signals, by) = (RecordedSignals::default(), by::<Operator>());
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        register(&store, &[("web", "web")]).await;

        for _ in 0..2 {
            let request = tags("role=,owner=ann");
            let asset = set_tags(&store, &compiler, &by, "web", request, NOW).await.unwrap();
            assert_eq!(in_words(&asset.tags), "owner=ann");
        }
        for _ in 0..2 {
            let asset = decommission(&store, &compiler, &signals, &by, "as-web", NOW).await;
            assert_eq!(asset.unwrap().decommissioned_at, Some(NOW));
        }
        let asset = reinstate(&store, &compiler, &signals, &by, "web", NOW).await.unwrap();
        assert_eq!(asset.decommissioned_at, None);
        assert_eq!(signals.take(), ["wake as-web", "wake as-web"], "of changes alone");
        delete(&store, &compiler, &by, "web", NOW).await.unwrap();
        let gone = delete(&store, &compiler, &by, "web", NOW).await.unwrap_err();
        assert_eq!(gone.to_string(), "there is no asset \"web\"");
        assert_eq!(
            audited(&store).await,
            [
                "user:ann asset.tag web: role=web -> owner=ann",
                "user:ann asset.decommission web:  -> ",
                "user:ann asset.reinstate web:  -> ",
                "user:ann asset.delete web: as-web -> ",
            ]
        );
    }
}
