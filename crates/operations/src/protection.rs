//! Whether an asset is protected, in the same words everywhere: what the committed policy closes on it, and
//! whether its host reports that this is in its kernel.

use xshield_api::assets::{Activity, Protected, Protection, Spark};
use xshield_model::asset_filter::AssetStanding;
use xshield_policy::compile::{Bite, PolicyStanding};
use xshield_store::StoreResult;
use xshield_store::assets::AssetFilter;
use xshield_wire::message::Status;

use crate::compiler::RulesetCompiler;

/// The protection of an asset. `standing`: its state in the committed policy, if there is one.
#[must_use]
pub fn of(standing: Option<&PolicyStanding>, spark: &Spark) -> Protection {
    let (state, reason) = judged(standing, spark);
    let segments = standing.map(|standing| &standing.segments);
    Protection {
        state: state.into(),
        words: in_words(state, reason.as_deref()),
        reason,
        segments: segments.into_iter().flatten().map(ToString::to_string).collect(),
        inbound: standing.map(|standing| standing.inbound.to_string()),
        outbound: standing.map(|standing| standing.outbound.to_string()),
    }
}

fn in_words(state: Protected, reason: Option<&str>) -> String {
    match (state, reason) {
        (Protected::Enforced, _) => "enforcing".to_owned(),
        (Protected::LastKnown, None) => "enforcing when last seen".to_owned(),
        (Protected::LastKnown, Some(reason)) => {
            format!("failed: {reason}; the previous ruleset stays in force")
        }
        (Protected::TestOnly | Protected::No, Some(reason)) => format!("not protected: {reason}"),
        (Protected::TestOnly | Protected::No, None) => "not protected".to_owned(),
    }
}

fn judged(standing: Option<&PolicyStanding>, spark: &Spark) -> (Protected, Option<String>) {
    let no = |reason: &str| (Protected::No, Some(reason.to_owned()));
    if spark.activity == Activity::Decommissioned {
        return no("it is out of service");
    }
    if let Some(reason) = &spark.nothing_enforced {
        return no(reason);
    }
    let Some(standing) = standing else { return no("no policy is committed yet") };
    match standing.bite {
        Bite::Nothing if standing.segments.is_empty() && !standing.has_document => {
            no("it is in no segment")
        }
        Bite::Nothing => no("its levels are unsecured"),
        Bite::Test => (Protected::TestOnly, Some("everything is in mode test".to_owned())),
        Bite::Enforce => match (spark.activity.known(), spark.status.known(), &spark.refused) {
            (Some(Activity::Offline | Activity::Inactive | Activity::Never), ..)
            | (.., Some(_)) => (Protected::LastKnown, None),
            (_, Some(Status::Failed { reason }), None) => {
                (Protected::LastKnown, Some(reason.clone()))
            }
            _ => (Protected::Enforced, None),
        },
    }
}

/// Fills in what a filter for unprotected assets needs to know about the policy.
///
/// # Errors
/// When the database fails.
pub async fn fill_in(compiler: &RulesetCompiler, filter: &mut AssetFilter) -> StoreResult<()> {
    if filter.standing == Some(AssetStanding::Unprotected) {
        filter.open = compiler.not_enforced().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xshield_policy::{Closed, InboundLevel, Level, OutboundLevel};

    use super::*;

    fn standing(segments: &[&str], bite: Bite) -> PolicyStanding {
        let level = match bite {
            Bite::Nothing => InboundLevel::Unsecured,
            Bite::Test | Bite::Enforce => InboundLevel::SecureAllPorts,
        };
        let enforced = if bite == Bite::Enforce { level } else { InboundLevel::Unsecured };
        PolicyStanding {
            segments: segments.iter().map(|name| name.parse().unwrap()).collect(),
            has_document: false,
            inbound: Closed { enforced: Level::Inbound(enforced), tested: Level::Inbound(level) },
            outbound: Closed {
                enforced: Level::Outbound(OutboundLevel::Unsecured),
                tested: Level::Outbound(OutboundLevel::Unsecured),
            },
            bite,
        }
    }

    fn spark(activity: Activity, nothing_enforced: Option<&str>) -> Spark {
        Spark {
            activity: activity.into(),
            inactive_since: None,
            interval: None,
            missed: None,
            routes: Vec::new(),
            usage: None,
            last_check_in: None,
            version: String::new(),
            status: Status::Enforcing.into(),
            in_force: None,
            wanted: None,
            up_to_date: true,
            compile_failure: None,
            nothing_enforced: nothing_enforced.map(str::to_owned),
            refused: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn an_asset_is_protected_or_the_reason_is_given() {
        use Activity::{Active, Decommissioned, Inactive, Late, Offline, Online};
        let web = || Some(standing(&["web"], Bite::Enforce));
        for (policy, activity, nothing, words) in [
            (web(), Active, None, "enforcing"),
            (web(), Online, None, "enforcing"),
            (web(), Late, None, "enforcing"),
            (web(), Inactive, None, "enforcing when last seen"),
            (web(), Offline, None, "enforcing when last seen"),
            (web(), Decommissioned, None, "not protected: it is out of service"),
            (web(), Active, Some("blocked: firewalld"), "not protected: blocked: firewalld"),
            (None, Active, None, "not protected: no policy is committed yet"),
            (
                Some(standing(&[], Bite::Nothing)),
                Active,
                None,
                "not protected: it is in no segment",
            ),
            (
                Some(standing(&["web"], Bite::Nothing)),
                Active,
                None,
                "not protected: its levels are unsecured",
            ),
            (
                Some(standing(&["web"], Bite::Test)),
                Active,
                None,
                "not protected: everything is in mode test",
            ),
        ] {
            let protection = of(policy.as_ref(), &spark(activity, nothing));
            assert_eq!(protection.words, words, "{activity:?}");
        }
        let tested = standing(&["web", "all"], Bite::Test);
        let protection = of(Some(&tested), &spark(Active, None));
        assert_eq!(protection.segments, ["web", "all"]);
        assert_eq!(protection.inbound.as_deref(), Some("secure-all-ports (test)"));
        assert_eq!(protection.outbound.as_deref(), Some("unsecured"));
    }
}
