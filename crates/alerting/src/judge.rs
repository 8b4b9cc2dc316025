//! Evaluates the alert rules: matches as they arrive, and the platform's own state every few seconds. The
//! result for a match, and that it was evaluated, are written in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use xshield_model::Timestamp;
use xshield_model::alert::{Alert, AlertKind, EventView, Severity};
use xshield_model::alert_memory::{Counts, Decision, Memory};
use xshield_model::alert_rule::{AlertRule, Condition, Delivery, RuleState};
use xshield_policy::AssetId;
use xshield_policy::inventory::Asset;
use xshield_store::alerts::StoredRule;
use xshield_store::threat_events::UnevaluatedMatch;
use xshield_store::threat_feeds::StoredFeed;
use xshield_store::{
    Store, StoreResult, Tx, alerts, assets, commit, deliveries, threat_events, threat_feeds,
};

use crate::matches;
use crate::rule::{concerns, subject_of, weight};
use crate::wake::Wake;

/// The interval between two checks of the platform's own state; also after errors.
const EVERY: Duration = Duration::from_secs(15);
/// Matches evaluated in one transaction.
const BATCH: u32 = 500;
/// The maximum number of alerts of a rule per hour; further ones are withheld and counted.
const MOST_AN_HOUR: u64 = 1000;
/// The key of a rule's own state.
const ITSELF: &str = "";

/// Evaluates the alert rules.
#[derive(Debug, Clone)]
pub struct Judge {
    /// Rules, matches and the resulting alerts.
    pub store: Store,
    /// Wakes this job, and is used to wake delivery.
    pub wake: Arc<Wake>,
    /// Maximum number of flows with listed peers kept per asset.
    pub keep: i64,
}

/// Runs until the platform shuts down.
pub async fn run(judge: Judge) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = judge.wake.unevaluated.notified() => {}
            _ = tick.tick() => {
                if let Err(error) = alarms(&judge).await {
                    tracing::error!(%error, "could not evaluate the alert rules about the platform");
                }
            }
        }
        loop {
            match judged(&judge).await {
                Ok(Remaining::More) => {}
                Ok(Remaining::Nothing) => break,
                Err(error) => {
                    tracing::error!(%error, "could not evaluate matches; they stay in the queue");
                    break;
                }
            }
        }
    }
}

/// Whether there is more to evaluate.
#[derive(Debug, PartialEq, Eq)]
enum Remaining {
    More,
    Nothing,
}

async fn judged(judge: &Judge) -> StoreResult<Remaining> {
    if threat_events::unevaluated(&mut *judge.store.read().await?, 1).await?.1.is_none() {
        return Ok(Remaining::Nothing);
    }
    let mut tx = judge.store.write().await?;
    let (unevaluated, last) = threat_events::unevaluated(&mut tx, BATCH).await?;
    let Some(last) = last else { return Ok(Remaining::Nothing) };
    let mut round = Round::begin(&mut tx).await?;
    round.rules.retain(|stored| stored.rule.when.is_about_matches());
    let inventory = if round.rules.iter().any(|stored| stored.rule.criteria.is_some()) {
        assets::inventory(&mut tx).await?.assets
    } else {
        Vec::new()
    };
    let inventory: HashMap<AssetId, Asset> =
        inventory.into_iter().map(|asset| (asset.id.clone(), asset)).collect();
    for one in &unevaluated {
        for stored in std::mem::take(&mut round.rules) {
            if concerns(&stored.rule, one, inventory.get(&one.flow.asset_id)) {
                round.consider(&mut tx, &stored, one).await?;
            }
            round.kept.push(stored);
        }
        round.rules = std::mem::take(&mut round.kept);
    }
    round.end(&mut tx).await?;
    threat_events::looked_at(&mut tx, last).await?;
    // What was in the queue could not be pruned before.
    let assets: BTreeSet<&AssetId> = unevaluated.iter().map(|one| &one.flow.asset_id).collect();
    for asset in assets {
        matches::make_room(judge.keep, &mut tx, asset).await?;
    }
    commit(tx).await?;
    judge.wake.due.notify_one();
    Ok(Remaining::More)
}

/// What one transaction reads and changes.
struct Round {
    rules: Vec<StoredRule>,
    kept: Vec<StoredRule>,
    channels: BTreeMap<String, String>,
    memories: HashMap<(String, String), Memory>,
    now: Timestamp,
}

impl Round {
    async fn begin(tx: &mut Tx) -> StoreResult<Self> {
        let mut rules = alerts::rules(tx).await?;
        rules.retain(|stored| stored.rule.state == RuleState::Enabled);
        let channels = deliveries::channels(tx).await?;
        Ok(Self {
            rules,
            kept: Vec::new(),
            channels: channels.into_iter().map(|channel| (channel.name, channel.id)).collect(),
            memories: HashMap::new(),
            now: Timestamp::now(),
        })
    }

    async fn end(self, tx: &mut Tx) -> StoreResult<()> {
        for ((rule, subject), memory) in &self.memories {
            alerts::remember(tx, rule, subject, memory, self.now).await?;
        }
        Ok(())
    }

    async fn memory(&mut self, tx: &mut Tx, rule: &str, subject: &str) -> StoreResult<&mut Memory> {
        let key = (rule.to_owned(), subject.to_owned());
        if !self.memories.contains_key(&key) {
            let memory = alerts::memory(tx, rule, subject).await?;
            self.memories.insert(key.clone(), memory);
        }
        Ok(self.memories.entry(key).or_default())
    }

    async fn consider(
        &mut self,
        tx: &mut Tx,
        stored: &StoredRule,
        unevaluated: &UnevaluatedMatch,
    ) -> StoreResult<()> {
        let (rule, now) = (&stored.rule, self.now);
        let subject = subject_of(rule, unevaluated);
        let memory = self.memory(tx, &stored.name, &subject).await?;
        let mut counted = None;
        if let Condition::Threshold { at_least, window_seconds, .. } = rule.when {
            let sum = memory.counts.add(weight(rule.when, unevaluated), window_seconds, now);
            if sum < at_least {
                return Ok(());
            }
            counted = Some(sum);
        }
        let Decision::Tell { withheld } = memory.decide(rule.throttle_seconds, now) else {
            return Ok(());
        };
        memory.counts.clear();
        if self.is_over_the_hour(tx, &stored.name).await? {
            let memory = self.memory(tx, &stored.name, &subject).await?;
            memory.withheld = withheld.saturating_add(1);
            return Ok(());
        }
        let event = EventView::from(unevaluated.flow.clone());
        let mut summary = event.summary();
        if let (Some(counted), Condition::Threshold { window_seconds, .. }) = (counted, rule.when) {
            summary.push_str(&format!("; {counted} counted within {window_seconds} s"));
        }
        let alert = Alert {
            name: event.name.clone(),
            kind: AlertKind::ThreatMatch,
            severity: event.severity(),
            rule: stored.name.clone(),
            at: now,
            summary,
            withheld,
            counted,
            event: Some(event),
        };
        self.notify(tx, rule, &alert, &subject).await
    }

    async fn is_over_the_hour(&mut self, tx: &mut Tx, rule: &str) -> StoreResult<bool> {
        let now = self.now;
        let itself = self.memory(tx, rule, ITSELF).await?;
        if itself.counts.add(0, 3600, now) >= MOST_AN_HOUR {
            metrics::counter!("xshield_alerts_withheld_total").increment(1);
            return Ok(true);
        }
        itself.counts.add(1, 3600, now);
        Ok(false)
    }

    async fn notify(
        &mut self,
        tx: &mut Tx,
        rule: &AlertRule,
        alert: &Alert,
        subject: &str,
    ) -> StoreResult<()> {
        let id = alerts::insert(tx, alert, subject).await?;
        metrics::counter!("xshield_alerts_total", "kind" => alert.kind.as_str()).increment(1);
        for channel in &rule.channels {
            match self.channels.get(channel) {
                Some(channel) => {
                    deliveries::notify(tx, channel, id, due(rule.delivery, self.now)).await?;
                }
                None => tracing::error!(
                    channel,
                    alert.rule,
                    "an alert rule refers to a missing channel"
                ),
            }
        }
        Ok(())
    }
}

/// When an alert raised now is due. Digests of one interval are due together.
fn due(delivery: Delivery, now: Timestamp) -> Timestamp {
    match delivery {
        Delivery::Immediate => now,
        Delivery::Digest { every_seconds } => {
            let every = i64::from(every_seconds.max(1));
            Timestamp(now.0 - now.0.rem_euclid(every)).plus(every)
        }
    }
}

/// A condition of the platform itself.
struct Alarm {
    kind: AlertKind,
    name: &'static str,
    /// A feed or an asset.
    subject: String,
    summary: String,
    /// An alert is raised again when this changes.
    mark: u64,
}

async fn alarms(judge: &Judge) -> StoreResult<()> {
    let wanted = |stored: &StoredRule| {
        stored.rule.state == RuleState::Enabled && !stored.rule.when.is_about_matches()
    };
    if !alerts::rules(&mut *judge.store.read().await?).await?.iter().any(wanted) {
        return Ok(());
    }
    let mut tx = judge.store.write().await?;
    let mut round = Round::begin(&mut tx).await?;
    for stored in std::mem::take(&mut round.rules) {
        let found = match stored.rule.when {
            Condition::RecorderLosses => losses(&mut tx, stored.created_at).await?,
            Condition::FeedStale => stale_feeds(&mut tx, round.now).await?,
            Condition::FeedHeld => held_feeds(&mut tx).await?,
            Condition::AnyMatch | Condition::FirstTime { .. } | Condition::Threshold { .. } => {
                continue;
            }
        };
        for alarm in found {
            round.raise(&mut tx, &stored, alarm).await?;
        }
    }
    round.end(&mut tx).await?;
    commit(tx).await?;
    judge.wake.due.notify_one();
    Ok(())
}

/// Hosts that lost matches since the rule was written.
async fn losses(tx: &mut Tx, since: Timestamp) -> StoreResult<Vec<Alarm>> {
    let found = threat_events::losses(tx, since).await?;
    let alarm = |loss: threat_events::Loss| Alarm {
        kind: AlertKind::RecorderLosses,
        name: "Threat matches not recorded",
        summary: format!(
            "{}: {} packets of listed peers could not be recorded so far; the recorder is full \
             or the host too busy",
            loss.asset, loss.lost
        ),
        subject: loss.asset,
        mark: loss.lost,
    };
    Ok(found.into_iter().map(alarm).collect())
}

/// Feeds whose last fetch is too old; raised again after each successful run that becomes too old.
async fn stale_feeds(tx: &mut Tx, now: Timestamp) -> StoreResult<Vec<Alarm>> {
    let mut feeds = threat_feeds::all(tx).await?;
    feeds.retain(|feed| feed.is_stale(now));
    let alarm = |feed: StoredFeed| {
        let last = feed.last_success;
        let told =
            last.map_or_else(|| "never".to_owned(), |at| format!("last at {}", at.to_rfc3339()));
        Alarm {
            kind: AlertKind::FeedStale,
            name: "Threat feed is stale",
            summary: format!(
                "Threat feed {} has not been fetched for too long ({told}); its entries may be \
                 out of date. See 'xshield threat feed show {}'",
                feed.id, feed.id
            ),
            subject: feed.id.to_string(),
            mark: last.unwrap_or(feed.created_at).unix(),
        }
    };
    Ok(feeds.into_iter().map(alarm).collect())
}

/// Feeds with a held listing; raised once for each such listing.
async fn held_feeds(tx: &mut Tx) -> StoreResult<Vec<Alarm>> {
    let alarm = |feed: StoredFeed| {
        let held = feed.state.held?;
        Some(Alarm {
            kind: AlertKind::FeedHeld,
            name: "Threat feed listing held",
            summary: format!(
                "A listing of threat feed {} is held for an operator's decision, the previous \
                 one stays in force: {}",
                feed.id,
                held.reasons.join("; ")
            ),
            subject: feed.id.to_string(),
            mark: held.at.unix(),
        })
    };
    Ok(threat_feeds::all(tx).await?.into_iter().filter_map(alarm).collect())
}

impl Round {
    async fn raise(&mut self, tx: &mut Tx, stored: &StoredRule, alarm: Alarm) -> StoreResult<()> {
        let now = self.now;
        let memory = self.memory(tx, &stored.name, &alarm.subject).await?;
        if memory.counts.marked() == Some(alarm.mark) {
            return Ok(());
        }
        let Decision::Tell { .. } = memory.decide(stored.rule.throttle_seconds, now) else {
            // No alert was raised: it is evaluated again, so it is not withheld permanently.
            memory.withheld = 0;
            return Ok(());
        };
        memory.counts = Counts::mark(alarm.mark);
        let alert = Alert {
            name: alarm.name.to_owned(),
            kind: alarm.kind,
            severity: Severity::Medium,
            rule: stored.name.clone(),
            at: now,
            summary: alarm.summary,
            withheld: 0,
            counted: None,
            event: None,
        };
        self.notify(tx, &stored.rule, &alert, &alarm.subject).await
    }
}
