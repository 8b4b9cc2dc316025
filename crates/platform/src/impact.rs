//! What a commit would do to assets, as operators and programs are told, and what they expect of it.

use std::collections::BTreeSet;

use ring::digest::{Context, SHA256};
use xshield_api::impact::{
    Affected, DirectionSummary, ExpectedImpact, ImpactSummary, LevelSummary,
};
use xshield_policy::Impact;
use xshield_policy::impact::DirectionImpact;
use xshield_policy::names::Name;

use crate::problem::{Answer, Problem};

/// Assets, or rules, that are named of all that are counted.
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

/// Of an impact that these documents (JSON) would have on so many assets.
///
/// # Errors
/// When the impact can't be written as JSON.
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

/// For people, a line for each thing that changes; what is lost comes first.
#[must_use]
pub fn lines(summary: &ImpactSummary) -> Vec<ImpactLine> {
    let directions = [("inbound", &summary.inbound), ("outbound", &summary.outbound)];
    let mut lines = Lines::default();
    for (direction, of) in directions {
        let what = format!("with less protection {direction}");
        lines.assets(Weight::Loss, &what, &of.lose_protection);
    }
    lines.assets(Weight::Loss, "in no segment any more", &summary.leave_all_segments);
    lines.assets(
        Weight::Loss,
        "without management access from now on (no management source, SSH, RDP or WinRM)",
        &summary.lose_management,
    );
    let removed = &summary.management_removed;
    if removed.count > 0 {
        let text = format!("{} removed: {removed}", counted(removed.count, "management source"));
        lines.0.push(ImpactLine { weight: Weight::Loss, text });
    }
    for (direction, of) in directions {
        for (weight, what, assets) in [
            (Weight::Gain, "more protection", &of.gain_protection),
            (Weight::Change, "more allowed", &of.allow_more),
            (Weight::Change, "less allowed", &of.allow_less),
        ] {
            lines.assets(weight, &format!("with {what} {direction}"), assets);
        }
        for LevelSummary { from, to, assets } in &of.levels {
            lines.assets(Weight::Change, &format!("{direction} from {from} to {to}"), assets);
        }
    }
    let still = summary.without_management.count.saturating_sub(summary.lose_management.count);
    if still > 0 {
        let text = format!("{} still without management access", counted(still, "asset"));
        lines.0.push(ImpactLine { weight: Weight::Loss, text });
    }
    lines.0
}

/// For the audit log: counts alone.
#[must_use]
pub fn in_short(summary: &ImpactSummary) -> String {
    let counts = [
        ("lose protection inbound", summary.inbound.lose_protection.count),
        ("lose protection outbound", summary.outbound.lose_protection.count),
        ("gain protection inbound", summary.inbound.gain_protection.count),
        ("gain protection outbound", summary.outbound.gain_protection.count),
        ("leave all segments", summary.leave_all_segments.count),
        ("lose management access", summary.lose_management.count),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    let counts = if counts.is_empty() { "no loss, no gain".to_owned() } else { counts.join(", ") };
    format!("impact: {counts}")
}

/// `1 asset`, `1,005 assets`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {what}{}", if count == 1 { "" } else { "s" })
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpactLine {
    /// Which kind.
    pub weight: Weight,
    /// In words.
    pub text: String,
}

#[derive(Default)]
struct Lines(Vec<ImpactLine>);

impl Lines {
    fn assets(&mut self, weight: Weight, what: &str, of: &Affected) {
        if of.count > 0 {
            let text = format!("{} {what}: {of}", counted(of.count, "asset"));
            self.0.push(ImpactLine { weight, text });
        }
    }
}

/// Whether something is lost by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Less is protected, or nobody can manage it.
    Loss,
    /// More is protected.
    Gain,
    /// Neither, or both.
    Change,
}

/// Whether an impact is the one that is expected.
///
/// # Errors
/// A problem that tells the impact.
pub fn check(expected: &ExpectedImpact, impact: &ImpactSummary) -> Answer<()> {
    let (slug, detail) = match expected {
        ExpectedImpact::Any => return Ok(()),
        ExpectedImpact::NoLoss if !impact.is_loss => return Ok(()),
        ExpectedImpact::Exactly(digest) if *digest == impact.digest => return Ok(()),
        ExpectedImpact::NoLoss => (
            "impact-is-loss",
            "assets would lose protection or management access; nothing was changed. If that is \
             meant, commit with the digest of this impact as the expected one",
        ),
        ExpectedImpact::Exactly(_) => (
            "impact-differs",
            "the impact is no longer the expected one: the committed policy, the candidate or the \
             assets have changed since; nothing was changed. Look at the impact again",
        ),
    };
    let mut problem = Problem::conflict(slug, detail).field("/expected_impact");
    problem.impact = Some(Box::new(impact.clone()));
    Err(problem)
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
    fn people_read_what_is_lost_first() {
        let told = summary(&impact(), 1_005, "[]").unwrap();
        let texts: Vec<String> = lines(&told).into_iter().map(|line| line.text).collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        7 assets with less protection inbound: a, b, c, d, e and 2 more
        1 asset without management access from now on (no management source, SSH, RDP or WinRM): a
        1 management source removed: 10.0.0.1 tcp/22
        1 asset with more protection outbound: a
        1 asset still without management access
        ");
        assert_eq!(
            in_short(&told),
            "impact: 7 lose protection inbound, 1 gain protection outbound, 1 lose management access"
        );
        assert!(lines(&summary(&Impact::default(), 3, "[]").unwrap()).is_empty());
        assert_eq!(counted(1_000_005, "asset"), "1,000,005 assets");
    }

    #[test]
    fn what_is_expected_is_what_is_committed() {
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
            let got = check(&expected, impact).err();
            assert_eq!(got.as_ref().map(|problem| problem.slug()), refused, "{expected:?}");
            let told = got.and_then(|problem| problem.impact.clone());
            assert_eq!(told.as_deref(), refused.map(|_| impact));
        }
        // Assets of which nothing is said change nothing; other documents do.
        assert_eq!(summary(&impact(), 10, "[]").unwrap().digest, loss.digest);
        assert_ne!(summary(&impact(), 9, "[1]").unwrap().digest, loss.digest);
    }

    #[test]
    fn expectations_are_texts() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in ["no-loss", "any", &digest] {
            let expected: ExpectedImpact = text.parse().unwrap();
            assert_eq!(String::from(expected), text);
        }
        for text in ["", "none", "sha256:", &digest.to_uppercase(), &digest[..70]] {
            assert!(text.parse::<ExpectedImpact>().is_err(), "{text}");
        }
    }
}
