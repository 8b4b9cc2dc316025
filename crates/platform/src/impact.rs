//! What a commit would do to assets, as operators and programs are told, and what they expect of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use xshield_policy::Impact;
use xshield_policy::impact::DirectionImpact;
use xshield_policy::names::Name;

use crate::problem::{Answer, Problem};

/// Assets, or rules, that are named of all that are counted.
const NAMED: usize = 20;

/// What a commit would do to assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ImpactSummary {
    /// Of the documents and of all that they would do to assets: `sha256:` and hexadecimal digits. The
    /// same documents have another one as soon as they would do something else.
    pub digest: String,
    /// Assets that were looked at.
    pub assets: usize,
    /// Whether an asset loses protection, its last segment or management access, or a management source
    /// goes: what `no-loss` refuses.
    pub is_loss: bool,
    /// Whether nothing changes for any asset.
    pub is_none: bool,
    /// Flows opened by peers.
    pub inbound: DirectionSummary,
    /// Flows opened by assets.
    pub outbound: DirectionSummary,
    /// They were in a segment and will be in none.
    pub leave_all_segments: Affected,
    /// They could be managed and no longer can.
    pub lose_management: Affected,
    /// What will be enforced lets in no management source, and nobody by SSH, RDP or WinRM.
    pub without_management: Affected,
    /// Management sources that the settings will no longer name.
    pub management_removed: Affected,
}

/// What becomes of one direction of assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DirectionSummary {
    /// They deny less: a lower level, a block rule that goes, forwarded traffic that is left alone.
    pub lose_protection: Affected,
    /// They deny more.
    pub gain_protection: Affected,
    /// Rules, or management sources, allow what was not allowed.
    pub allow_more: Affected,
    /// Rules, or management sources, no longer allow what they did.
    pub allow_less: Affected,
    /// Levels and modes that change.
    pub levels: Vec<LevelSummary>,
}

/// Assets whose level or mode becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LevelSummary {
    /// E.g. `secure-all-ports (enforce)`.
    pub from: String,
    /// E.g. `secure-all-ports (test)`.
    pub to: String,
    /// The assets.
    pub assets: Affected,
}

/// How many, and the first of them by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Affected {
    /// All.
    pub count: usize,
    /// At most 20.
    pub first: Vec<String>,
}

impl Affected {
    fn of<T: ToString>(all: &BTreeSet<T>) -> Self {
        Self { count: all.len(), first: all.iter().take(NAMED).map(ToString::to_string).collect() }
    }
}

/// `a, b and 7 more`.
impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Named on one line.
        const SHORT: usize = 5;
        let named = self.first.len().min(SHORT);
        f.write_str(&self.first[..named].join(", "))?;
        match self.count - named {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl DirectionSummary {
    fn of(impact: &DirectionImpact) -> Self {
        let level = |change: &xshield_policy::impact::LevelChange| LevelSummary {
            from: change.from.to_string(),
            to: change.to.to_string(),
            assets: Affected::of(&change.assets),
        };
        let assets = |all: &BTreeSet<Name>| Affected::of(all);
        Self {
            lose_protection: assets(&impact.lose_protection),
            gain_protection: assets(&impact.gain_protection),
            allow_more: assets(&impact.allow_more),
            allow_less: assets(&impact.allow_less),
            levels: impact.levels.iter().map(level).collect(),
        }
    }
}

impl ImpactSummary {
    /// Of an impact that these documents (JSON) would have on so many assets.
    ///
    /// # Errors
    /// When the impact can't be written as JSON.
    pub fn of(impact: &Impact, assets: usize, documents: &str) -> serde_json::Result<Self> {
        let mut context = Context::new(&SHA256);
        for part in [documents.as_bytes(), &serde_json::to_vec(impact)?] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let digest: String =
            context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            digest: format!("sha256:{digest}"),
            assets,
            is_loss: impact.is_loss(),
            is_none: impact.is_none(),
            inbound: DirectionSummary::of(&impact.inbound),
            outbound: DirectionSummary::of(&impact.outbound),
            leave_all_segments: Affected::of(&impact.leave_all_segments),
            lose_management: Affected::of(&impact.lose_management),
            without_management: Affected::of(&impact.without_management),
            management_removed: Affected::of(&impact.management_removed),
        })
    }

    /// For people, a line for each thing that changes; what is lost comes first.
    #[must_use]
    pub fn lines(&self) -> Vec<ImpactLine> {
        let directions = [("inbound", &self.inbound), ("outbound", &self.outbound)];
        let mut lines = Lines::default();
        for (direction, of) in directions {
            let what = format!("with less protection {direction}");
            lines.assets(Weight::Loss, &what, &of.lose_protection);
        }
        lines.assets(Weight::Loss, "in no segment any more", &self.leave_all_segments);
        lines.assets(
            Weight::Loss,
            "without management access from now on (no management source, SSH, RDP or WinRM)",
            &self.lose_management,
        );
        let removed = &self.management_removed;
        if removed.count > 0 {
            let text =
                format!("{} removed: {removed}", counted(removed.count, "management source"));
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
        let still = self.without_management.count.saturating_sub(self.lose_management.count);
        if still > 0 {
            let text = format!("{} still without management access", counted(still, "asset"));
            lines.0.push(ImpactLine { weight: Weight::Loss, text });
        }
        lines.0
    }

    /// For the audit log: counts alone.
    #[must_use]
    pub fn in_short(&self) -> String {
        let counts = [
            ("lose protection inbound", self.inbound.lose_protection.count),
            ("lose protection outbound", self.outbound.lose_protection.count),
            ("gain protection inbound", self.inbound.gain_protection.count),
            ("gain protection outbound", self.outbound.gain_protection.count),
            ("leave all segments", self.leave_all_segments.count),
            ("lose management access", self.lose_management.count),
        ];
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let counts: Vec<String> = counts.map(|(what, count)| format!("{count} {what}")).collect();
        let counts =
            if counts.is_empty() { "no loss, no gain".to_owned() } else { counts.join(", ") };
        format!("impact: {counts}")
    }
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

/// What is expected of a commit; it is refused when it would do something else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExpectedImpact {
    /// Nothing is lost: the default.
    #[default]
    NoLoss,
    /// The impact with this digest.
    Exactly(String),
    /// Whatever it is.
    Any,
}

/// Why a text is no expected impact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no expected impact: write the digest that a dry run prints (sha256:…), 'no-loss', or 'any'"
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

impl ExpectedImpact {
    /// Whether an impact is the one that is expected.
    ///
    /// # Errors
    /// A problem that tells the impact.
    pub fn check(&self, impact: &ImpactSummary) -> Answer<()> {
        let (slug, detail) = match self {
            Self::Any => return Ok(()),
            Self::NoLoss if !impact.is_loss => return Ok(()),
            Self::Exactly(digest) if *digest == impact.digest => return Ok(()),
            Self::NoLoss => (
                "impact-is-loss",
                "assets would lose protection or management access; nothing was changed. If that is \
                 meant, commit with the digest of this impact as the expected one",
            ),
            Self::Exactly(_) => (
                "impact-differs",
                "the impact is no longer the expected one: the committed policy, the candidate or the \
                 assets have changed since; nothing was changed. Look at the impact again",
            ),
        };
        let mut problem = Problem::conflict(slug, detail).field("/expected_impact");
        problem.impact = Some(Box::new(impact.clone()));
        Err(problem)
    }
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
        let summary = ImpactSummary::of(&impact(), 1_005, "[]").unwrap();
        let lines: Vec<String> = summary.lines().into_iter().map(|line| line.text).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        7 assets with less protection inbound: a, b, c, d, e and 2 more
        1 asset without management access from now on (no management source, SSH, RDP or WinRM): a
        1 management source removed: 10.0.0.1 tcp/22
        1 asset with more protection outbound: a
        1 asset still without management access
        ");
        assert_eq!(
            summary.in_short(),
            "impact: 7 lose protection inbound, 1 gain protection outbound, 1 lose management access"
        );
        assert!(ImpactSummary::of(&Impact::default(), 3, "[]").unwrap().lines().is_empty());
        assert_eq!(counted(1_000_005, "asset"), "1,000,005 assets");
    }

    #[test]
    fn what_is_expected_is_what_is_committed() {
        let none = ImpactSummary::of(&Impact::default(), 9, "[]").unwrap();
        let loss = ImpactSummary::of(&impact(), 9, "[]").unwrap();
        let exactly = |impact: &ImpactSummary| ExpectedImpact::Exactly(impact.digest.clone());
        for (expected, impact, refused) in [
            (ExpectedImpact::Any, &loss, None),
            (ExpectedImpact::NoLoss, &none, None),
            (ExpectedImpact::NoLoss, &loss, Some("impact-is-loss")),
            (exactly(&loss), &loss, None),
            (exactly(&none), &loss, Some("impact-differs")),
        ] {
            let got = expected.check(impact).err();
            assert_eq!(got.as_ref().map(|problem| problem.slug()), refused, "{expected:?}");
            let told = got.and_then(|problem| problem.impact.clone());
            assert_eq!(told.as_deref(), refused.map(|_| impact));
        }
        // Assets of which nothing is said change nothing; other documents do.
        assert_eq!(ImpactSummary::of(&impact(), 10, "[]").unwrap().digest, loss.digest);
        assert_ne!(ImpactSummary::of(&impact(), 9, "[1]").unwrap().digest, loss.digest);
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
