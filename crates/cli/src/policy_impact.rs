//! The impact of a commit on assets: shown before each, and confirmed by a person or by an expectation.

use clap::Args;
use xshield_api::impact::{ExpectedImpact, ImpactSummary, Weight, lines};
use xshield_api::words::counted;

use crate::error::CliError;
use crate::questions::{confirm, somebody_is_there};
use crate::terminal::note;

/// How a commit is confirmed. At a terminal there is a question; without a terminal and these options, only a
/// commit without loss of protection or access is made.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Agreement {
    /// Commit without asking, whatever the impact.
    #[arg(long)]
    yes: bool,
    /// Commit only if this is the impact: the digest that a dry run prints (sha256:…), or no-loss.
    #[arg(long, value_name = "DIGEST", conflicts_with = "yes")]
    expect_impact: Option<ExpectedImpact>,
}

/// The reader of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A person who can be asked.
    Person,
    /// A pipeline.
    Program,
}

/// Whether a commit is made.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    Go(ExpectedImpact),
    Ask,
    Refused(String),
}

impl Agreement {
    /// Whether any of these was given.
    pub(crate) fn is_given(&self) -> bool {
        self.yes || self.expect_impact.is_some()
    }

    /// Shows the impact, and asks if a person has to decide; returns what the platform should expect.
    pub(crate) fn settle(&self, impact: &ImpactSummary) -> Result<ExpectedImpact, CliError> {
        note(&in_words(impact));
        let reader = if somebody_is_there() { Reader::Person } else { Reader::Program };
        match self.decide(impact, reader) {
            Settled::Go(expected) => Ok(expected),
            Settled::Refused(reason) => Err(CliError::input(reason)),
            Settled::Ask if confirm("Commit it?")? => {
                Ok(ExpectedImpact::Exactly(impact.digest.clone()))
            }
            Settled::Ask => Err(CliError::input("not committed; nothing was changed")),
        }
    }

    fn decide(&self, impact: &ImpactSummary, reader: Reader) -> Settled {
        if self.yes {
            return Settled::Go(ExpectedImpact::Any);
        }
        let digest = &impact.digest;
        match (&self.expect_impact, reader) {
            (Some(expected), _) if expected.check(impact).is_ok() => Settled::Go(expected.clone()),
            (Some(ExpectedImpact::NoLoss), _) => Settled::Refused(format!(
                "assets would lose protection or management access, and --expect-impact is \
                 no-loss; nothing was changed. If it is intended: --expect-impact {digest}"
            )),
            (Some(_), _) => Settled::Refused(format!(
                "the impact is not the expected one; nothing was changed. If this one is \
                 intended: --expect-impact {digest}"
            )),
            (None, _) if impact.is_none => Settled::Go(ExpectedImpact::Exactly(digest.clone())),
            (None, Reader::Person) => Settled::Ask,
            (None, Reader::Program) if impact.is_loss => Settled::Refused(format!(
                "assets would lose protection or management access, and there is no terminal to \
                 ask; nothing was changed. If it is intended: --expect-impact {digest}, or \
                 --yes"
            )),
            (None, Reader::Program) => Settled::Go(ExpectedImpact::NoLoss),
        }
    }
}

/// The impact in words.
pub(crate) fn in_words(impact: &ImpactSummary) -> String {
    let lines = lines(impact);
    if lines.is_empty() {
        return format!("Impact on {}: none.", counted(impact.assets, "asset"));
    }
    let mut text = format!("Impact on {}:", counted(impact.assets, "asset"));
    for line in lines {
        let mark = match line.weight {
            Weight::Loss => '!',
            Weight::Gain => '+',
            Weight::Change => ' ',
        };
        text.push_str(&format!("\n{mark} {}", line.text));
    }
    text
}

/// The impact of a dry run, with the expectation for a pipeline.
pub(crate) fn of_a_dry_run(impact: &ImpactSummary) -> String {
    let digest = &impact.digest;
    format!("{}\nTo commit exactly this: --synchronize --expect-impact {digest}", in_words(impact))
}

#[cfg(test)]
mod tests {
    use xshield_api::impact::{Affected, DirectionSummary};

    use super::*;

    fn one(name: &str) -> Affected {
        Affected { count: 1, first: vec![name.to_owned()] }
    }

    fn nothing() -> ImpactSummary {
        ImpactSummary { digest: digest(0), assets: 7, is_none: true, ..ImpactSummary::default() }
    }

    fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    fn gain() -> ImpactSummary {
        let inbound = DirectionSummary { gain_protection: one("web"), ..Default::default() };
        ImpactSummary { digest: digest(1), is_none: false, inbound, ..nothing() }
    }

    fn loss() -> ImpactSummary {
        let inbound = DirectionSummary { lose_protection: one("web"), ..Default::default() };
        ImpactSummary { digest: digest(2), is_none: false, is_loss: true, inbound, ..nothing() }
    }

    #[test]
    fn consent_by_terminal_and_options() {
        let (none, gain, loss) = (nothing(), gain(), loss());
        let (exactly, any) = (|impact: &ImpactSummary| impact.digest.clone(), "any".to_owned());
        let expect =
            |text: &str| Agreement { yes: false, expect_impact: Some(text.parse().unwrap()) };
        let yes = Agreement { yes: true, expect_impact: None };
        let bare = Agreement::default();
        use Reader::{Person, Program};
        for (agreement, reader, impact, settled) in [
            (&bare, Person, &none, exactly(&none)),
            (&bare, Program, &none, exactly(&none)),
            (&bare, Person, &gain, "ask".to_owned()),
            (&bare, Program, &gain, "no-loss".to_owned()),
            (&bare, Person, &loss, "ask".to_owned()),
            (&bare, Program, &loss, "refused".to_owned()),
            (&yes, Person, &loss, any.clone()),
            (&yes, Program, &loss, any),
            (&expect("no-loss"), Program, &gain, "no-loss".to_owned()),
            (&expect("no-loss"), Person, &loss, "refused".to_owned()),
            (&expect(&loss.digest), Program, &loss, exactly(&loss)),
            (&expect(&loss.digest), Program, &gain, "refused".to_owned()),
        ] {
            let got = match agreement.decide(impact, reader) {
                Settled::Go(expected) => String::from(expected),
                Settled::Ask => "ask".to_owned(),
                Settled::Refused(_) => "refused".to_owned(),
            };
            assert_eq!(got, settled, "{agreement:?} {reader:?}");
        }
    }

    #[test]
    fn losses_are_marked() {
        let outbound = DirectionSummary { gain_protection: one("app"), ..Default::default() };
        let impact = ImpactSummary { outbound, ..loss() };
        insta::assert_snapshot!(in_words(&impact), @r"
        Impact on 7 assets:
        ! 1 asset with less protection inbound: web
        + 1 asset with more protection outbound: app
        ");
    }
}
