//! The impact of a commit on assets, as a response of the API, and the check of the expected impact.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256};
use xshield_api::impact::{
    Affected, DirectionSummary, ExpectedImpact, ImpactSummary, LevelSummary, Unexpected,
};
use xshield_policy::Impact;
use xshield_policy::impact::DirectionImpact;
use xshield_policy::names::Name;

use crate::error::{OperationError, Result};

/// The number of assets, or rules, to list by name.
const NAMED: usize = 20;

fn affected<T: ToString>(all: &BTreeSet<T>) -> Affected {
    Affected { count: all.len(), first: all.iter().take(NAMED).map(ToString::to_string).collect() }
}

fn direction(impact: &DirectionImpact) -> DirectionSummary {
    let level = |change: &xshield_policy::impact::LevelChange| LevelSummary {
        from: change.from.to_string(),
        to: change.to.to_string(),
        assets: affected(&change.assets),
    };
    let assets = |all: &BTreeSet<Name>| affected(all);
    DirectionSummary {
        lose_protection: assets(&impact.lose_protection),
        gain_protection: assets(&impact.gain_protection),
        allow_more: assets(&impact.allow_more),
        allow_less: assets(&impact.allow_less),
        levels: impact.levels.iter().map(level).collect(),
    }
}

/// The impact of these documents (JSON) on this many assets.
///
/// # Errors
/// When the impact can't be encoded as JSON.
pub fn summary(
    impact: &Impact,
    assets: usize,
    documents: &str,
) -> serde_json::Result<ImpactSummary> {
    let mut context = Context::new(&SHA256);
    for part in [documents.as_bytes(), &serde_json::to_vec(impact)?] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let digest: String =
        context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ImpactSummary {
        digest: format!("sha256:{digest}"),
        assets,
        is_loss: impact.is_loss(),
        is_none: impact.is_none(),
        inbound: direction(&impact.inbound),
        outbound: direction(&impact.outbound),
        leave_all_segments: affected(&impact.leave_all_segments),
        lose_management: affected(&impact.lose_management),
        without_management: affected(&impact.without_management),
        management_removed: affected(&impact.management_removed),
    })
}

/// Checks that the impact is the expected one.
///
/// # Errors
/// When it is another one; contains the actual impact.
pub fn check(expected: &ExpectedImpact, impact: &ImpactSummary) -> Result<()> {
    let Err(unexpected) = expected.check(impact) else { return Ok(()) };
    let (code, detail) = match unexpected {
        Unexpected::Loss => (
            "impact-is-loss",
            "assets would lose protection or management access; nothing was changed. If that is \
             intended, commit with the digest of this impact as the expected one",
        ),
        Unexpected::Another => (
            "impact-differs",
            "the impact is no longer the expected one: the committed policy, the candidate or the \
             assets have changed since; nothing was changed. Review the impact again",
        ),
    };
    Err(OperationError::UnexpectedImpact { code, detail, impact: Box::new(impact.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impact() -> Impact {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let mut impact = Impact::default();
        impact.inbound.lose_protection = names(&["a", "b", "c", "d", "e", "f", "g"]);
        impact.outbound.gain_protection = names(&["a"]);
        impact.lose_management = names(&["a"]);
        impact.without_management = names(&["a", "z"]);
        impact.management_removed = ["10.0.0.1 tcp/22".to_owned()].into();
        impact
    }

    #[test]
    fn a_commit_must_match_the_expected_impact() {
        let none = summary(&Impact::default(), 9, "[]").unwrap();
        let loss = summary(&impact(), 9, "[]").unwrap();
        let exactly = |impact: &ImpactSummary| ExpectedImpact::Exactly(impact.digest.clone());
        for (expected, impact, refused) in [
            (ExpectedImpact::Any, &loss, None),
            (ExpectedImpact::NoLoss, &none, None),
            (ExpectedImpact::NoLoss, &loss, Some("impact-is-loss")),
            (exactly(&loss), &loss, None),
            (exactly(&none), &loss, Some("impact-differs")),
        ] {
            let got = check(&expected, impact).err().map(|error| match error {
                OperationError::UnexpectedImpact { code, impact, .. } => (code, *impact),
                other => panic!("{other}"),
            });
            assert_eq!(got, refused.map(|code| (code, impact.clone())), "{expected:?}");
        }
        // Assets of which nothing is said change nothing; other documents do.
        assert_eq!(summary(&impact(), 10, "[]").unwrap().digest, loss.digest);
        assert_ne!(summary(&impact(), 9, "[1]").unwrap().digest, loss.digest);
    }
}
