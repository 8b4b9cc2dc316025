//! Effects of operations: open polls are answered, jobs check again.

use std::sync::Arc;
use std::time::Duration;

use xshield_alerting::deliver::Delivery;
use xshield_alerting::{Wake, channel, deliver, matches};
use xshield_intelligence::Threats;
use xshield_intelligence::judge::content_name;
use xshield_intelligence::list::reload_rules;
use xshield_intelligence::run::Feeds;
use xshield_model::Timestamp;
use xshield_model::alert_rule::RuleError;
use xshield_model::channel::ChannelSettings;
use xshield_model::file_name::FileName;
use xshield_model::secrets::Secrets as _;
use xshield_operations::channels::ChannelEngine;
use xshield_operations::error::Doing as _;
use xshield_operations::host_configuration::HostConfigurator;
use xshield_operations::threat::{InForce, MatchQueue, ThreatEngine, ThreatLists};
use xshield_operations::{OperationError, Result, Signals};
use xshield_policy::AssetId;
use xshield_store::Tx;
use xshield_store::deliveries::{StoredChannel, StoredDelivery};
use xshield_store::threat_events::ThreatEvent;
use xshield_threat::{Digest, FeedId, ThreatList, ThreatSet};

use crate::held_polls::HeldPolls;
use crate::jobs::host_configuration::HostConfigurations;
use crate::keys::Keys;
use crate::settings::Settings;

/// How long a response waits for the end of a feed's run.
const WAIT_FOR_RUN: Duration = Duration::from_secs(60);

/// Effects on hosts: held polls are answered, settings and lists are computed again.
#[derive(Debug, Clone)]
pub(crate) struct HostEffects {
    pub(crate) held_polls: Arc<HeldPolls>,
    pub(crate) configuring: Arc<HostConfigurations>,
    pub(crate) threat: Arc<Threats>,
}

/// Feeds, the list compiled from them, and the queue of matches.
#[derive(Debug, Clone)]
pub(crate) struct ThreatService {
    pub(crate) threat: Arc<Threats>,
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) alerts: Arc<Wake>,
}

/// Notification channels: checked, sealed, tried.
#[derive(Debug, Clone)]
pub(crate) struct ChannelService {
    pub(crate) keys: Arc<Keys>,
    pub(crate) delivery: Delivery,
    pub(crate) alerts: Arc<Wake>,
}

impl Signals for HostEffects {
    fn wake_host(&self, asset: &AssetId) {
        self.held_polls.wake(asset);
    }

    fn policy_committed(&self) {
        self.configuring.changed();
        self.threat.changed();
    }
}

impl HostConfigurator for HostEffects {
    async fn refresh(&self) -> Result<()> {
        Ok(self.configuring.refresh().await?)
    }
}

impl ThreatEngine for ThreatService {
    async fn compile(&self) {
        // Errors are shown with the list.
        drop(self.threat.compile().await);
    }

    async fn modes_changed(&self) -> Result<()> {
        reload_rules(&self.threat).await?;
        self.threat.tell_hosts();
        Ok(())
    }

    fn tell_hosts(&self) {
        self.threat.tell_hosts();
    }

    fn schedule_changed(&self) {
        self.threat.wake.schedule.notify_one();
    }

    fn is_running(&self, feed: &FeedId) -> bool {
        self.threat.is_running(feed)
    }

    async fn run(&self, feed: &FeedId) {
        if let Some(running) = self.feeds.begin_run(feed) {
            tokio::spawn(running.finish());
        }
        drop(tokio::time::timeout(WAIT_FOR_RUN, ended(&self.threat, feed)).await);
    }

    async fn content_name(&self, file: FileName) -> Result<Option<String>> {
        let listings = self.threat.listings.clone();
        let read = move || listings.load(file).map(|listing| content_name(&listing));
        tokio::task::spawn_blocking(read).await.doing("read a stored listing")
    }

    fn seal(&self, feed: &FeedId, secret: &str) -> Result<String> {
        if axum::http::HeaderValue::from_str(secret).is_err() || secret.is_empty() {
            return Err(OperationError::invalid("/secret", "a header can't hold this value"));
        }
        self.feeds.seal(feed, secret).doing("seal a feed's secret")
    }
}

impl ThreatLists for ThreatService {
    fn list(&self) -> Arc<ThreatList> {
        self.threat.list()
    }

    fn in_force(&self) -> Option<InForce> {
        let name = self.threat.current().revision?;
        Some(InForce { revision: name.revision, entries: name.entries })
    }

    fn trouble(&self) -> Option<String> {
        self.threat.trouble()
    }

    async fn kernel_bytes(&self) -> Result<u64> {
        let current = self.threat.current();
        let measured = tokio::task::spawn_blocking(move || current.whole_bytes()).await;
        measured.doing("measure the threat list")
    }

    async fn addresses(&self, digest: Digest) -> Result<Option<Arc<ThreatSet>>> {
        const READ: &str = "read a stored threat list";
        let paths = self.threat.paths.clone();
        tokio::task::spawn_blocking(move || paths.set(digest)).await.doing(READ)?.doing(READ)
    }
}

impl MatchQueue for ThreatService {
    async fn add(
        &self,
        tx: &mut Tx,
        asset: &AssetId,
        added: Vec<ThreatEvent>,
        now: Timestamp,
    ) -> Result<()> {
        let keep = self.settings.threat_flows_per_asset;
        Ok(matches::take(keep, tx, asset, added.into_iter(), now).await?)
    }

    fn added(&self) {
        self.alerts.unevaluated.notify_one();
    }
}

impl ChannelEngine for ChannelService {
    fn check(&self, settings: &ChannelSettings) -> std::result::Result<(), RuleError> {
        channel::check(settings)
    }

    fn seal(&self, channel: &str, secret: &[u8]) -> Result<String> {
        let name = deliver::sealed_for(channel);
        self.keys.seal.seal(&name, secret).doing("seal a channel's secret")
    }

    async fn send_test(&self, channel: &StoredChannel) -> Result<StoredDelivery> {
        Ok(deliver::test(&self.delivery, channel).await?)
    }

    fn channels_changed(&self) {
        self.alerts.due.notify_one();
    }
}

/// Completes when no run of the feed is in progress.
async fn ended(threats: &Threats, feed: &FeedId) {
    loop {
        let next = threats.wake.ended.notified();
        tokio::pin!(next);
        // From here on no end is missed.
        next.as_mut().enable();
        if !threats.is_running(feed) {
            return;
        }
        next.await;
    }
}
