//! A policy from its documents to a committed revision, against a database of its own.

use tempfile::TempDir;
use xshield_api::impact::ExpectedImpact;
use xshield_api::policy::{PolicyFile, PolicyInput, Restore, Synchronize};
use xshield_store::{Store, rulesets};

use super::candidate::{apply, compare, get, revision, revisions};
use super::documents::{self, CheckedPolicy};
use super::restore::restore;
use super::simulate::prospect;
use super::simulations::Simulations;
use super::synchronize::synchronize;
use crate::caller::{Operator, Viewer};
use crate::compiler::{Endpoints, RulesetCompiler};
use crate::error::OperationError;
use crate::paging::Paging;
use crate::testing::{NOW, RecordedSignals, audited, by, register, store};

const WEB: &str = "segment: { name: web, criteria: role = 'web', inbound: { level: secure-all-ports, \
                   mode: enforce } }\n---\nsettings: { management: [{ from: [10.0.0.250], services: \
                   [tcp/22] }] }\n";
const NOTHING: &str = "settings: {}\n";

struct Platform {
    _dir: TempDir,
    store: Store,
    compiler: RulesetCompiler,
    simulations: Simulations,
    signals: RecordedSignals,
}

impl Platform {
    async fn new() -> Self {
        let (dir, store) = store().await;
        register(&store, &[("web", "web"), ("db", "db")]).await;
        let endpoints = Endpoints::new(vec!["10.9.9.9:8443".parse().unwrap()]);
        Self {
            _dir: dir,
            compiler: RulesetCompiler::new(store.clone(), endpoints),
            store,
            simulations: Simulations::default(),
            signals: RecordedSignals::default(),
        }
    }

    async fn apply(&self, text: &str) -> u64 {
        apply(&self.store, &by(), &policy(text), None, NOW).await.unwrap().version
    }

    async fn commit(
        &self,
        expected_version: u64,
        expected_impact: ExpectedImpact,
    ) -> crate::Result<u64> {
        let request = Synchronize { expected_version, expected_impact, note: "n".to_owned() };
        let done = synchronize(&self.store, &self.compiler, &self.signals, &by(), request).await?;
        Ok(done.revision)
    }

    async fn revisions(&self) -> Vec<u64> {
        let paging = Paging::new(None, None).unwrap();
        let page = revisions(&mut self.store.read().await.unwrap(), paging).await.unwrap();
        page.items.into_iter().map(|about| about.revision).collect()
    }
}

fn policy(text: &str) -> CheckedPolicy {
    let file = PolicyFile { name: "p.yaml".to_owned(), text: text.to_owned() };
    documents::read(&PolicyInput { documents: None, files: Some(vec![file]) }).unwrap()
}

#[tokio::test]
async fn a_missing_candidate_is_not_committed() {
    let platform = Platform::new().await;
    for impact in [ExpectedImpact::NoLoss, ExpectedImpact::Any] {
        let refused = platform.commit(0, impact).await.unwrap_err();
        assert_eq!(code(refused), "no-candidate");
    }
    assert_eq!(platform.revisions().await, [] as [u64; 0]);
    assert!(platform.signals.take().is_empty() && audited(&platform.store).await.is_empty());
    // An empty policy that somebody wrote is one.
    let version = platform.apply(NOTHING).await;
    assert_eq!(platform.commit(version, ExpectedImpact::NoLoss).await.unwrap(), 1);
}

fn code(error: OperationError) -> &'static str {
    match error {
        OperationError::Conflict { code, .. } | OperationError::UnexpectedImpact { code, .. } => {
            code
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_candidate_is_replaced_completely_and_only_at_the_expected_version() {
    let platform = Platform::new().await;
    let store = &platform.store;
    assert_eq!(platform.apply(WEB).await, 1);
    assert_eq!(platform.apply(WEB).await, 1, "the same again is no edit");
    let stale = apply(store, &by(), &policy(NOTHING), Some(0), NOW).await.unwrap_err();
    assert_eq!(code(stale), "candidate-changed");
    let candidate = get(&mut store.read().await.unwrap()).await.unwrap();
    assert_eq!(candidate.documents.as_array().map(Vec::len), Some(2));
    assert!(candidate.differs_from_committed);
    assert_eq!(
        audited(store).await,
        ["user:ann policy.edit policy: version 0, 0 documents -> version 1, 2 documents: \
          + segment web; + settings"]
    );
}

#[tokio::test]
async fn a_commit_is_atomic_audited_and_signalled() {
    let platform = Platform::new().await;
    let version = platform.apply(WEB).await;
    assert_eq!(
        code(platform.commit(0, ExpectedImpact::Any).await.unwrap_err()),
        "candidate-changed"
    );
    let seen = "sha256:".to_owned() + &"00".repeat(32);
    let other = platform.commit(version, seen.parse().unwrap()).await.unwrap_err();
    assert_eq!(code(other), "impact-differs");
    assert_eq!(platform.revisions().await, [0; 0]);
    assert!(platform.signals.take().is_empty());

    assert_eq!(platform.commit(version, ExpectedImpact::NoLoss).await.unwrap(), 1);
    let mut signals = platform.signals.take();
    signals.sort();
    assert_eq!(signals, ["policy committed", "wake as-db", "wake as-web"]);
    let stored = rulesets::all(&mut platform.store.read().await.unwrap()).await.unwrap();
    assert_eq!(stored.len(), 2, "a ruleset for each asset");
    let committed = platform.compiler.committed().await.unwrap().unwrap();
    assert_eq!(committed.revision.0, 1);
    let last = audited(&platform.store).await.pop().unwrap();
    assert!(
        last.starts_with("user:ann policy.synchronize policy:  -> revision 1, 2 assets; impact: ")
            && last.contains("note \"n\""),
        "{last}"
    );
}

#[tokio::test]
async fn losing_protection_needs_the_expected_impact() {
    let platform = Platform::new().await;
    let version = platform.apply(WEB).await;
    platform.commit(version, ExpectedImpact::NoLoss).await.unwrap();
    let version = platform.apply(NOTHING).await;

    let Platform { store, compiler, simulations, .. } = &platform;
    let seen = prospect(store, compiler, simulations, &by::<Viewer>(), None).await.unwrap();
    assert!(seen.impact.is_loss);
    let refused = platform.commit(version, ExpectedImpact::NoLoss).await.unwrap_err();
    assert_eq!(code(refused), "impact-is-loss");
    let exactly = ExpectedImpact::Exactly(seen.impact.digest);
    assert_eq!(platform.commit(version, exactly).await.unwrap(), 2);

    // Back again: the previous revision becomes the candidate and the newest revision.
    let request = Restore { synchronize: true, expected_impact: ExpectedImpact::NoLoss };
    let by = by::<Operator>();
    let restored = restore(store, compiler, &platform.signals, &by, "1", request).await.unwrap();
    assert_eq!(restored.synchronized.map(|done| done.revision), Some(3));
    assert_eq!(platform.revisions().await, [3, 2, 1]);
    let request = Restore { synchronize: false, expected_impact: ExpectedImpact::Any };
    for missing in ["9", "x"] {
        let refused =
            restore(store, compiler, &platform.signals, &by, missing, request.clone()).await;
        assert_eq!(refused.unwrap_err().to_string(), format!("there is no revision {missing:?}"));
    }
    let whole = revision(&mut store.read().await.unwrap(), "3").await.unwrap();
    assert_eq!(whole.about.note, "restored from revision 1");
    assert!(compare(store, Some(1), Some(3)).await.unwrap().changes.is_empty());
    assert_eq!(compare(store, Some(2), None).await.unwrap().changes.len(), 2);
}
