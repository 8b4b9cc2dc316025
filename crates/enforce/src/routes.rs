//! The routes to the platform, as runs remember and show them.

use serde::{Deserialize, Serialize};
use xshield_transport::{ProxyList, Route, RouteError, RouteState};
use xshield_wire::Bytes;
use xshield_wire::foreign::without_userinfo;
use xshield_wire::message::{Problem, RouteFailure, RouteFailureKind, RouteStanding, UnixSeconds};

use crate::core::result::Contact;
use crate::problems::problem;

/// A route to the platform and the results of its last use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// `direct` or `proxy ADDRESS:PORT`.
    pub route: Route,
    /// Whether the platform was last reached by it; it is tried first.
    pub in_use: bool,
    /// Why it failed when it was last tried; `None` if it worked then, or was never tried.
    pub last_failure: Option<RouteFailure>,
    /// When the platform was last reached by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_worked: Option<UnixSeconds>,
}

impl From<RouteReport> for RouteStanding {
    fn from(report: RouteReport) -> Self {
        let RouteReport { route, in_use, last_failure, last_worked } = report;
        Self { route: route.to_string(), in_use, last_failure, last_worked }
    }
}

/// Identifies a list of proxies without containing its passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyListDigest {
    salt: Bytes<16>,
    sum: Bytes<32>,
}

impl ProxyListDigest {
    /// `salt`: random.
    #[must_use]
    pub(crate) fn new(proxies: &ProxyList, salt: [u8; 16]) -> Self {
        Self { salt: Bytes(salt), sum: Bytes(proxies.fingerprint(&salt)) }
    }

    /// Whether it is this list, credentials included.
    #[must_use]
    pub(crate) fn is_of(&self, proxies: &ProxyList) -> bool {
        proxies.fingerprint(&self.salt.0) == self.sum.0
    }
}

/// The route with which the last run ended, to be tried first. `None` if the list has changed since, even if
/// only a password did: whoever configures a proxy wants it tried, even if another route still works. `digest`:
/// the list of the last run; `None` if that run did not keep one.
pub(crate) fn remembered(
    reports: &[RouteReport],
    digest: Option<&ProxyListDigest>,
    proxies: &ProxyList,
) -> Option<Route> {
    if digest.is_some_and(|digest| !digest.is_of(proxies)) {
        return None;
    }
    let then = reports.iter().map(|report| &report.route);
    let proxies = proxies.as_slice().iter().map(|proxy| Route::Proxy(proxy.address.clone()));
    let now: Vec<Route> = proxies.chain([Route::Direct]).collect();
    if !then.eq(&now) {
        return None;
    }
    reports.iter().find(|report| report.in_use).map(|report| report.route.clone())
}

/// Forgets failures of routes under another list of proxies or credentials: the corrected list has not failed
/// yet. When each last worked is kept.
pub(crate) fn begin_anew(
    reports: &mut [RouteReport],
    digest: Option<&ProxyListDigest>,
    proxies: &ProxyList,
) {
    if digest.is_some_and(|digest| !digest.is_of(proxies)) {
        reports.iter_mut().for_each(|report| report.last_failure = None);
    }
}

/// The state of each configured route, from this run and earlier ones. `reached`: whether the platform was
/// reached in this run, so that the current route is known to work.
pub(crate) fn reports(
    states: Vec<RouteState>,
    before: &[RouteReport],
    reached: Contact,
    now: UnixSeconds,
) -> Vec<RouteReport> {
    let report = |state: RouteState| {
        let earlier = before.iter().find(|report| report.route == state.route);
        let last_failure = match &state.last_failure {
            Some(error) => Some(failure(error, now)),
            None if state.current => None,
            None => earlier.and_then(|report| report.last_failure.clone()),
        };
        let worked = state.current && reached == Contact::Reached;
        let earlier = earlier.and_then(|report| report.last_worked);
        let last_worked = if worked { Some(now) } else { earlier };
        RouteReport { route: state.route, in_use: state.current, last_failure, last_worked }
    };
    states.into_iter().map(report).collect()
}

fn failure(error: &RouteError, at: UnixSeconds) -> RouteFailure {
    let kind = match error {
        RouteError::NameNotFound { .. } => RouteFailureKind::NameNotFound,
        RouteError::Refused { .. } => RouteFailureKind::Refused,
        RouteError::TimedOut { .. } => RouteFailureKind::TimedOut,
        RouteError::Broken { .. } => RouteFailureKind::Broken,
        RouteError::ProxyAuthentication { .. } => RouteFailureKind::ProxyAuthentication,
        RouteError::ProxyForbade { .. } => RouteFailureKind::ProxyForbidden,
        RouteError::ProxyRefused { .. } => RouteFailureKind::ProxyFailed,
        RouteError::UntrustedCertificate { .. } => RouteFailureKind::UntrustedCertificate,
        RouteError::Tls { .. } | RouteError::Http { .. } => RouteFailureKind::Protocol,
    };
    RouteFailure { at, reason: without_userinfo(&error.to_string()).into_owned(), kind }
}

/// Problems with the proxies that failed in this run.
pub(crate) fn problems(states: &[RouteState]) -> Vec<Problem> {
    let failed = states.iter().filter_map(|state| match (&state.route, &state.last_failure) {
        (Route::Proxy(_), Some(error)) => Some(error),
        _ => None,
    });
    let told = failed.map(|error| match error {
        RouteError::ProxyAuthentication { .. } => problem("proxy-authentication", error),
        _ => problem("proxy-failed", error),
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(route: &str, current: bool, failure: Option<RouteError>) -> RouteState {
        let route = route.parse().unwrap();
        RouteState { route, current, last_failure: failure }
    }

    fn refused(at: &str) -> RouteError {
        RouteError::Refused { at: at.parse().unwrap() }
    }

    fn wants_password(proxy: &str) -> RouteError {
        RouteError::ProxyAuthentication { proxy: proxy.parse().unwrap() }
    }

    const FIRST: &str = "proxy 10.0.0.1:1";
    const SECOND: &str = "proxy 10.0.0.2:1";

    #[test]
    fn a_failure_is_kept_until_the_route_works_again() {
        let failed = vec![
            state(FIRST, false, Some(refused("10.0.0.1:1"))),
            state(SECOND, true, None),
            state("direct", false, None),
        ];
        let first = reports(failed, &[], Contact::Reached, 100);
        let failures = |reports: &[RouteReport]| -> Vec<Option<UnixSeconds>> {
            reports.iter().map(|report| report.last_failure.as_ref().map(|f| f.at)).collect()
        };
        assert_eq!(failures(&first), [Some(100), None, None]);

        let untried = |current: &str| {
            [FIRST, SECOND, "direct"].map(|route| state(route, route == current, None)).to_vec()
        };
        let worked = |reports: &[RouteReport]| -> Vec<Option<UnixSeconds>> {
            reports.iter().map(|report| report.last_worked).collect()
        };
        assert_eq!(worked(&first), [None, Some(100), None]);
        let second = reports(untried(SECOND), &first, Contact::Reached, 200);
        assert_eq!(failures(&second), [Some(100), None, None], "not tried: as it was");
        let third = reports(untried(FIRST), &second, Contact::Reached, 300);
        assert_eq!(failures(&third), [None, None, None], "it works again");
        assert_eq!(worked(&third), [Some(300), Some(200), None]);
        let fourth = reports(untried(FIRST), &third, Contact::NotAsked, 400);
        assert_eq!(worked(&fourth), worked(&third), "nobody was asked");
    }

    #[test]
    fn the_route_is_kept_while_the_proxy_list_is_unchanged() {
        let list = |text: &str| ProxyList::parse(text, "", "").unwrap();
        let two = list("10.0.0.1:1,10.0.0.2:1");
        let states = vec![
            state(FIRST, false, Some(refused("10.0.0.1:1"))),
            state(SECOND, true, None),
            state("direct", false, None),
        ];
        let known = reports(states, &[], Contact::Reached, 1);
        assert_eq!(remembered(&known, None, &two), Some(SECOND.parse().unwrap()));
        for changed in ["", "10.0.0.2:1", "10.0.0.2:1,10.0.0.1:1", "10.0.0.1:1,10.0.0.2:2"] {
            assert_eq!(remembered(&known, None, &list(changed)), None, "{changed}");
        }
        // A host that connected directly because it had no proxies uses those that it is given.
        let direct = reports(vec![state("direct", true, None)], &[], Contact::Reached, 1);
        assert_eq!(remembered(&direct, None, &list("")), Some(Route::Direct));
        assert_eq!(remembered(&direct, None, &two), None);
        assert_eq!(remembered(&[], None, &two), None);
        // Only a new password: the proxy that refused the old one is tried again.
        let with = |password: &str| ProxyList::parse("10.0.0.1:1,10.0.0.2:1", "u", password);
        let digest = ProxyListDigest::new(&with("b2xk").unwrap(), [1; 16]);
        assert_eq!(
            remembered(&known, Some(&digest), &with("b2xk").unwrap()),
            remembered(&known, None, &two)
        );
        assert_eq!(remembered(&known, Some(&digest), &with("bmV3").unwrap()), None);
    }

    #[test]
    fn a_changed_proxy_list_clears_the_failures() {
        let with = |password: &str| ProxyList::parse("10.0.0.1:1,10.0.0.2:1", "u,u", password);
        let (old, corrected) = (with("b2xk,b2xk").unwrap(), with("b2xk,bmV3").unwrap());
        let digest = ProxyListDigest::new(&old, [1; 16]);
        let states = vec![
            state(FIRST, true, None),
            state(SECOND, false, Some(wants_password("10.0.0.2:1"))),
            state("direct", false, None),
        ];
        let untried = |current: &str| {
            [FIRST, SECOND, "direct"].map(|route| state(route, route == current, None)).to_vec()
        };
        for (list, failed) in [(&old, true), (&corrected, false)] {
            let mut known = reports(states.clone(), &[], Contact::Reached, 100);
            begin_anew(&mut known, Some(&digest), list);
            // The first works: the corrected one is not tried.
            let after = reports(untried(FIRST), &known, Contact::Reached, 200);
            assert_eq!(after[1].last_failure.is_some(), failed);
            assert_eq!(after[0].last_worked, Some(200));
        }
    }

    #[test]
    fn a_407_is_distinguished_from_a_dead_proxy() {
        let states = [
            state(FIRST, false, Some(wants_password("10.0.0.1:1"))),
            state(SECOND, false, Some(refused("10.0.0.2:1"))),
            state("direct", false, Some(refused("10.0.0.9:1"))),
        ];
        let told = problems(&states);
        let codes: Vec<_> = told.iter().map(|problem| problem.code.as_str()).collect();
        assert_eq!(codes, ["proxy-authentication", "proxy-failed"]);
        assert!(told[0].text.contains("407"), "{told:?}");
    }
}
