//! Small elements that pages show repeatedly: times, states, amounts.

use askama::Template;
use askama::filters::HtmlSafe;
use xshield_api::assets::{Activity, Protected, Protection, Spark};
use xshield_api::threat_status::AssetThreat;
use xshield_model::{Timestamp, relative};
use xshield_wire::message::{InForce, Status};

/// A time, for people and for programs.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<time datetime="{{ at }}" title="{{ at }}">{{ words }}</time>"#,
    ext = "html"
)]
pub(super) struct When {
    at: String,
    words: String,
}

impl HtmlSafe for When {}

impl When {
    /// Relative to `now`.
    pub(super) fn of(then: Timestamp, now: Timestamp) -> Self {
        Self { at: then.to_rfc3339(), words: relative(then, now) }
    }
}

/// The severity of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }
}

/// A state in a word or two.
#[derive(Debug, Clone, Template)]
#[template(source = r#"<span class="state {{ tone.class() }}">{{ word }}</span>"#, ext = "html")]
pub(super) struct State {
    word: String,
    tone: Tone,
}

impl HtmlSafe for State {}

impl State {
    pub(super) fn new(word: impl Into<String>, tone: Tone) -> Self {
        Self { word: word.into(), tone }
    }

    /// Whether the host's program runs.
    pub(super) fn activity(spark: &Spark) -> Self {
        let (word, tone) = match spark.activity.known() {
            Some(Activity::Online) => ("online", Tone::Good),
            Some(Activity::Late) => ("late", Tone::Warning),
            Some(Activity::Offline) => ("offline", Tone::Bad),
            Some(Activity::Active) => ("active", Tone::Good),
            Some(Activity::Inactive) => ("inactive", Tone::Warning),
            Some(Activity::Never) => ("never checked in", Tone::Warning),
            Some(Activity::Decommissioned) => ("decommissioned", Tone::Quiet),
            None => ("unknown", Tone::Quiet),
        };
        Self::new(word, tone)
    }

    /// Whether the host is protected; unknown for a host that is refused.
    pub(super) fn protection(protection: &Protection, spark: &Spark) -> Self {
        if spark.refused.is_some() {
            return Self::new("check-in refused", Tone::Bad);
        }
        let (word, tone) = match (spark.status.known(), protection.state.known()) {
            (Some(Status::Blocked { .. }), _) => ("blocked, not protected", Tone::Bad),
            (Some(Status::Failed { .. }), Some(Protected::No)) => {
                ("failed, not protected", Tone::Bad)
            }
            (Some(Status::Failed { .. }), _) => ("failed", Tone::Bad),
            (_, Some(Protected::Enforced)) => ("enforcing", Tone::Good),
            (_, Some(Protected::LastKnown)) => ("enforcing when last seen", Tone::Warning),
            (_, Some(Protected::TestOnly)) => ("not protected", Tone::Warning),
            (_, Some(Protected::No) | None) => ("not protected", Tone::Bad),
        };
        Self::new(word, tone)
    }

    /// The revision in force, and the desired one.
    pub(super) fn revision(spark: &Spark) -> Self {
        let number = |held: &Option<InForce>| {
            held.as_ref().map_or_else(|| "none".to_owned(), |held| held.revision.0.to_string())
        };
        let (got, want) = (number(&spark.in_force), number(&spark.wanted));
        match (spark.up_to_date, got == want) {
            (true, _) => Self::new(got, Tone::Quiet),
            (false, true) => Self::new(format!("{got}, an earlier compilation"), Tone::Warning),
            (false, false) => Self::new(format!("{got}, wanted {want}"), Tone::Warning),
        }
    }

    /// The state of the threat list.
    pub(super) fn threat(threat: Option<&AssetThreat>) -> Self {
        let Some(threat) = threat else { return Self::new("none", Tone::Quiet) };
        let list = match &threat.in_force {
            Some(list) if list.entries < list.whole_entries => {
                format!("revision {}, a part", list.revision)
            }
            Some(list) => format!("revision {}", list.revision),
            None => "none".to_owned(),
        };
        match (&threat.failure, threat.up_to_date) {
            (Some(_), _) => Self::new(format!("{list}, failed"), Tone::Bad),
            (None, false) => Self::new(format!("{list}, outdated"), Tone::Warning),
            (None, true) => Self::new(list, Tone::Quiet),
        }
    }
}

/// An amount of memory.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(count) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_units() {
        for (count, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (3 << 29, "1.5 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert!(bytes(u64::MAX).ends_with("GiB"));
    }

    #[test]
    fn texts_from_hosts_are_escaped() {
        let state = State::new("<script>alert(1)</script>", Tone::Bad);
        let text = state.to_string();
        assert!(!text.contains("<script"), "{text}");
    }
}
