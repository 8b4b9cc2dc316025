use std::net::IpAddr;

use proptest::prelude::*;
use xshield_threat::compile::{Compiler, Counts, Exception, Feed};
use xshield_threat::protect::{Protected, ProtectedBy, special_ranges};
use xshield_threat::{Confidence, Listing, Prefix, ThreatList};

use crate::{set, sets};

fn confidence(percent: u8) -> Confidence {
    Confidence::new(percent).unwrap()
}

/// A feed of `prefix=confidence` words.
fn feed(id: &str, least: u8, entries: &str) -> Feed {
    let entry = |word: &str| {
        let (prefix, percent) = word.split_once('=').unwrap_or((word, "50"));
        (prefix.parse::<Prefix>().unwrap(), confidence(percent.parse().unwrap()))
    };
    let listing: Listing = entries.split_whitespace().map(entry).collect();
    Feed { id: id.parse().unwrap(), least: confidence(least), listing }
}

fn list(feeds: Vec<Feed>, exceptions: &str) -> ThreatList {
    let exceptions = exceptions
        .split_whitespace()
        .map(|text| Exception { name: "partner".into(), prefix: text.parse().unwrap() });
    let own = Protected { prefix: "198.51.100.7".parse().unwrap(), by: ProtectedBy::OwnAsset };
    let protected = special_ranges().into_iter().chain([own]).collect();
    Compiler { feeds, exceptions: exceptions.collect(), protected }.compile()
}

#[test]
fn exceptions_and_protected_ranges_are_cut_out_exactly() {
    let feeds = vec![
        feed("a", 0, "1.2.3.0/30 198.51.100.6/31 10.1.2.3 127.0.0.1 224.0.0.1 fe80::1 2001:db8::1"),
        feed("b", 60, "9.9.9.9=59 8.8.8.8=60"),
    ];
    let got = list(feeds, "1.2.3.1");
    assert_eq!(got.set(), &set("1.2.3.0 1.2.3.2/31 198.51.100.6 8.8.8.8 2001:db8::1"));
}

#[test]
fn an_explanation_names_feeds_exceptions_and_ranges() {
    let feeds = vec![
        feed("a", 0, "1.2.3.0/24=30 1.2.3.4=90"),
        feed("b", 60, "1.2.0.0/16=40"),
        feed("c", 0, "5.5.5.5"),
    ];
    let list = list(feeds, "1.2.3.8/29");
    let why = list.why("1.2.3.4".parse().unwrap());
    assert!(why.blocked_as.is_some_and(|prefix| prefix.contains(why.address)));
    let listed: Vec<String> = why
        .listed
        .iter()
        .map(|one| format!("{} {} {} {:?}", one.feed, one.entry, one.confidence, one.counts))
        .collect();
    assert_eq!(
        listed,
        ["a 1.2.3.0/24 30 % Yes", "a 1.2.3.4 90 % Yes", "b 1.2.0.0/16 40 % TooUnsure"]
    );

    assert!(why.listed.iter().all(|one| one.since.is_none() && one.until.is_none()));
    let mut aged = feed("a", 0, "1.2.3.4");
    aged.listing = aged.listing.since_of(None, 1_790_000_000);
    let aged = self::list(vec![aged], "").why("1.2.3.4".parse().unwrap());
    assert_eq!(aged.listed[0].since, Some(1_790_000_000));

    let excepted = list.why("1.2.3.9".parse().unwrap());
    assert_eq!((excepted.blocked_as, excepted.exceptions.len()), (None, 1));
    let own = list.why("198.51.100.7".parse().unwrap());
    assert_eq!((own.blocked_as, own.protected[0].by), (None, ProtectedBy::OwnAsset));
    let unsure = list.why("1.2.9.9".parse().unwrap());
    assert_eq!((unsure.blocked_as, unsure.listed[0].counts), (None, Counts::TooUnsure));
}

#[test]
fn the_most_confident_part_is_the_largest_that_fits() {
    let feeds = vec![feed("a", 0, "1.0.0.1=10 1.0.0.3=50 1.0.0.5=50 1.0.0.7=100")];
    let list = list(feeds, "");
    for (room, least, entries) in [(9, 0, 4), (4, 0, 4), (3, 11, 3), (2, 51, 1), (1, 51, 1)] {
        let part = list.most_confident(|set| set.len() <= room).unwrap();
        assert_eq!((part.least, part.set.len()), (confidence(least), entries), "room for {room}");
    }
    assert_eq!(list.most_confident(|set| set.is_empty()), None);
}

#[test]
fn changes_update_a_listing() {
    let before = feed("a", 0, "1.1.1.1=50 2.2.2.2=50 3.0.0.0/8=50").listing;
    let listed = feed("a", 0, "4.4.4.4=70 1.1.1.1=90").listing;
    let withdrawn = feed("a", 0, "2.2.2.2 3.3.3.3").listing;
    let after = before.updated(&listed, &withdrawn);
    assert_eq!(after, feed("a", 0, "1.1.1.1=90 3.0.0.0/8=50 4.4.4.4=70").listing);
}

proptest! {
    #[test]
    fn the_list_is_the_feeds_without_exceptions(a in sets(), b in sets(), off in sets(), probe: u32) {
        let as_feed = |id: &str, set: &xshield_threat::ThreatSet| Feed {
            id: id.parse().unwrap(),
            least: Confidence::NONE,
            listing: set.iter().map(|prefix| (prefix, Confidence::FULL)).collect(),
        };
        let exceptions = off.iter().map(|prefix| Exception { name: String::new(), prefix });
        let list = Compiler {
            feeds: vec![as_feed("a", &a), as_feed("b", &b)],
            exceptions: exceptions.collect(),
            protected: vec![],
        }
        .compile();
        prop_assert_eq!(list.set(), &a.union(&b).difference(&off));
        // `why` and the list agree on addresses near and far.
        for address in [probe, 0x0a00_0000 + probe % 40] {
            let address = IpAddr::V4(address.into());
            let why = list.why(address);
            let expected = !why.listed.is_empty() && why.exceptions.is_empty();
            prop_assert_eq!(why.blocked_as.is_some(), expected);
            prop_assert_eq!(list.set().contains(address), expected);
        }
    }
}
