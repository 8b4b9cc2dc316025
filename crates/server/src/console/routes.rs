//! A host's routes to the platform, as reported by its last check-in.

use xshield_api::assets::{Activity, Spark};
use xshield_model::Timestamp;
use xshield_wire::message::{RouteFailureKind, RouteStanding};

use super::display::{State, Tone, When};

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) state: State,
    /// When it last worked.
    pub(super) worked: Option<When>,
    pub(super) failure: Option<Failure>,
}

/// The last failure.
#[derive(Debug)]
pub(super) struct Failure {
    /// The kind of failure; empty if the host reports none.
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) when: When,
}

/// All routes in the order of the host's configuration.
pub(super) fn all(spark: &Spark, now: Timestamp) -> Vec<Route> {
    let alive = is_alive(spark);
    let shown = |route: &RouteStanding| {
        let state = match (route.in_use, &route.last_failure) {
            (true, _) if alive => State::new("current", Tone::Good),
            (true, _) => State::new("last used", Tone::Quiet),
            (false, Some(_)) => State::new("failed", Tone::Bad),
            (false, None) => State::new("not needed", Tone::Quiet),
        };
        // The last check-in used the current route, whatever the host could know when it wrote the report.
        let checked_in = spark.last_check_in.filter(|_| route.in_use);
        let worked = route.last_worked.map(Timestamp::from_unix).max(checked_in);
        let failure = route.last_failure.as_ref().map(|failure| Failure {
            kind: word(failure.kind),
            reason: failure.reason.clone(),
            when: When::of(Timestamp::from_unix(failure.at), now),
        });
        let worked = worked.map(|worked| When::of(worked, now));
        Route { name: short(&route.route).to_owned(), state, worked, failure }
    };
    spark.routes.iter().map(shown).collect()
}

/// A failure in words for administrators of proxies.
fn word(kind: RouteFailureKind) -> &'static str {
    match kind {
        RouteFailureKind::NameNotFound => "name not found",
        RouteFailureKind::Refused => "connection refused",
        RouteFailureKind::TimedOut => "no answer in time",
        RouteFailureKind::Broken => "connection broke",
        RouteFailureKind::ProxyAuthentication => "407: authentication",
        RouteFailureKind::ProxyForbidden => "403: forbidden",
        RouteFailureKind::ProxyFailed => "proxy does not forward",
        RouteFailureKind::UntrustedCertificate => "foreign certificate",
        RouteFailureKind::Protocol => "invalid TLS or HTTP",
        RouteFailureKind::Unknown => "",
    }
}

/// The route of the last check-in, and how many others failed.
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

    /// Whether it is the route by which the host is currently reached.
    pub(super) fn holds(&self) -> bool {
        self.tone == Tone::Good
    }
}

fn is_alive(spark: &Spark) -> bool {
    matches!(spark.activity.known(), Some(Activity::Online | Activity::Late | Activity::Active))
}

/// `10.10.6.4:3128` or `direct`.
fn short(route: &str) -> &str {
    route.strip_prefix("proxy ").unwrap_or(route)
}
