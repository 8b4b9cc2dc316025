//! A host's ways to the platform, as its last check-in told them.

use xshield_wire::message::RouteStanding;

use super::look::{State, Tone, When};
use crate::api::admin::standing::{Activity, Spark};
use crate::clock::Timestamp;

/// One way.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) failure: Option<Failure>,
}

/// How it last failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) when: When,
}

/// All ways in the order of the host's configuration.
pub(super) fn all(spark: &Spark, now: Timestamp) -> Vec<Route> {
    let alive = is_alive(spark);
    let shown = |route: &RouteStanding| {
        let state = match (route.in_use, &route.last_failure) {
            (true, _) if alive => State::new("current", Tone::Good),
            (true, _) => State::new("last used", Tone::Quiet),
            (false, Some(_)) => State::new("failed", Tone::Bad),
            (false, None) => State::new("not needed", Tone::Quiet),
        };
        let failure = route.last_failure.as_ref().map(|failure| Failure {
            reason: failure.reason.clone(),
            when: When::of(Timestamp::from_unix(failure.at), now),
        });
        Route { name: short(&route.route).to_owned(), state, failure }
    };
    spark.routes.iter().map(shown).collect()
}

/// The way of the last check-in in a word, and how many others failed.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) name: String,
    pub(super) tone: Tone,
    pub(super) failed: usize,
}

impl Now {
    pub(super) fn of(spark: &Spark) -> Self {
        let used = spark.routes.iter().find(|route| route.in_use);
        let failed = spark.routes.iter().filter(|route| route.last_failure.is_some()).count();
        let tone = if is_alive(spark) { Tone::Good } else { Tone::Quiet };
        Self { name: used.map_or("", |route| short(&route.route)).to_owned(), tone, failed }
    }

    /// Whether it is the way by which the host is reached at present.
    pub(super) fn holds(&self) -> bool {
        self.tone == Tone::Good
    }
}

fn is_alive(spark: &Spark) -> bool {
    matches!(spark.activity, Activity::Online | Activity::Late | Activity::Active)
}

/// `10.10.6.4:3128` or `direct`.
fn short(route: &str) -> &str {
    route.strip_prefix("proxy ").unwrap_or(route)
}
