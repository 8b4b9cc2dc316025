use proptest::prelude::*;
use xshield_threat::listing::{Entry, ListingBuilder, store};
use xshield_threat::text::range;
use xshield_threat::{Confidence, Listing, Net, Prefix};

/// Words such as `1.2.3.4=50<1000`: confidence, and expiry in Unix seconds.
fn listing(words: &str) -> Listing {
    let mut builder = ListingBuilder::default();
    for word in words.split_whitespace() {
        let (word, until) = match word.split_once('<') {
            Some((word, until)) => (word, Some(until.parse().unwrap())),
            None => (word, None),
        };
        let (prefix, percent) = word.split_once('=').unwrap_or((word, "50"));
        let confidence = Confidence::new(percent.parse().unwrap()).unwrap();
        let range = range(prefix.as_bytes()).unwrap();
        match until {
            Some(until) => builder.push_until(range, confidence, until),
            None => builder.push(range, confidence),
        }
    }
    builder.finish()
}

/// Words such as `1.2.3.4=50@100<1000`: confidence, age, expiry.
fn show(listing: &Listing) -> String {
    let word = |entry: Entry| {
        let mut word = format!("{}={}", entry.prefix, entry.confidence.percent());
        entry.since.into_iter().for_each(|since| word += &format!("@{since}"));
        entry.until.into_iter().for_each(|until| word += &format!("<{until}"));
        word
    };
    listing.details().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn duplicate_entries_keep_the_stronger_properties() {
    for (given, kept) in [
        ("1.2.3.4=10 1.2.3.4=90 1.2.3.4=20", "1.2.3.4=90"),
        ("1.2.3.4<500 1.2.3.4<900 1.2.3.4<700", "1.2.3.4=50<900"),
        ("1.2.3.4=10<900 1.2.3.4=90<500", "1.2.3.4=90<900"),
        ("1.2.3.4<500 1.2.3.4", "1.2.3.4=50"),
        ("1.2.3.4 1.2.3.4/31<500 ::1", "1.2.3.4/31=50<500 1.2.3.4=50 ::1=50"),
        ("1.2.3.4<0 ::1<99999999999", "1.2.3.4=50<1 ::1=50<4294967294"),
    ] {
        assert_eq!(show(&listing(given)), kept, "{given}");
    }
}

#[test]
fn entries_keep_their_age_across_listings() {
    let first = listing("1.1.1.1 2.2.2.2 ::1").since_of(None, 100);
    assert_eq!(show(&first), "1.1.1.1=50@100 2.2.2.2=50@100 ::1=50@100");
    let second = listing("1.1.1.1=90 3.3.3.3 2.2.2.2/31 ::1").since_of(Some(&first), 200);
    assert_eq!(show(&second), "1.1.1.1=90@100 2.2.2.2/31=50@200 3.3.3.3=50@200 ::1=50@100");
    // An entry keeps a known age; one that was missing starts again.
    assert_eq!(second.since_of(None, 300), second);
    let third = listing("2.2.2.2").since_of(Some(&second), 300);
    assert_eq!(show(&third), "2.2.2.2=50@300");
}

#[test]
fn changes_keep_the_age_of_remaining_entries() {
    let before = listing("1.1.1.1=90 2.2.2.2<500 4.4.4.4").since_of(None, 100);
    let after =
        before.updated(&listing("1.1.1.1=10<900 3.3.3.3 4.4.4.4"), &listing("2.2.2.2 4.4.4.4"));
    let after = after.since_of(Some(&before), 200);
    assert_eq!(show(&after), "1.1.1.1=10@100<900 3.3.3.3=50@200 4.4.4.4=50@100");
}

#[test]
fn entries_expire() {
    let given = listing("1.1.1.1<500 2.2.2.2 ::1<400");
    assert_eq!(given.next_expiry(), Some(400));
    assert_eq!(given.in_force(399), given);
    let later = given.in_force(400);
    assert_eq!(
        (show(&later).as_str(), later.next_expiry()),
        ("1.1.1.1=50<500 2.2.2.2=50", Some(500))
    );
    let last = later.in_force(u64::MAX);
    assert_eq!((show(&last).as_str(), last.next_expiry()), ("2.2.2.2=50", None));
}

/// The platform reads what an earlier version of it wrote.
#[test]
fn version_1_of_the_store_is_pinned() {
    let given = listing("1.1.1.1<500 2.2.2.0/24=9 ::1=100").since_of(None, 100);
    let hex: String = store::encode(&given).iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = "4b904a7079c1bd4707a50c5169935189b2a3ee78dd5bc824c7cd9f96e93cae6f";
    assert_eq!(
        hex,
        format!("585446010201818284080e32c801ea07ff8184080b1809e907010664c801{digest}")
    );
}

#[test]
fn every_damaged_bit_and_every_cut_of_a_stored_listing_is_found() {
    let bytes = store::encode(&listing("1.1.1.1<500 2.2.2.0/24=9 ::1").since_of(None, 100));
    for at in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(store::decode(&bytes).is_err(), "bit {at}");
    }
    (0..bytes.len()).for_each(|end| assert!(store::decode(&bytes[..end]).is_err(), "cut at {end}"));
    assert!(store::decode(&[&bytes[..], b"\0"].concat()).is_err());
    assert_eq!(store::decode(b"<html>"), Err(store::StoreError::NotThis));
}

/// A matching digest does not make invalid content a listing.
#[test]
fn invalid_content_with_a_valid_digest_is_refused() {
    let sealed = |content: &[u8]| {
        let bytes = [b"XTF\x01", content].concat();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        store::decode(&[&bytes[..], digest.as_ref()].concat())
    };
    assert!(sealed(b"\0\0").is_ok_and(|listing| listing.is_empty()));
    assert!(sealed(b"\x01\0\x05\0").is_ok());
    for content in [
        &b""[..],
        b"\0",
        b"\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0",
        b"\x01\0\x05\x01\x21",
        b"\x01\0\x05\x01\x08",
        b"\x01\0\x05\x02\x65",
        b"\x02\0\x05\0\0\0",
        b"\x02\0\x05\0\xff\xff\xff\xff\x0f\0",
        b"\x01\0\xff\xff\xff\xff\xff\x01\0",
    ] {
        assert!(sealed(content).is_err(), "{content:x?}");
    }
}

#[test]
fn a_stored_listing_takes_few_bytes() {
    let number = |at: u32| Prefix::V4(Net::host(at.wrapping_mul(2_654_435_761)));
    let listing: Listing = (0..10_000).map(|at| (number(at), Confidence::FULL)).collect();
    let bytes = store::encode(&listing.since_of(None, 1_790_000_000));
    assert!(bytes.len() < 5 * 10_000, "{}", bytes.len());
}

type Given = Vec<(u32, u128, u8, u8, Option<u32>)>;

fn built(given: Given) -> Listing {
    let mut builder = ListingBuilder::default();
    for (v4, v6, len, percent, until) in given {
        let net = if len % 4 == 0 {
            Prefix::V6(Net::around(v6, len))
        } else {
            Prefix::V4(Net::around(v4, len % 33))
        };
        let confidence = Confidence::new(percent % 101).unwrap();
        match until {
            Some(until) => builder.push_until(net.into(), confidence, until.into()),
            None => builder.push_prefix(net, confidence),
        }
    }
    builder.finish()
}

proptest! {
    #[test]
    fn a_stored_listing_round_trips(a: Given, b: Given, now: u32, later: u32) {
        let first = built(a).since_of(None, now.into());
        let second = first.updated(&built(b), &Listing::default());
        let second = second.since_of(Some(&first), later.into());
        for listing in [first, second] {
            prop_assert_eq!(store::decode(&store::encode(&listing)), Ok(listing.clone()));
            prop_assert!(listing.details().all(|entry| entry.since.is_some()));
            prop_assert!(listing.details().all(|entry| listing.find(entry.prefix) == Some(entry)));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(content: Vec<u8>) {
        let bytes = [b"XTF\x01", &content[..]].concat();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        if let Ok(listing) = store::decode(&[&bytes[..], digest.as_ref()].concat()) {
            prop_assert_eq!(store::decode(&store::encode(&listing)), Ok(listing));
        }
    }
}
