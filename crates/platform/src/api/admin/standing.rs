//! How a host's program stands, as an operator wants to know it.

use serde::Serialize;
use xshield_wire::message::{InForce, Problem, Status};

use crate::clock::Timestamp;
use crate::store::assets::{ACTIVE_FOR, StoredAsset};

/// Whether the host's program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Activity {
    /// It ran within the last five minutes.
    Active,
    /// It ran, but longer ago.
    Inactive,
    /// It has not checked in yet.
    Never,
}

/// How the host's program stands.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(super) struct Spark {
    activity: Activity,
    /// Since when it is inactive.
    inactive_since: Option<Timestamp>,
    last_check_in: Option<Timestamp>,
    version: String,
    /// What the host says: `enforcing`, `no-policy`, `blocked` or `failed`.
    #[schema(value_type = Object)]
    status: Status,
    /// The ruleset in the host's kernel.
    #[schema(value_type = Option<Object>)]
    in_force: Option<InForce>,
    /// The ruleset it should have.
    #[schema(value_type = Option<Object>)]
    wanted: Option<InForce>,
    /// Whether they are the same.
    up_to_date: bool,
    /// Why the asset's ruleset could not be compiled after the inventory changed; the one of before
    /// stays wanted.
    compile_failure: Option<String>,
    /// Why nothing is enforced, when that is so.
    nothing_enforced: Option<String>,
    /// What the host wants an operator to know.
    #[schema(value_type = Vec<Object>)]
    problems: Vec<Problem>,
}

impl Spark {
    /// As the asset's last check-in tells it. `compile_failure`: why its ruleset could not be
    /// compiled.
    pub(super) fn of(asset: &StoredAsset, compile_failure: Option<String>, now: Timestamp) -> Self {
        let activity = match asset.last_check_in {
            None => Activity::Never,
            Some(last) if last.plus(ACTIVE_FOR) >= now => Activity::Active,
            Some(_) => Activity::Inactive,
        };
        let inactive_since = asset
            .last_check_in
            .filter(|_| activity == Activity::Inactive)
            .map(|last| last.plus(ACTIVE_FOR));
        Self {
            activity,
            inactive_since,
            last_check_in: asset.last_check_in,
            version: asset.program_version.clone(),
            status: asset.status.clone(),
            in_force: asset.in_force,
            wanted: asset.wanted,
            up_to_date: asset.wanted == asset.in_force,
            nothing_enforced: nothing_enforced(asset, compile_failure.as_deref()),
            compile_failure,
            problems: asset.problems.clone(),
        }
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
        }
    }

    #[test]
    fn active_for_five_minutes_then_inactive_since() {
        for (ago, activity, since) in [
            (None, Activity::Never, None),
            (Some(0), Activity::Active, None),
            (Some(300), Activity::Active, None),
            (Some(301), Activity::Inactive, Some(NOW.plus(-1))),
            (Some(9000), Activity::Inactive, Some(NOW.plus(-8700))),
        ] {
            let spark = Spark::of(&asset(ago, Status::Enforcing, held(1), held(1)), None, NOW);
            assert_eq!((spark.activity, spark.inactive_since), (activity, since), "{ago:?}");
        }
    }

    #[test]
    fn nothing_is_enforced_for_a_reason() {
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
            let spark = Spark::of(&asset, None, NOW);
            assert_eq!(spark.up_to_date, up_to_date, "{:?}", asset.status);
            let told = spark.nothing_enforced.unwrap_or_default();
            assert_eq!(told.is_empty(), reason.is_empty(), "{told}");
            assert!(told.starts_with(reason), "{told}");
        }
        let uncompiled = asset(ran, Status::NoPolicy, None, None);
        let spark = Spark::of(&uncompiled, Some("rule a/b would cut".to_owned()), NOW);
        let told = spark.nothing_enforced.unwrap();
        assert!(told.contains("rule a/b would cut"), "{told}");
    }
}
