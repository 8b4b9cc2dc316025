use xshield_threat::ThreatSet;
use xshield_threat::guard::{ChangeLimits, Empty, Guard, HoldReason, ReferenceAddresses, judge};

use crate::set;

fn reasons(before: Option<&str>, after: &str, own: &str, peers: &str) -> Vec<String> {
    let limits =
        ChangeLimits { growth_percent: 50, shrink_percent: 50, small: 1, empty: Empty::Refused };
    let (own, peers) = (set(own), set(peers));
    let surroundings = ReferenceAddresses { own_assets: &own, recent_peers: &peers };
    match judge(before.map(set).as_ref(), &set(after), surroundings, limits) {
        Guard::Pass => vec![],
        Guard::Hold { reasons } => reasons.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn suspicious_listings_are_held_with_the_reason() {
    let four = "1.0.0.1 1.0.0.3 1.0.0.5 1.0.0.7";
    for (before, after, own, peers, expected) in [
        (Some(four), four, "", "", ""),
        (Some(four), "1.0.0.1 1.0.0.3", "", "", ""),
        (Some(four), "1.0.0.1", "", "", "shrank from 4 to 1 entries"),
        (Some(four), "", "", "", "the feed is now empty"),
        (Some(four), "1.0.0.1 1.0.0.3 1.0.0.5 9.0.0.0/24", "", "", "from 4 to 259 IPv4 addresses"),
        (Some("::1"), "::/48", "", "", "from 1 to 65536 IPv6 /64"),
        (
            Some(four),
            "1.0.0.1 1.0.0.3 1.0.0.5 5.5.5.5",
            "5.5.5.0/24",
            "",
            "own assets, such as 5.5.5.5",
        ),
        (
            Some(four),
            "1.0.0.1 1.0.0.3 1.0.0.5 5.5.5.5",
            "",
            "5.5.5.5",
            "recent traffic, such as 5.5.5.5",
        ),
        // What it listed before is not new.
        (Some(four), "1.0.0.1 1.0.0.3 1.0.0.5", "1.0.0.1", "1.0.0.3", ""),
        (None, "5.5.5.5 6.6.6.6", "", "", ""),
        // The first addresses of a family do not count as growth; their number among the entries does.
        (Some(four), "1.0.0.1 1.0.0.3 1.0.0.5 1.0.0.7 2001:db8::/32", "", "", ""),
        (Some("2001:db8::/48 2001:db9::/48"), "2001:db8::/48 2001:db9::/48 5.0.0.0/8", "", "", ""),
        (Some("1.0.0.1"), "1.0.0.1 2001:db8::/48 2001:db9::/48", "", "", "from 1 to 3 entries"),
        (
            Some(four),
            "1.0.0.1 1.0.0.3 1.0.0.5 1.0.0.7 2001:db8::/32",
            "2001:db8::7",
            "",
            "own assets",
        ),
        (Some(""), "1.0.0.1 1.0.0.3 1.0.0.5", "", "", ""),
        (None, "5.5.5.5 6.6.6.6", "5.5.5.5", "", "own assets"),
    ] {
        let got = reasons(before, after, own, peers);
        let fits = if expected.is_empty() {
            got.is_empty()
        } else {
            got.iter().any(|reason| reason.contains(expected))
        };
        assert!(fits, "{before:?} to {after}: wanted {expected:?}, got {got:?}");
    }
}

#[test]
fn reasons_are_short() {
    let many: ThreatSet = (0..1000u32)
        .map(|n| xshield_threat::Prefix::V4(xshield_threat::Net::host(n * 2)))
        .collect();
    let none = ThreatSet::empty();
    let surroundings = ReferenceAddresses { own_assets: &many, recent_peers: &none };
    let Guard::Hold { reasons } = judge(None, &many, surroundings, ChangeLimits::default()) else {
        panic!("own assets are listed, yet the feed passes")
    };
    let [HoldReason::HitsOwnAssets { count: 1000, samples }] = &reasons[..] else {
        panic!("{reasons:?}")
    };
    assert_eq!(samples.len(), 20);
}

#[test]
fn a_feed_that_may_be_empty_needs_no_approval() {
    let none = ThreatSet::empty();
    let surroundings = ReferenceAddresses { own_assets: &none, recent_peers: &none };
    let many: ThreatSet = (0..1000u32)
        .map(|n| xshield_threat::Prefix::V4(xshield_threat::Net::host(n * 2)))
        .collect();
    let limits = ChangeLimits { empty: Empty::Allowed, ..ChangeLimits::default() };
    assert_eq!(judge(Some(&many), &none, surroundings, limits), Guard::Pass);
    assert_eq!(judge(Some(&none), &many, surroundings, limits), Guard::Pass);
    let refused = judge(Some(&many), &none, surroundings, ChangeLimits::default());
    assert!(matches!(refused, Guard::Hold { .. }), "{refused:?}");
    // One remaining entry is not empty: the limits apply.
    let shrunk = judge(Some(&many), &crate::set("0.0.0.0"), surroundings, limits);
    assert!(matches!(shrunk, Guard::Hold { .. }), "{shrunk:?}");
}
