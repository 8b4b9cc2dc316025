//! Alert rules, and the alerts they raised.

use xshield_api::alerts::{NamedRule, NumberedAlert, Rules};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::alert_rule::{AlertRule, RuleError};
use xshield_policy::names::Name;
use xshield_store::alerts::{self as stored, AlertFilter, StoredAlert, StoredRule};
use xshield_store::{Conn, Store, deliveries};

use crate::caller::{By, Operator};
use crate::change::{AuditEntry, AuditedChange};
use crate::error::{OperationError, Result};
use crate::paging::{Paging, paged};

/// The maximum number of rules, since each is evaluated for every match.
const MOST_RULES: usize = 200;

fn shown(stored: StoredRule, withheld: u64) -> NamedRule {
    let StoredRule { name, rule, created_at, created_by } = stored;
    NamedRule { name, rule: rule.into(), created_at, created_by, withheld }
}

fn missing(name: &str) -> OperationError {
    OperationError::not_found("alert rule", name)
}

impl From<RuleError> for OperationError {
    fn from(error: RuleError) -> Self {
        Self::invalid(error.field, error.reason)
    }
}

/// A valid name, as for assets, segments and templates.
///
/// # Errors
/// When it is invalid.
pub fn checked_name(name: &str) -> Result<String> {
    let name: Name =
        name.parse().map_err(|error| OperationError::invalid("/name", format!("{error}")))?;
    Ok(name.as_str().to_owned())
}

/// All alert rules.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut Conn) -> Result<Rules> {
    let withheld = stored::withheld(conn).await?;
    let of = |rule: StoredRule| {
        let withheld = withheld.get(&rule.name).copied().unwrap_or_default();
        shown(rule, withheld)
    };
    Ok(Rules { items: stored::rules(conn).await?.into_iter().map(of).collect() })
}

/// The alert rule of this name.
///
/// # Errors
/// When there is none, or the database fails.
pub async fn get(conn: &mut Conn, name: &str) -> Result<NamedRule> {
    let rule = stored::rule(conn, name).await?.ok_or_else(|| missing(name))?;
    let withheld = stored::withheld(conn).await?.get(name).copied().unwrap_or_default();
    Ok(shown(rule, withheld))
}

/// Creates or replaces an alert rule.
///
/// # Errors
/// When a value is invalid, it refers to a channel that does not exist, there are too many, or the database
/// fails.
pub async fn put(
    store: &Store,
    by: &By<Operator>,
    name: &str,
    rule: AlertRule,
    now: Timestamp,
) -> Result<NamedRule> {
    let name = checked_name(name)?;
    rule.check()?;
    let mut change = AuditedChange::begin(store, by, now).await?;
    for channel in &rule.channels {
        if deliveries::channel(&mut change, channel).await?.is_none() {
            let reason = format!("there is no channel {channel:?}");
            return Err(OperationError::invalid("/channels", reason));
        }
    }
    let before = stored::rule(&mut change, &name).await?;
    if before.is_none() && stored::rules(&mut change).await?.len() >= MOST_RULES {
        let detail = format!("there are {MOST_RULES} alert rules already; delete one");
        return Err(OperationError::conflict("too-many-rules", detail));
    }
    let written = StoredRule { name, rule, created_at: now, created_by: by.actor() };
    stored::put_rule(&mut change, &written).await?;
    let entry = AuditEntry {
        action: "alert-rule.put",
        target: &written.name,
        before: before.map(|before| summary(&before.rule)).unwrap_or_default(),
        after: summary(&written.rule),
    };
    change.commit(entry).await?;
    Ok(shown(written, 0))
}

fn summary(rule: &AlertRule) -> String {
    serde_json::to_string(rule).unwrap_or_default()
}

/// Deletes an alert rule, even if it is unreadable.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub async fn delete(store: &Store, by: &By<Operator>, name: &str, now: Timestamp) -> Result<()> {
    let mut change = AuditedChange::begin(store, by, now).await?;
    let before = stored::rule(&mut change, name).await.ok().flatten();
    if !stored::delete_rule(&mut change, name).await? {
        return Err(missing(name));
    }
    let entry = AuditEntry {
        action: "alert-rule.delete",
        target: name,
        before: before.map(|before| summary(&before.rule)).unwrap_or_default(),
        after: String::new(),
    };
    change.commit(entry).await
}

/// Alerts, newest first.
///
/// # Errors
/// When the database fails.
pub async fn alerts(
    conn: &mut Conn,
    filter: &AlertFilter,
    paging: Paging<i64>,
) -> Result<Page<NumberedAlert>> {
    let found = stored::list(conn, filter, paging.after, paging.to_read()).await?;
    let numbered = |StoredAlert { id, alert }| NumberedAlert { number: id, alert: alert.into() };
    Ok(paged(found, paging.limit, |alert| alert.id, numbered))
}

#[cfg(test)]
mod tests {
    use xshield_model::alert_rule::RuleState;
    use xshield_store::commit;
    use xshield_store::deliveries::StoredChannel;

    use super::*;
    use crate::testing::{NOW, audited, by, store};

    fn rule(channels: &[&str]) -> AlertRule {
        let rule = serde_json::json!({"when": {"condition": "any-match"}, "channels": channels});
        serde_json::from_value(rule).unwrap()
    }

    async fn channel(store: &Store) {
        let settings = serde_json::json!({"kind": "syslog", "host": "siem.example"});
        let channel = StoredChannel {
            name: "ops".to_owned(),
            id: "ch-1".to_owned(),
            settings: serde_json::from_value(settings).unwrap(),
            sealed_secret: None,
            state: RuleState::Enabled,
            created_at: NOW,
            created_by: "user:ann".to_owned(),
            next_attempt: NOW,
            failures: 0,
            last_success: None,
            last_failure: None,
            last_answer: String::new(),
        };
        let mut tx = store.write().await.unwrap();
        deliveries::put_channel(&mut tx, &channel).await.unwrap();
        commit(tx).await.unwrap();
    }

    #[tokio::test]
    async fn a_rule_is_written_under_its_name_and_deleted_once() {
        let (_dir, store) = store().await;
        let by = by::<Operator>();
        channel(&store).await;
        for (name, rule, field) in
            [("a b", rule(&["ops"]), "/name"), ("a", rule(&["nowhere"]), "/channels")]
        {
            match put(&store, &by, name, rule, NOW).await.unwrap_err() {
                OperationError::Invalid { field: named, .. } => assert_eq!(named, field),
                other => panic!("{other}"),
            }
        }
        assert!(audited(&store).await.is_empty());
        put(&store, &by, "a", rule(&["ops"]), NOW).await.unwrap();
        let listed = list(&mut store.read().await.unwrap()).await.unwrap();
        assert_eq!(listed.items.len(), 1);
        delete(&store, &by, "a", NOW).await.unwrap();
        let again = delete(&store, &by, "a", NOW).await.unwrap_err();
        assert_eq!(again.to_string(), "there is no alert rule \"a\"");
        let actions = audited(&store).await;
        assert!(actions[0].starts_with("user:ann alert-rule.put a:  -> {"), "{actions:?}");
        assert!(actions[1].starts_with("user:ann alert-rule.delete a: {"), "{actions:?}");
    }
}
