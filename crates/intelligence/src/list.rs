//! Compiles listings, exceptions and protected ranges into a revision of the list.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use xshield_model::Timestamp;
use xshield_model::feed::Switch;
use xshield_model::file_name::FileName;
use xshield_model::threat_settings::{PrivateRanges, ThreatSettings};
use xshield_policy::document::Policy;
use xshield_store::threat_feeds::StoredFeed;
use xshield_store::threat_lists::{
    SourceException, SourceFeed, Sources, StoredException, StoredFile, StoredRevision,
};
use xshield_store::{StoreError, assets, commit, threat_assets, threat_feeds, threat_lists};
use xshield_threat::compile::{Exception, Feed};
use xshield_threat::protect::{Protected, ProtectedBy, special_ranges};
use xshield_threat::{Compiler, FeedId, Listing, Prefix, ThreatList, ThreatSet, codec};

use crate::files::FileError;
use crate::in_force::{Current, Parts, RevisionName};
use crate::modes::{ModeRules, SegmentModes};
use crate::state::Threats;
use xshield_model::causes::in_words;

/// Why the list could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The stored listing of a feed.
    #[error("the stored listing of feed {feed} is missing or damaged; run the feed again")]
    Listing {
        /// The feed.
        feed: FeedId,
    },
    /// A restored revision.
    #[error("revision {0} is no longer kept; resume compiling, or restore another one")]
    Pinned(u64),
    /// A background task.
    #[error("the compilation was aborted")]
    Broken(#[from] tokio::task::JoinError),
}

impl Threats {
    /// Compiles the list and puts it in force, as a new revision if its addresses have changed; hosts are
    /// then notified in the background. Errors are logged, and are the list's [`trouble`](Threats::trouble).
    ///
    /// # Errors
    /// When an input is missing; the list in force is kept.
    pub async fn compile(self: &Arc<Self>) -> Result<(), ListError> {
        let turn = self.compiling.lock().await;
        let done = compile_in_turn(self).await;
        let trouble = done.as_ref().err().map(in_words);
        metrics::gauge!("xshield_threat_compile_failed")
            .set(f64::from(u8::from(trouble.is_some())));
        if let Some(reason) = &trouble {
            tracing::error!(reason, "could not compile the threat list; the previous one stays");
        }
        self.note_trouble(trouble);
        drop(turn);
        self.tell_hosts();
        done
    }
}

/// Everything that a compilation reads from the database.
struct Inputs {
    settings: ThreatSettings,
    pinned: Option<StoredRevision>,
    feeds: Vec<StoredFeed>,
    exceptions: Vec<StoredException>,
    own: Vec<IpAddr>,
    policy: Option<Arc<Policy>>,
    latest: Option<StoredRevision>,
}

async fn inputs(threats: &Threats) -> Result<Inputs, ListError> {
    let mut conn = threats.store.read().await?;
    let policy = threats.list_inputs.committed(&mut conn).await?;
    let settings = threat_assets::settings(&mut conn).await?;
    let pinned = match settings.pinned {
        Some(number) => Some(
            threat_lists::revision(&mut conn, number).await?.ok_or(ListError::Pinned(number))?,
        ),
        None => None,
    };
    let inventory = assets::inventory(&mut conn).await?;
    Ok(Inputs {
        settings,
        pinned,
        feeds: threat_feeds::all(&mut conn).await?,
        exceptions: threat_lists::exceptions(&mut conn).await?,
        own: inventory.assets.into_iter().flat_map(|asset| asset.addresses).collect(),
        policy,
        latest: threat_lists::latest(&mut conn).await?,
    })
}

async fn compile_in_turn(threats: &Arc<Threats>) -> Result<(), ListError> {
    reload_rules(threats).await?;
    let now = Timestamp::now();
    let inputs = inputs(threats).await?;
    let sources = sources(&inputs, now);
    if sources.feeds.is_empty() && inputs.latest.is_none() {
        return Ok(());
    }
    let protected =
        protected(threats, &inputs, &*listed_before(threats, inputs.latest.as_ref()).await?);
    let worker = threats.clone();
    let latest = inputs.latest.clone();
    let kept = sources.clone();
    let compiled = tokio::task::spawn_blocking(move || {
        compile_blocking(&worker, &kept, protected, latest.as_ref(), now)
    });
    let Compiled { list, name, change } = compiled.await??;
    let revision = match change {
        Some(change) => {
            let reason = reason(&inputs, &sources);
            Some(add_revision(threats, name, change, reason, sources, now).await?)
        }
        None => match &inputs.latest {
            Some(latest) => {
                let revision = latest.revision;
                // The same addresses, listed by other feeds or with another confidence: later look-ups of
                // this revision should return these.
                if latest.sources != sources {
                    let mut tx = threats.store.write().await?;
                    threat_lists::set_sources(&mut tx, revision, &sources).await?;
                    commit(tx).await?;
                }
                Some(RevisionName { revision, ..name })
            }
            None => None,
        },
    };
    threats.publish(Current { list: Arc::new(list), revision, parts: Parts::default() });
    Ok(())
}

/// Rereads which modes apply to whom.
///
/// # Errors
/// When the database fails.
pub async fn reload_rules(threats: &Threats) -> Result<(), StoreError> {
    let mut conn = threats.store.read().await?;
    let policy = threats.list_inputs.committed(&mut conn).await?;
    let settings = threat_assets::settings(&mut conn).await?;
    let wishes = threat_assets::segments(&mut conn).await?;
    let segments = wishes.into_iter().filter_map(|(name, scope_modes)| {
        let mut segments = policy.as_ref()?.segments();
        let criteria = segments.find(|known| known.name.as_str() == name)?.criteria.clone();
        Some(SegmentModes { name, criteria, scope_modes })
    });
    let segments = segments.collect();
    threats.set_rules(ModeRules { settings, segments });
    Ok(())
}

/// The inputs of the list: the feeds' listings, or those of the restored revision; less the current
/// exceptions, and those of that revision.
fn sources(inputs: &Inputs, now: Timestamp) -> Sources {
    let policy = inputs.policy.as_deref();
    let mut exceptions = exceptions(&inputs.exceptions, policy, now);
    let feeds = match &inputs.pinned {
        Some(pinned) => {
            exceptions.extend(pinned.sources.exceptions.iter().cloned());
            exceptions.sort_by(|a, b| (&a.name, a.prefix).cmp(&(&b.name, b.prefix)));
            exceptions.dedup();
            pinned.sources.feeds.clone()
        }
        None => {
            let used = inputs.feeds.iter().filter(|feed| feed.settings.state == Switch::On);
            let source = |feed: &StoredFeed| {
                let (name, least) = (feed.id.clone(), feed.settings.least_confidence);
                Some(SourceFeed { name, listing: feed.listing?.to_string(), least })
            };
            used.filter_map(source).collect()
        }
    };
    Sources { feeds, exceptions }
}

/// The exceptions in force at `now`, as prefixes. A named network that is no longer in the policy excepts
/// nothing.
#[must_use]
pub fn exceptions(
    stored: &[StoredException],
    policy: Option<&Policy>,
    now: Timestamp,
) -> Vec<SourceException> {
    let holding = stored.iter().filter(|one| one.expires_at.is_none_or(|end| end > now));
    let mut found: Vec<SourceException> = holding
        .flat_map(|one| {
            let prefixes = match one.target.strip_prefix("network:") {
                Some(network) => network_prefixes(policy, network),
                None => one.target.parse().into_iter().collect(),
            };
            prefixes.into_iter().map(|prefix| SourceException { name: one.id.clone(), prefix })
        })
        .collect();
    found.sort_by(|a, b| (&a.name, a.prefix).cmp(&(&b.name, b.prefix)));
    found
}

fn network_prefixes(policy: Option<&Policy>, network: &str) -> Vec<Prefix> {
    let mut networks = policy.into_iter().flat_map(Policy::networks);
    let network = networks.find(|known| known.name.as_str() == network);
    let cidrs = network.into_iter().flat_map(|network| &network.cidrs);
    cidrs.filter_map(|cidr| Prefix::try_from(cidr.0).ok()).collect()
}

/// The addresses of the last revision. It contains no address that was protected then.
async fn listed_before(
    threats: &Arc<Threats>,
    latest: Option<&StoredRevision>,
) -> Result<Arc<ThreatSet>, ListError> {
    let Some(latest) = latest else { return Ok(Arc::default()) };
    let (paths, digest) = (threats.paths.clone(), latest.digest);
    let read = tokio::task::spawn_blocking(move || paths.set(digest));
    let set: Option<Arc<ThreatSet>> = read.await??;
    Ok(set.unwrap_or_default())
}

/// The addresses of assets come from their hosts. An address that is already listed stays: a host controlled
/// by an attacker must not be able to remove the attacker's addresses from everyone's list.
fn protected(threats: &Threats, inputs: &Inputs, listed_before: &ThreatSet) -> Vec<Protected> {
    let listed = inputs.settings.private_ranges == PrivateRanges::Listed;
    let mut protected = special_ranges();
    protected.retain(|range| !(listed && range.by == ProtectedBy::Private));
    let own = inputs
        .own
        .iter()
        .map(|address| address.to_canonical())
        .filter(|address| !listed_before.contains(*address))
        .map(|address| (Prefix::from(address), ProtectedBy::OwnAsset));
    let endpoints = threats.list_inputs.endpoints();
    let endpoints = endpoints.iter().map(|endpoint| Prefix::from(endpoint.ip().to_canonical()));
    let policy = inputs.policy.as_deref();
    let management = policy.into_iter().flat_map(|policy| &policy.settings().management);
    let management = management.flat_map(|rule| &rule.from);
    let management = management.filter_map(|net| Prefix::try_from(net.0).ok());
    let failsafe = endpoints.chain(management).map(|prefix| (prefix, ProtectedBy::Failsafe));
    protected.extend(own.chain(failsafe).map(|(prefix, by)| Protected { prefix, by }));
    protected.sort_unstable();
    protected.dedup();
    protected
}

struct Compiled {
    list: ThreatList,
    name: RevisionName,
    /// `None` when the addresses equal those of the last revision.
    change: Option<ChangedList>,
}

struct ChangedList {
    snapshot: StoredFile,
    /// From the last revision, if that is still available.
    delta: Option<StoredFile>,
    added: u64,
    removed: u64,
}

fn compile_blocking(
    threats: &Threats,
    sources: &Sources,
    protected: Vec<Protected>,
    latest: Option<&StoredRevision>,
    now: Timestamp,
) -> Result<Compiled, ListError> {
    let started = Instant::now();
    let feeds = sources.feeds.iter().map(|source| {
        let listing = listing(threats, source)?.in_force(now.unix());
        Ok(Feed { id: source.name.clone(), least: source.least, listing })
    });
    let feeds = feeds.collect::<Result<Vec<_>, ListError>>()?;
    let used = sources.feeds.iter().filter_map(|feed| feed.listing.parse().ok()).collect();
    threats.listings.keep_decoded(&used);
    let exceptions = sources.exceptions.iter();
    let exceptions =
        exceptions.map(|one| Exception { name: one.name.clone(), prefix: one.prefix }).collect();
    let list = Compiler { feeds, exceptions, protected }.compile();
    let set = list.set();
    let (digest, entries) = (set.digest(), set.len() as u64);
    let name = RevisionName { revision: 0, digest, entries };
    metrics::histogram!("xshield_threat_compile_seconds").record(started.elapsed().as_secs_f64());
    if latest.is_some_and(|latest| latest.digest == digest) {
        return Ok(Compiled { list, name, change: None });
    }
    let before = match latest {
        Some(latest) => threats.paths.set(latest.digest)?,
        None => Some(Arc::new(ThreatSet::empty())),
    };
    let put = |base, bytes: Vec<u8>| -> Result<StoredFile, FileError> {
        let name = threats.files.put(&bytes)?;
        let bytes = bytes.len() as u64;
        Ok(StoredFile { name, base, target: digest, bytes, created_at: now })
    };
    let snapshot = put(None, codec::snapshot(set))?;
    let (mut delta, mut added, mut removed) = (None, entries, 0);
    if let Some(before) = before {
        (added, removed) = differences(&before, set);
        if let Some(latest) = latest {
            delta = Some(put(Some(latest.digest), codec::delta(&before, set))?);
        }
    }
    Ok(Compiled { list, name, change: Some(ChangedList { snapshot, delta, added, removed }) })
}

/// Added and removed prefixes, in normal form.
#[must_use]
pub fn differences(before: &ThreatSet, after: &ThreatSet) -> (u64, u64) {
    (after.difference(before).len() as u64, before.difference(after).len() as u64)
}

fn listing(threats: &Threats, source: &SourceFeed) -> Result<Arc<Listing>, ListError> {
    let damaged = || ListError::Listing { feed: source.name.clone() };
    let name: FileName = source.listing.parse().map_err(|_| damaged())?;
    threats.listings.load(name).ok_or_else(damaged)
}

async fn add_revision(
    threats: &Threats,
    name: RevisionName,
    change: ChangedList,
    reason: String,
    sources: Sources,
    now: Timestamp,
) -> Result<RevisionName, ListError> {
    let ChangedList { snapshot, delta, added, removed } = change;
    let mut tx = threats.store.write().await?;
    let last = threat_lists::latest(&mut tx).await?.map_or(0, |latest| latest.revision);
    let name = RevisionName { revision: last + 1, ..name };
    for file in delta.iter().chain([&snapshot]) {
        threat_lists::put_file(&mut tx, file).await?;
    }
    let revision = StoredRevision {
        revision: name.revision,
        digest: name.digest,
        entries: name.entries,
        added,
        removed,
        reason,
        created_at: now,
        sources,
    };
    threat_lists::insert_revision(&mut tx, &revision).await?;
    commit(tx).await?;
    threats.paths.add(delta.into_iter().chain([snapshot]));
    tracing::info!(
        revision = name.revision,
        entries = name.entries,
        added,
        removed,
        "a new threat list"
    );
    Ok(name)
}

/// Why the list differs from the previous one, as far as its sources show.
fn reason(inputs: &Inputs, now: &Sources) -> String {
    if let Some(pinned) = &inputs.pinned {
        return format!("restored from revision {}", pinned.revision);
    }
    let before = inputs.latest.as_ref().map(|latest| latest.sources.clone()).unwrap_or_default();
    let in_both = |feed: &&SourceFeed| !before.feeds.contains(feed);
    let mut changes: Vec<String> =
        now.feeds.iter().filter(in_both).map(|feed| format!("feed {}", feed.name)).collect();
    let gone = before.feeds.iter().filter(|feed| now.feeds.iter().all(|now| now.name != feed.name));
    changes.extend(gone.map(|feed| format!("feed {} left", feed.name)));
    if before.exceptions != now.exceptions {
        changes.push("exceptions".to_owned());
    }
    if changes.is_empty() {
        return "protected ranges or expired entries".to_owned();
    }
    changes.join(", ")
}
