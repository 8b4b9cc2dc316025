//! The impact of a commit on assets, and the expected impact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::counted;

/// The impact of a commit on assets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ImpactSummary {
    /// Digest of the documents and their whole impact on assets: `sha256:` and hexadecimal digits. It changes
    /// for the same documents when their impact does.
    pub digest: String,
    /// The number of assets examined.
    pub assets: usize,
    /// Whether an asset loses protection, its last segment or management access, or a management source is
    /// removed: what `no-loss` refuses.
    pub is_loss: bool,
    /// Whether nothing changes for any asset.
    pub is_none: bool,
    /// Flows opened by peers.
    pub inbound: DirectionSummary,
    /// Flows opened by assets.
    pub outbound: DirectionSummary,
    /// Assets that were in a segment and will be in none.
    pub leave_all_segments: Affected,
    /// Assets that could be managed and no longer can.
    pub lose_management: Affected,
    /// Assets whose enforced ruleset will admit no management source, and nobody by SSH, RDP or WinRM.
    pub without_management: Affected,
    /// Management sources that will be removed from the settings.
    pub management_removed: Affected,
}

/// The impact on one direction of assets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct DirectionSummary {
    /// Assets that deny less: a lower level, a removed block rule, forwarded traffic that is no longer
    /// filtered.
    pub lose_protection: Affected,
    /// Assets that deny more.
    pub gain_protection: Affected,
    /// Assets on which rules, or management sources, allow more.
    pub allow_more: Affected,
    /// Assets on which rules, or management sources, allow less.
    pub allow_less: Affected,
    /// Levels and modes that change.
    pub levels: Vec<LevelSummary>,
}

/// Assets whose level or mode changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LevelSummary {
    /// E.g. `secure-all-ports (enforce)`.
    pub from: String,
    /// E.g. `secure-all-ports (test)`.
    pub to: String,
    /// The assets.
    pub assets: Affected,
}

/// The number of assets, and the first of them by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// The number.
    pub count: usize,
    /// At most 20.
    pub first: Vec<String>,
}

/// `a, b and 7 more`.
impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The maximum number of names on one line.
        const SHORT: usize = 5;
        let named = self.first.len().min(SHORT);
        f.write_str(&self.first[..named].join(", "))?;
        match self.count - named {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The expected impact of a commit; it is refused if the actual one differs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExpectedImpact {
    /// Nothing is lost: the default.
    #[default]
    NoLoss,
    /// The impact with this digest.
    Exactly(String),
    /// Any impact.
    Any,
}

/// Why a text is not an expected impact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an expected impact: give the digest that a dry run prints (sha256:…), \
     'no-loss', or 'any'"
)]
pub struct NoExpectedImpact(String);

impl FromStr for ExpectedImpact {
    type Err = NoExpectedImpact;

    fn from_str(text: &str) -> Result<Self, NoExpectedImpact> {
        let is_digest = |hex: &str| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        match text {
            "no-loss" => Ok(Self::NoLoss),
            "any" => Ok(Self::Any),
            text if text.strip_prefix("sha256:").is_some_and(is_digest) => {
                Ok(Self::Exactly(text.to_owned()))
            }
            text => Err(NoExpectedImpact(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ExpectedImpact {
    type Error = NoExpectedImpact;

    fn try_from(text: String) -> Result<Self, NoExpectedImpact> {
        text.parse()
    }
}

impl From<ExpectedImpact> for String {
    fn from(expected: ExpectedImpact) -> Self {
        match expected {
            ExpectedImpact::NoLoss => "no-loss".to_owned(),
            ExpectedImpact::Exactly(digest) => digest,
            ExpectedImpact::Any => "any".to_owned(),
        }
    }
}

/// Why an impact is not the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unexpected {
    /// A loss was not expected.
    Loss,
    /// The digest differs.
    Another,
}

impl ExpectedImpact {
    /// Checks that an impact is the expected one.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, impact: &ImpactSummary) -> Result<(), Unexpected> {
        match self {
            Self::Any => Ok(()),
            Self::NoLoss if !impact.is_loss => Ok(()),
            Self::Exactly(digest) if *digest == impact.digest => Ok(()),
            Self::NoLoss => Err(Unexpected::Loss),
            Self::Exactly(_) => Err(Unexpected::Another),
        }
    }
}

/// For people, a line for each change; losses come first.
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

/// For the audit log: only numbers.
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

/// A line of the impact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpactLine {
    /// Its kind.
    pub weight: Weight,
    /// The text.
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

/// Whether a change is a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Less is protected, or nobody can manage it.
    Loss,
    /// More is protected.
    Gain,
    /// Neither, or both.
    Change,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affected(names: &[&str]) -> Affected {
        let first = names.iter().map(ToString::to_string).collect();
        Affected { count: names.len(), first }
    }

    fn summary(change: impl FnOnce(&mut ImpactSummary)) -> ImpactSummary {
        let mut summary = ImpactSummary {
            digest: format!("sha256:{}", "0a".repeat(32)),
            assets: 7,
            is_none: true,
            ..ImpactSummary::default()
        };
        change(&mut summary);
        summary
    }

    #[test]
    fn losses_are_listed_first() {
        let told = summary(|summary| {
            summary.inbound.lose_protection = affected(&["a", "b", "c", "d", "e", "f", "g"]);
            summary.outbound.gain_protection = affected(&["a"]);
            summary.lose_management = affected(&["a"]);
            summary.without_management = affected(&["a", "z"]);
            summary.management_removed = affected(&["10.0.0.1 tcp/22"]);
        });
        let texts: Vec<String> = lines(&told).into_iter().map(|line| line.text).collect();
        let expected = [
            "7 assets with less protection inbound: a, b, c, d, e and 2 more",
            "1 asset without management access from now on (no management source, SSH, RDP or WinRM): a",
            "1 management source removed: 10.0.0.1 tcp/22",
            "1 asset with more protection outbound: a",
            "1 asset still without management access",
        ];
        assert_eq!(texts, expected);
        assert_eq!(
            in_short(&told),
            "impact: 7 lose protection inbound, 1 gain protection outbound, 1 lose management access"
        );
        assert!(lines(&summary(|_| ())).is_empty());
    }

    #[test]
    fn an_expected_impact_is_given_by_losses_or_digest() {
        let none = summary(|_| ());
        let loss = summary(|summary| {
            summary.is_loss = true;
            summary.digest = format!("sha256:{}", "0b".repeat(32));
        });
        let exactly = |impact: &ImpactSummary| ExpectedImpact::Exactly(impact.digest.clone());
        for (expected, impact, told) in [
            (ExpectedImpact::Any, &loss, Ok(())),
            (ExpectedImpact::NoLoss, &none, Ok(())),
            (ExpectedImpact::NoLoss, &loss, Err(Unexpected::Loss)),
            (exactly(&loss), &loss, Ok(())),
            (exactly(&none), &loss, Err(Unexpected::Another)),
        ] {
            assert_eq!(expected.check(impact), told, "{expected:?}");
        }
    }

    #[test]
    fn expected_impacts_round_trip_as_text() {
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
