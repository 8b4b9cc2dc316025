//! A transaction together with its audit entry.

use std::ops::{Deref, DerefMut};

use xshield_model::Timestamp;
use xshield_store::audit::{self, NewAuditEntry};
use xshield_store::{Conn, Store, Tx, commit};

use crate::caller::{AtLeast, By};
use crate::error::Result;

/// An audit entry without caller and time.
#[derive(Debug)]
pub struct AuditEntry<'a> {
    /// The action, e.g. `policy.synchronize`.
    pub action: &'static str,
    /// The object.
    pub target: &'a str,
    /// The state before.
    pub before: String,
    /// The state after.
    pub after: String,
}

/// A change by a caller: a transaction that is committed together with its audit entry, and rolled back when
/// dropped.
#[derive(Debug)]
pub struct AuditedChange {
    tx: Tx,
    actor: String,
    now: Timestamp,
}

impl AuditedChange {
    /// Begins one, when other writers are done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin<R: AtLeast>(store: &Store, by: &By<R>, now: Timestamp) -> Result<Self> {
        Ok(Self { tx: store.write().await?, actor: by.actor(), now })
    }

    /// Adds an audit entry without committing yet, for a change with several parts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&mut self, entry: AuditEntry<'_>) -> Result<()> {
        let AuditEntry { action, target, before, after } = entry;
        let new_entry = NewAuditEntry { actor: &self.actor, action, target, before, after };
        Ok(audit::record(&mut self.tx, new_entry, self.now).await?)
    }

    /// Makes the change and its audit entry durable.
    ///
    /// # Errors
    /// When the database fails; nothing has happened then.
    pub async fn commit(mut self, entry: AuditEntry<'_>) -> Result<()> {
        self.record(entry).await?;
        self.commit_recorded().await
    }

    /// Commits the change with the [recorded](Self::record) entries; does nothing if there are none.
    ///
    /// # Errors
    /// When the database fails; nothing has happened then.
    pub async fn commit_recorded(self) -> Result<()> {
        Ok(commit(self.tx).await?)
    }
}

impl Deref for AuditedChange {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.tx
    }
}

impl DerefMut for AuditedChange {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.tx
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Operator;
    use crate::testing::{NOW, audited, by, store};

    fn entry() -> AuditEntry<'static> {
        let (before, after) = (String::new(), "done".to_owned());
        AuditEntry { action: "test.change", target: "it", before, after }
    }

    #[tokio::test]
    async fn uncommitted_changes_are_not_in_the_audit_log() {
        let (_dir, store) = store().await;
        let mut dropped = AuditedChange::begin(&store, &by::<Operator>(), NOW).await.unwrap();
        dropped.record(entry()).await.unwrap();
        drop(dropped);
        assert!(audited(&store).await.is_empty());
        let change = AuditedChange::begin(&store, &by::<Operator>(), NOW).await.unwrap();
        change.commit(entry()).await.unwrap();
        assert_eq!(audited(&store).await, ["user:ann test.change it:  -> done"]);
    }
}
