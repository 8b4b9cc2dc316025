//! The state of a host's program, for operators.

use xshield_api::assets::{Activity, Spark};
use xshield_model::Timestamp;
use xshield_store::assets::{ACTIVE_FOR, MISSED_LATE, StoredAsset, missed};
use xshield_wire::message::Status;

/// According to the asset's last check-in. `compile_failure`: why its ruleset could not be compiled.
#[must_use]
pub fn spark_of(asset: &StoredAsset, compile_failure: Option<String>, now: Timestamp) -> Spark {
    let missed = missed_of(asset, now);
    let (activity, inactive_since) = activity(asset, missed, now);
    Spark {
        activity: activity.into(),
        inactive_since,
        interval: asset.interval,
        missed: missed.and_then(|missed| u64::try_from(missed).ok()),
        routes: asset.routes.clone(),
        usage: asset.usage,
        last_check_in: asset.last_check_in,
        version: asset.program_version.clone(),
        status: asset.status.clone().into(),
        in_force: asset.in_force,
        wanted: asset.wanted,
        up_to_date: asset.wanted == asset.in_force,
        nothing_enforced: nothing_enforced(asset, compile_failure.as_deref()),
        compile_failure,
        refused: asset.refused.clone(),
        problems: asset.problems.clone(),
    }
}

/// Why the host is refused, or nothing is enforced, or else what failed on the host.
#[must_use]
pub fn trouble(spark: &Spark) -> Option<String> {
    if let Some(refusal) = &spark.refused {
        return Some(refusal.detail.clone());
    }
    let reported = match spark.status.known() {
        Some(Status::Failed { reason } | Status::Blocked { by: reason }) => Some(reason.clone()),
        Some(Status::Enforcing | Status::NoPolicy) | None => None,
    };
    reported.or_else(|| spark.nothing_enforced.clone()).or_else(|| spark.compile_failure.clone())
}

/// Check-ins that a resident agent has missed.
fn missed_of(asset: &StoredAsset, now: Timestamp) -> Option<i64> {
    Some(missed(asset.last_check_in?, asset.interval?, now))
}

/// Whether the program runs, and since when it does not.
fn activity(
    asset: &StoredAsset,
    missed: Option<i64>,
    now: Timestamp,
) -> (Activity, Option<Timestamp>) {
    if asset.decommissioned_at.is_some() {
        return (Activity::Decommissioned, asset.decommissioned_at);
    }
    let Some(last) = asset.last_check_in else { return (Activity::Never, None) };
    match missed {
        Some(0) => (Activity::Online, None),
        Some(1..=MISSED_LATE) => (Activity::Late, None),
        Some(_) => {
            let due = last.plus(i64::from(asset.interval.unwrap_or(0)));
            (Activity::Offline, Some(due))
        }
        None if last.plus(ACTIVE_FOR) >= now => (Activity::Active, None),
        None => (Activity::Inactive, Some(last.plus(ACTIVE_FOR))),
    }
}

fn nothing_enforced(asset: &StoredAsset, compile_failure: Option<&str>) -> Option<String> {
    if asset.last_check_in.is_none() {
        return Some("the host has registered but not checked in yet".to_owned());
    }
    match &asset.status {
        Status::Enforcing => None,
        Status::NoPolicy if asset.wanted.is_none() => Some(match compile_failure {
            Some(failure) => format!("its ruleset can't be compiled: {failure}"),
            None => "no policy is committed yet".to_owned(),
        }),
        Status::NoPolicy => Some("the host has not fetched its ruleset yet".to_owned()),
        Status::Blocked { by } => Some(format!("blocked: {by}")),
        // With an older ruleset in force, something is still enforced.
        Status::Failed { reason } if asset.in_force.is_none() => Some(reason.clone()),
        Status::Failed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_policy::Revision;
    use xshield_policy::inventory::Source;
    use xshield_wire::Bytes;
    use xshield_wire::message::InForce;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn held(digest: u8) -> Option<InForce> {
        Some(InForce { revision: Revision(1), digest: Bytes([digest; 32]) })
    }

    fn asset(
        checked_in_ago: Option<i64>,
        status: Status,
        in_force: Option<InForce>,
        wanted: Option<InForce>,
    ) -> StoredAsset {
        StoredAsset {
            id: "as-1".parse().unwrap(),
            name: "h".parse().unwrap(),
            source: Source::Spark,
            identity: Bytes([0; 32]),
            pending: None,
            os: String::new(),
            kernel: String::new(),
            addresses: Vec::new(),
            program_version: "0.1.0".to_owned(),
            sequence: 1,
            status,
            in_force,
            wanted,
            problems: Vec::new(),
            events_lost: 0,
            created_at: NOW.plus(-10_000),
            last_check_in: checked_in_ago.map(|ago| NOW.plus(-ago)),
            interval: None,
            routes: Vec::new(),
            usage: None,
            decommissioned_at: None,
            refused: None,
        }
    }

    #[test]
    fn a_host_is_active_for_five_minutes_and_then_inactive() {
        for (ago, activity, since) in [
            (None, Activity::Never, None),
            (Some(0), Activity::Active, None),
            (Some(300), Activity::Active, None),
            (Some(301), Activity::Inactive, Some(NOW.plus(-1))),
            (Some(9000), Activity::Inactive, Some(NOW.plus(-8700))),
        ] {
            let spark = spark_of(&asset(ago, Status::Enforcing, held(1), held(1)), None, NOW);
            assert_eq!(spark.activity, activity, "{ago:?}");
            assert_eq!(spark.inactive_since, since, "{ago:?}");
        }
    }

    #[test]
    fn agents_are_measured_by_their_announced_interval() {
        for (ago, missed, activity) in [
            (0, 0, Activity::Online),
            (180, 0, Activity::Online),
            (181, 1, Activity::Late),
            (300, 1, Activity::Late),
            (301, 2, Activity::Late),
            (420, 2, Activity::Late),
            (421, 3, Activity::Offline),
            (90_000, 749, Activity::Offline),
            (-500, 0, Activity::Online),
        ] {
            let mut agent = asset(Some(ago), Status::Enforcing, held(1), held(1));
            agent.interval = Some(120);
            let stands = spark_of(&agent, None, NOW);
            assert_eq!(stands.missed, Some(missed), "{ago} s ago");
            assert_eq!(stands.activity, activity, "{ago} s ago");
            agent.decommissioned_at = Some(NOW);
            assert_eq!(spark_of(&agent, None, NOW).activity, Activity::Decommissioned);
        }
    }

    #[test]
    fn a_host_that_enforces_nothing_has_a_reason() {
        let failed = || Status::Failed { reason: "no nf_tables".to_owned() };
        let blocked = || Status::Blocked { by: "firewalld".to_owned() };
        let ran = Some(1);
        for (asset, up_to_date, reason) in [
            (asset(None, Status::NoPolicy, None, None), true, "the host has registered"),
            (asset(ran, Status::NoPolicy, None, None), true, "no policy is committed"),
            (asset(ran, Status::NoPolicy, None, held(1)), false, "the host has not fetched"),
            (asset(ran, blocked(), None, held(1)), false, "blocked: firewalld"),
            (asset(ran, failed(), None, held(1)), false, "no nf_tables"),
            (asset(ran, failed(), held(1), held(2)), false, ""),
            (asset(ran, Status::Enforcing, held(1), held(2)), false, ""),
            (asset(ran, Status::Enforcing, held(1), held(1)), true, ""),
        ] {
            let spark = spark_of(&asset, None, NOW);
            assert_eq!(spark.up_to_date, up_to_date, "{:?}", asset.status);
            let told = spark.nothing_enforced.unwrap_or_default();
            assert_eq!(told.is_empty(), reason.is_empty(), "{told}");
            assert!(told.starts_with(reason), "{told}");
        }
        let uncompiled = asset(ran, Status::NoPolicy, None, None);
        let spark = spark_of(&uncompiled, Some("rule a/b would cut".to_owned()), NOW);
        let told = spark.nothing_enforced.unwrap();
        assert!(told.contains("rule a/b would cut"), "{told}");
    }
}
