//! Addresses that are never blocked, whatever feeds list.

use xshield_api::threat_list::{Exception, NewException, Validity};
use xshield_model::Timestamp;
use xshield_store::threat_lists::{self as stored, StoredException};
use xshield_store::{Store, StoreResult};
use xshield_threat::Prefix;

use super::engine::ThreatEngine;
use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::compiler::RulesetCompiler;
use crate::error::{Doing as _, OperationError, Result};
use crate::expiry::in_future;
use crate::ids::new_id;

/// The maximum length of a reason, in characters.
const MAX_REASON: usize = 500;
/// The widest allowed exception, as prefix lengths.
const LEAST_BITS: (u8, u8) = (8, 16);

/// The named networks of the committed policy.
async fn networks(compiler: &RulesetCompiler) -> StoreResult<Vec<String>> {
    let committed = compiler.committed().await?;
    let networks = committed.iter().flat_map(|committed| committed.policy.networks());
    Ok(networks.map(|network| network.name.as_str().to_owned()).collect())
}

fn shown(stored: StoredException, networks: &[String], now: Timestamp) -> Exception {
    let gone = |name: &str| !networks.iter().any(|known| known == name);
    let state = if stored.expires_at.is_some_and(|end| end <= now) {
        Validity::Expired
    } else if stored.target.strip_prefix("network:").is_some_and(gone) {
        Validity::NoNetwork
    } else {
        Validity::Active
    };
    Exception {
        id: stored.id,
        target: stored.target,
        reason: stored.reason,
        state: state.into(),
        created_at: stored.created_at,
        created_by: stored.created_by,
        expires_at: stored.expires_at,
    }
}

/// All exceptions.
///
/// # Errors
/// When the database fails.
pub async fn list(
    store: &Store,
    compiler: &RulesetCompiler,
    now: Timestamp,
) -> Result<Vec<Exception>> {
    let networks = networks(compiler).await?;
    let stored = stored::exceptions(&mut *store.read().await?).await?;
    Ok(stored.into_iter().map(|one| shown(one, &networks, now)).collect())
}

/// Excepts addresses from the list from now on.
///
/// # Errors
/// When a value is invalid, or the database fails.
pub async fn add(
    store: &Store,
    compiler: &RulesetCompiler,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    new: NewException,
    now: Timestamp,
) -> Result<Exception> {
    let networks = networks(compiler).await?;
    let target = target(&new.target, &networks)?;
    let reason = new.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        let wanted = format!("expected a reason of 1 to {MAX_REASON} characters");
        return Err(OperationError::invalid("/reason", wanted));
    }
    in_future(new.expires_at, now)?;
    let exception = StoredException {
        id: new_id("ex-").doing("make an id for an exception")?,
        target,
        reason: reason.to_owned(),
        created_at: now,
        created_by: by.actor(),
        expires_at: new.expires_at,
    };
    let mut change = AuditedChange::begin(store, by, now).await?;
    stored::insert_exception(&mut change, &exception).await?;
    let end = exception
        .expires_at
        .map_or("for good".to_owned(), |end| format!("until {}", end.to_rfc3339()));
    let entry = AuditEntry {
        action: "threat.exception.add",
        target: &exception.target,
        before: String::new(),
        after: format!("{}, {end}: {}", exception.id, exception.reason),
    };
    change.commit(entry).await?;
    engine.compile().await;
    Ok(shown(exception, &networks, now))
}

/// The target as stored.
fn target(text: &str, networks: &[String]) -> Result<String> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix("network:") {
        if networks.iter().any(|known| known == name) {
            return Ok(text.to_owned());
        }
        let reason = format!("the committed policy has no named network {name:?}");
        return Err(OperationError::invalid("/target", reason));
    }
    let prefix: Prefix = text
        .parse()
        .map_err(|reason| OperationError::invalid("/target", format!("{text:?}: {reason}")))?;
    let least = if matches!(prefix, Prefix::V4(_)) { LEAST_BITS.0 } else { LEAST_BITS.1 };
    if prefix.bits() < least {
        let reason =
            format!("wider than /{least}; set the mode to off if nothing should be blocked");
        return Err(OperationError::invalid("/target", reason));
    }
    Ok(prefix.to_string())
}

/// Deletes an exception.
///
/// # Errors
/// When there is none of this id, or the database fails.
pub async fn delete(
    store: &Store,
    engine: &impl ThreatEngine,
    by: &By<Operator>,
    id: &str,
    now: Timestamp,
) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let known = stored::exceptions(&mut change).await?;
    let exception = known.into_iter().find(|one| one.id == id);
    let exception = exception.ok_or_else(|| OperationError::not_found("threat exception", id))?;
    stored::delete_exception(&mut change, id).await?;
    let entry = AuditEntry {
        action: "threat.exception.remove",
        target: &exception.target,
        before: format!("{id}: {}", exception.reason),
        after: String::new(),
    };
    change.commit(entry).await?;
    engine.compile().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::Endpoints;
    use crate::testing::{NOW, RecordedSignals, audited, by, store};

    fn new(target: &str, reason: &str, expires_at: Option<Timestamp>) -> NewException {
        NewException { target: target.to_owned(), reason: reason.to_owned(), expires_at }
    }

    #[tokio::test]
    async fn an_exception_is_limited_needs_a_reason_and_ends_once() {
        let (_dir, store) = store().await;
        let (engine, by) = (RecordedSignals::default(), by::<Operator>());
        let compiler = RulesetCompiler::new(store.clone(), Endpoints::default());
        for (new, field) in [
            (new("10.0.0.0/7", "r", None), "/target"),
            (new("2001:db8::/15", "r", None), "/target"),
            (new("network:none", "r", None), "/target"),
            (new("x", "r", None), "/target"),
            (new("10.0.0.1", " ", None), "/reason"),
            (new("10.0.0.1", "r", Some(NOW)), "/expires_at"),
        ] {
            match add(&store, &compiler, &engine, &by, new.clone(), NOW).await.unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field, "{new:?}"),
                other => panic!("{other}"),
            }
        }
        assert!(engine.take().is_empty());
        let request = new("192.0.2.7", " a partner ", None);
        let added = add(&store, &compiler, &engine, &by, request, NOW).await.unwrap();
        assert_eq!(engine.take(), ["compile the list"]);
        delete(&store, &engine, &by, &added.id, NOW).await.unwrap();
        let gone = delete(&store, &engine, &by, &added.id, NOW).await.unwrap_err();
        assert_eq!(gone.to_string(), format!("there is no threat exception {:?}", added.id));
        assert_eq!(engine.take(), ["compile the list"]);
        let (id, target) = (added.id, added.target);
        let expected = [
            format!("user:ann threat.exception.add {target}:  -> {id}, for good: a partner"),
            format!("user:ann threat.exception.remove {target}: {id}: a partner -> "),
        ];
        assert_eq!(audited(&store).await, expected);
    }
}
