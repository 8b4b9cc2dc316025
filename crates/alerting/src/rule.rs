//! Which matches an alert rule applies to, and the key of its state for each.

use xshield_model::alert_rule::{AlertRule, Condition, Counted, Per, Scope};
use xshield_model::threat_match::ViaProxy;
use xshield_policy::inventory::Asset;
use xshield_store::threat_events::{Novelty, UnevaluatedMatch};
use xshield_threat::FeedId;

/// Whether the rule applies to this match.
#[must_use]
pub fn concerns(rule: &AlertRule, unevaluated: &UnevaluatedMatch, asset: Option<&Asset>) -> bool {
    let event = &unevaluated.flow.event;
    let intelligence = &event.intelligence;
    let listed = |feed: &FeedId| intelligence.feeds.iter().any(|by| by.feed == *feed);
    may_hold(rule.when, unevaluated)
        && rule.action.is_none_or(|action| action == event.action)
        && rule.direction.is_none_or(|direction| direction == event.direction)
        && intelligence.confidence.is_none_or(|confidence| confidence >= rule.least_confidence)
        && (rule.feeds.is_empty() || rule.feeds.iter().any(listed))
        && match rule.via_proxy {
            None => true,
            Some(ViaProxy::Only) => event.via.is_some(),
            Some(ViaProxy::Never) => event.via.is_none(),
        }
        && rule
            .criteria
            .as_ref()
            .is_none_or(|criteria| asset.is_some_and(|asset| criteria.matches(asset)))
}

/// Whether its condition may hold for this match; thresholds are checked elsewhere.
fn may_hold(condition: Condition, unevaluated: &UnevaluatedMatch) -> bool {
    match condition {
        Condition::AnyMatch => unevaluated.novelty > Novelty::Told,
        Condition::Threshold { .. } => true,
        Condition::FirstTime { scope: Scope::Asset } => unevaluated.novelty > Novelty::Known,
        Condition::FirstTime { scope: Scope::Platform } => {
            unevaluated.novelty == Novelty::NewForPlatform
        }
        Condition::FeedStale | Condition::FeedHeld | Condition::RecorderLosses => false,
    }
}

/// The key of a match for throttling and thresholds.
#[must_use]
pub fn subject_of(rule: &AlertRule, unevaluated: &UnevaluatedMatch) -> String {
    let (asset, remote) = (&unevaluated.flow.asset_id, unevaluated.flow.event.remote);
    match rule.per {
        Per::AssetAndAddress => format!("{asset} {remote}"),
        Per::Asset => asset.to_string(),
        Per::Address => remote.to_string(),
        Per::Rule => "all".to_owned(),
    }
}

/// How much a match counts for a threshold. Live events of agents are counted later.
#[must_use]
pub fn weight(condition: Condition, unevaluated: &UnevaluatedMatch) -> u64 {
    match condition {
        Condition::Threshold { count: Counted::Packets, .. } => unevaluated.packets,
        _ if unevaluated.packets == 0 => 0,
        _ => 1,
    }
}
