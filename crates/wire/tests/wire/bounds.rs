//! What exceeds a limit is cut and reported, at either end and once.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use xshield_wire::bounds;
use xshield_wire::message::*;
use xshield_wire::telemetry::*;

use crate::messages::{check_in, event, report};
use crate::telemetry::{host_telemetry, package};

fn addresses(count: usize) -> Vec<IpAddr> {
    // With the longest possible text of an address.
    let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0));
    (0..count).map(|at| Ipv6Addr::from(first + at as u128).into()).collect()
}

fn problem(at: usize, text: &str) -> Problem {
    Problem { code: format!("p-{at}"), text: text.to_owned() }
}

fn route(text: &str) -> RouteStanding {
    let kind = RouteFailureKind::ProxyFailed;
    let failure = RouteFailure { at: 1, reason: text.to_owned(), kind };
    let route = format!("proxy {text}");
    RouteStanding { route, in_use: false, last_failure: Some(failure), last_worked: Some(1) }
}

fn filled(text: &str, addresses_: usize, problems: usize, routes: usize) -> CheckIn {
    let mut message = check_in(Status::Failed { reason: text.to_owned() });
    message.host.addresses = addresses(addresses_);
    for word in [&mut message.host.name, &mut message.host.os, &mut message.host.kernel] {
        *word = text.to_owned();
    }
    message.problems = (0..problems).map(|at| problem(at, text)).collect();
    message.routes = (0..routes).map(|_| route(text)).collect();
    message
}

fn bytes(message: &CheckIn) -> usize {
    message.to_json().unwrap().len()
}

#[test]
fn thousands_of_addresses_are_reported() {
    let mut message = filled("short", 5_000, 3, 2);
    let before = message.clone();
    assert_eq!(message.fit(), []);
    assert_eq!(message, before, "what is within the bounds stays as it is");
}

#[test]
fn excess_data_is_omitted_and_reported() {
    let mut message = filled("short", bounds::ADDRESSES + 7, bounds::PROBLEMS + 9, 1_000);
    let added: Vec<Problem> = message.fit().into_iter().map(Problem::from).collect();
    let texts: Vec<_> = added.iter().map(|problem| problem.text.as_str()).collect();
    for (text, expected) in texts.iter().zip([
        "of 8199 addresses only 8192 are reported",
        "of 1000 routes to the platform only 64 are reported",
        "of 509 problems only 497 are reported",
    ]) {
        assert!(text.starts_with(expected), "{texts:?}");
    }
    assert_eq!(added.len(), 3, "{texts:?}");
    assert!(added.iter().all(|problem| problem.code == bounds::LEFT_OUT));
    assert!(message.problems.ends_with(&added), "told with the rest");
    assert_eq!(message.problems.len(), bounds::PROBLEMS);
    assert_eq!(message.host.addresses.len(), bounds::ADDRESSES);
    assert_eq!(message.routes.len(), bounds::ROUTES);
}

#[test]
fn a_problem_is_reported_once() {
    let mut message = filled("short", 1, 0, 0);
    message.problems = vec![problem(1, "a"), problem(2, "b"), problem(1, "a"), problem(1, "b")];
    assert_eq!(message.fit(), []);
    assert_eq!(message.problems, [problem(1, "a"), problem(2, "b"), problem(1, "b")]);
}

#[test]
fn the_largest_check_in_is_within_the_byte_limit() {
    // Six bytes each in JSON; two; three in any form.
    for text in ["\u{1}", "\"", "€", "x"] {
        let mut message = filled(&text.repeat(10_000), 20_000, 2_000, 200);
        assert!(bytes(&message) > bounds::CHECK_IN_BYTES);
        message.fit();
        let all = bytes(&message);
        assert!(all <= bounds::CHECK_IN_BYTES, "{text:?}: {all} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fitting_is_idempotent(
        text in "[a€\u{1}\"]{0,9000}",
        addresses in prop_oneof![0..10_usize, 8_190..8_195_usize],
        problems in prop_oneof![0..10_usize, 495..505_usize, 900..1_000_usize],
        routes in prop_oneof![0..5_usize, 60..70_usize],
    ) {
        let mut message = filled(&text, addresses, problems, routes);
        message.fit();
        prop_assert!(bytes(&message) <= bounds::CHECK_IN_BYTES);
        let once = message.clone();
        prop_assert_eq!(message.fit(), vec![]);
        prop_assert_eq!(message, once);
    }
}

#[test]
fn lists_of_reports_are_cut_and_flows_count_as_lost() {
    let too_many = bounds::ITEMS + 5;
    let cut = |what, kept| vec![bounds::Cut { what, had: kept + 5, kept }];
    let events = vec![event(); too_many];
    let mut told = report(ReportBody::Events(EventReport { events, lost: u64::MAX - 2 }));
    assert_eq!(told.fit(), cut("events", bounds::ITEMS));
    let ReportBody::Events(events) = &told.body else { panic!("{told:?}") };
    assert_eq!((events.events.len(), events.lost), (bounds::ITEMS, u64::MAX));
    assert_eq!(told.fit(), []);

    let packages = vec![package("a", "1"); too_many];
    let contents = SoftwareContents::Full { packages };
    let digest = xshield_wire::Bytes([0; 32]);
    let software = SoftwareReport { taken: 1, digest, contents };
    let mut told = report(ReportBody::Software(software));
    assert_eq!(told.fit(), cut("packages", bounds::ITEMS));
    assert_eq!(told.fit(), []);
}

#[test]
fn thousands_of_interface_addresses_are_reported() {
    let mut host = host_telemetry();
    let interface = host.interfaces[0].clone();
    let with = |count| Interface { addresses: addresses(count), ..interface.clone() };
    host.interfaces = vec![with(5_000), with(5_000), with(1)];
    let cuts = host.fit();
    let kept: Vec<_> = host.interfaces.iter().map(|one| one.addresses.len()).collect();
    assert_eq!(kept, [5_000, bounds::ADDRESSES - 5_000, 0]);
    let what = "addresses of interfaces";
    assert_eq!(cuts, [bounds::Cut { what, had: 10_001, kept: bounds::ADDRESSES }]);
    assert_eq!(host.fit(), []);
    host.interfaces = vec![interface; bounds::PARTS + 1];
    assert_eq!(host.fit().len(), 1);
}
