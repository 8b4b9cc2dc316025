//! Helpers for tests of operations.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use xshield_model::Timestamp;
use xshield_model::audit_entry::AuditEntry;
use xshield_model::feed::FeedSettings;
use xshield_model::file_name::FileName;
use xshield_model::role::Role;
use xshield_model::secrets::{SecretError, Secrets};
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_store::accounts::{self, Account};
use xshield_store::assets::{self, NewAsset};
use xshield_store::audit::{self, AuditFilter};
use xshield_store::threat_events::{self, AlertEvaluation, ThreatEvent};
use xshield_store::{Store, Tx, commit};
use xshield_threat::compile::Feed;
use xshield_threat::{Compiler, Confidence, Digest, FeedId, Prefix, ThreatList, ThreatSet};
use xshield_wire::Bytes;

use crate::caller::{AtLeast, By, Caller};
use crate::error::Result;
use crate::host_configuration::HostConfigurator;
use crate::passwords::HashPasswords;
use crate::signals::Signals;
use crate::threat::{InForce, MatchQueue, ThreatEngine, ThreatLists};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000);

/// An empty database with its directory.
pub(crate) async fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("test.db")).await.unwrap();
    (dir, store)
}

/// A caller with exactly this role.
pub(crate) fn by<R: AtLeast>() -> By<R> {
    by_account("ann", R::ROLE)
}

/// The same, with another account.
pub(crate) fn by_account<R: AtLeast>(account: &str, role: Role) -> By<R> {
    By::new(Caller { account: account.to_owned(), role, token: "token".to_owned() }).unwrap()
}

/// An account with this role, without a password.
pub(crate) async fn account(store: &Store, name: &str, role: Role) -> Account {
    let (name, password) = (name.to_owned(), "no hash".to_owned());
    let account = Account { name, role, password, created_at: NOW };
    let mut tx = store.write().await.unwrap();
    accounts::put(&mut tx, &account).await.unwrap();
    commit(tx).await.unwrap();
    account
}

/// Hashes and seals in a readable way.
#[derive(Debug)]
pub(crate) struct Plain;

impl HashPasswords for Plain {
    async fn hash(&self, password: String) -> Result<String> {
        Ok(format!("hash of {password}"))
    }
}

impl Secrets for Plain {
    fn seal(&self, name: &str, secret: &[u8]) -> std::result::Result<String, SecretError> {
        Ok(format!("sealed for {name}: {secret:?}"))
    }

    fn open(&self, _: &str, _: &str) -> std::result::Result<Vec<u8>, SecretError> {
        Err(SecretError("operations open no secrets".into()))
    }
}

/// Registers assets of these names, with the tag `role`.
pub(crate) async fn register(store: &Store, assets: &[(&str, &str)]) {
    let mut tx = store.write().await.unwrap();
    for (number, (name, role)) in assets.iter().enumerate() {
        let tags = [("role".parse().unwrap(), (*role).to_owned().try_into().unwrap())].into();
        let new = NewAsset {
            id: &format!("as-{name}").parse().unwrap(),
            name: &name.parse().unwrap(),
            source: Source::Spark,
            identity: Bytes([u8::try_from(number).unwrap(); 32]),
            tags: &tags,
        };
        assets::insert(&mut tx, &new, NOW).await.unwrap();
    }
    commit(tx).await.unwrap();
}

/// The audit log, oldest first.
pub(crate) async fn audited(store: &Store) -> Vec<String> {
    let mut conn = store.read().await.unwrap();
    let found = audit::list(&mut conn, &AuditFilter::default(), None, 1000).await.unwrap();
    let line = |entry: AuditEntry| {
        let AuditEntry { actor, action, target, before, after, .. } = entry;
        format!("{actor} {action} {target}: {before} -> {after}")
    };
    found.into_iter().rev().map(line).collect()
}

/// Records signals and provides threat lists: the first is revision 1, the last is in force.
#[derive(Debug, Default)]
pub(crate) struct RecordedSignals {
    signals: Mutex<Vec<String>>,
    lists: Vec<Arc<ThreatList>>,
}

impl RecordedSignals {
    /// With these threat lists.
    pub(crate) fn with(lists: Vec<Arc<ThreatList>>) -> Self {
        Self { lists, ..Self::default() }
    }

    /// The signals since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.signals.lock().unwrap())
    }

    pub(crate) fn note(&self, signal: String) {
        self.signals.lock().unwrap().push(signal);
    }
}

impl HostConfigurator for RecordedSignals {
    async fn refresh(&self) -> Result<()> {
        self.note("work out configurations".to_owned());
        Ok(())
    }
}

impl ThreatEngine for RecordedSignals {
    async fn compile(&self) {
        self.note("compile the list".to_owned());
    }

    async fn modes_changed(&self) -> Result<()> {
        self.note("other modes".to_owned());
        Ok(())
    }

    fn tell_hosts(&self) {
        self.note("tell hosts".to_owned());
    }

    fn schedule_changed(&self) {
        self.note("other schedule".to_owned());
    }

    fn is_running(&self, _: &FeedId) -> bool {
        false
    }

    async fn run(&self, feed: &FeedId) {
        self.note(format!("run {feed}"));
    }

    async fn content_name(&self, file: FileName) -> Result<Option<String>> {
        Ok(Some(format!("content of {file}")))
    }

    fn seal(&self, feed: &FeedId, secret: &str) -> Result<String> {
        Ok(format!("{secret} sealed for {feed}"))
    }
}

/// Settings of a feed that is a file.
pub(crate) fn feed_settings() -> FeedSettings {
    let settings = serde_json::json!({"source": {"file": "/x"}, "format": "crowd-sec"});
    serde_json::from_value(settings).unwrap()
}

impl Signals for RecordedSignals {
    fn wake_host(&self, asset: &AssetId) {
        self.note(format!("wake {asset}"));
    }

    fn policy_committed(&self) {
        self.note("policy committed".to_owned());
    }
}

/// A list of these addresses, all listed by the feed `one` with 80 %.
pub(crate) fn threat_list(entries: &[&str]) -> Arc<ThreatList> {
    let confidence = Confidence::new(80).unwrap();
    let entry = |entry: &&str| (entry.parse::<Prefix>().unwrap(), confidence);
    let listing = entries.iter().map(entry).collect();
    let feed = Feed { id: "one".parse().unwrap(), least: Confidence::NONE, listing };
    Arc::new(Compiler { feeds: vec![feed], ..Compiler::default() }.compile())
}

impl ThreatLists for RecordedSignals {
    fn list(&self) -> Arc<ThreatList> {
        self.lists.last().cloned().unwrap_or_else(|| threat_list(&[]))
    }

    fn in_force(&self) -> Option<InForce> {
        let list = self.lists.last()?;
        Some(InForce { revision: self.lists.len() as u64, entries: list.set().len() as u64 })
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn kernel_bytes(&self) -> Result<u64> {
        Ok(self.list().set().len() as u64 * 64)
    }

    async fn addresses(&self, digest: Digest) -> Result<Option<Arc<ThreatSet>>> {
        let found = self.lists.iter().find(|list| list.set().digest() == digest);
        Ok(found.map(|list| Arc::new(list.set().clone())))
    }
}

impl MatchQueue for RecordedSignals {
    async fn add(
        &self,
        tx: &mut Tx,
        asset: &AssetId,
        matches: Vec<ThreatEvent>,
        now: Timestamp,
    ) -> Result<()> {
        for event in matches {
            threat_events::add(tx, asset, &event, AlertEvaluation::Wanted, now).await?;
        }
        Ok(())
    }

    fn added(&self) {
        self.note("matches added".to_owned());
    }
}
