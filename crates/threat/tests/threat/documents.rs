//! STIX, MISP and CrowdSec.

use xshield_threat::Confidence;
use xshield_threat::feed::{FeedError, Format, Limits, contents};

use crate::feeds::{check, records};

const BUNDLE: &str = r#"{"type":"bundle","id":"bundle--5d0092c5-5f74-4287-9642-33f4c354e56d","objects":[
{"type":"indicator","spec_version":"2.1","id":"indicator--1","created_by_ref":"identity--1","created":"2026-11-01T00:00:00.000Z","modified":"2026-11-01T00:00:00.000Z","indicator_types":["malicious-activity"],"pattern":"[ipv4-addr:value = '1.2.3.4' OR ipv4-addr:value ISSUBSET '5.0.0.0/24']","pattern_type":"stix","pattern_version":"2.1","valid_from":"2026-11-01T00:00:00Z","valid_until":"2026-12-31T00:00:00Z","confidence":85},
{"type":"indicator","pattern":"[ipv4-addr:value = '6.0.0.0/24'] OR [ipv6-addr:value = '2001:db8::9']","pattern_type":"stix"},
{"type":"indicator","pattern":"[ipv4-addr:value = '9.9.9.9']","pattern_type":"stix","revoked":true},
{"type":"indicator","pattern":"[ipv4-addr:value = '1.1.1.1' AND domain-name:value = 'x']","pattern_type":"stix"},
{"type":"indicator","pattern":"[ipv4-addr:value = '010.1.1.1']","pattern_type":"stix"},
{"type":"indicator","pattern":"[ipv4-addr:value = '3.3.3.3']","pattern_type":"stix","valid_until":"when it ends"},
{"type":"indicator","pattern":"[ipv4-addr:value = '8.8.8.8']","pattern_type":"stix","indicator_types":["benign"]},
{"type":"indicator","pattern":"[domain-name:value = 'x.example']","pattern_type":"stix"},
{"type":"indicator","pattern":"alert tcp any","pattern_type":"snort"},
{"type":"ipv4-addr","id":"ipv4-addr--1","value":"7.7.7.7"},
{"type":"malware","name":"x","external_references":[{"value":"7.7.7.7"}]}]}"#;

#[test]
fn stix_bundles() {
    check(
        &Format::Stix,
        BUNDLE,
        &[
            "1.2.3.4 85 until 1798675200",
            "5.0.0.0/24 85 until 1798675200",
            "6.0.0.0/24",
            "2001:db8::9",
            "-9.9.9.9",
        ],
        &[(5, "conditions besides addresses"), (6, "octal"), (7, "not a time")],
    );
    let (_, summary) = records(&Format::Stix, BUNDLE.as_bytes()).unwrap();
    // Benign, a domain, Snort, an observed address and malware.
    assert_eq!(summary.skipped, 5);
}

/// Versions of indicators in any order, and indicators that are not valid yet.
#[test]
fn the_newest_version_of_an_indicator_counts() {
    let indicator = |id: &str, modified: &str, address: &str, more: &str| {
        format!(
            r#"{{"type":"indicator","id":"indicator--{id}","modified":"2026-11-{modified}Z","pattern":"[ipv4-addr:value = '{address}']"{more}}}"#
        )
    };
    let objects = [
        indicator("a", "02T10:00:00", "1.0.0.2", ""),
        indicator("a", "01T10:00:00", "1.0.0.1", ""),
        indicator("b", "01T10:00:00", "2.0.0.1", ""),
        indicator("b", "01T10:00:00.5", "2.0.0.2", ""),
        indicator("c", "01T10:00:00", "3.0.0.1", ""),
        indicator("c", "03T10:00:00", "3.0.0.1", r#","revoked":true"#),
        indicator("d", "01T10:00:00", "4.0.0.1", ""),
        indicator("d", "02T10:00:00", "4.0.0.1", r#","indicator_types":["benign"]"#),
        indicator("e", "01T10:00:00", "5.0.0.1", r#","valid_from":"2026-12-01T00:00:00Z""#),
        indicator("f", "01T10:00:00", "6.0.0.1", r#","valid_from":"2026-11-01T00:00:00Z""#),
        indicator("g", "01T10:00:00", "7.0.0.1", r#","valid_from":"soon""#),
        indicator("h", "01T10:00:00", "8.0.0.1'", ""),
    ];
    let text = format!(r#"{{"objects":[{}]}}"#, objects.join(",\n"));
    let full = Confidence::FULL;
    let read =
        |now| contents(&Format::Stix, text.as_bytes(), Limits::default(), full, now).unwrap();
    let shown = |listing: &xshield_threat::Listing| {
        listing.iter().map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>().join(" ")
    };
    let december = 1_796_083_200;
    let early = read(december - 1);
    assert_eq!(shown(&early.listed), "1.0.0.2 2.0.0.2 6.0.0.1");
    assert_eq!(shown(&early.withdrawn), "3.0.0.1 5.0.0.1");
    assert_eq!((early.summary.not_yet, early.summary.skipped), (1, 1));
    let reasons: Vec<String> =
        early.summary.samples.iter().map(|sample| sample.reason.to_string()).collect();
    assert!(reasons[0].contains("not a time") && reasons[1].contains("not closed"), "{reasons:?}");
    assert_eq!(shown(&read(december).listed), "1.0.0.2 2.0.0.2 5.0.0.1 6.0.0.1");
}

#[test]
fn taxii_envelopes() {
    let page = |text: &str| records(&Format::Stix, text.as_bytes()).unwrap();
    let (found, summary) = page(r#"{"more":true,"next":"p2","objects":[]}"#);
    assert!(found.is_empty() && summary.page.more);
    assert_eq!(summary.page.next.as_deref(), Some("p2"));
    let (found, summary) = page(
        r#"{"objects":[{"type":"indicator","pattern":"[ipv4-addr:value='1.2.3.4']"}],"more":false}"#,
    );
    assert_eq!((found, summary.page.more), (vec!["1.2.3.4".to_owned()], false));
    // "No changes" has several spellings; a page with only unusable objects is another one.
    for text in ["{}", r#"{"more":false}"#, r#"{"objects":[]}"#] {
        assert!(page(text).0.is_empty(), "{text}");
    }
    let unusable = r#"{"objects":[{"type":"indicator","pattern":"[ipv4-addr:value LIKE '1%']"}]}"#;
    assert_eq!(page(unusable).1.rejected, 1);
    let error = r#"{"title":"Unauthorized","http_status":"401"}"#;
    assert!(matches!(records(&Format::Stix, error.as_bytes()), Err(FeedError::NoList { .. })));
}

#[test]
fn expired_and_revoked_indicators_are_removed() {
    let read = |now| {
        let full = Confidence::FULL;
        contents(&Format::Stix, BUNDLE.as_bytes(), Limits::default(), full, now).unwrap()
    };
    let shown = |listing: &xshield_threat::Listing| {
        listing.iter().map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>().join(" ")
    };
    let early = read(1_798_675_199);
    assert_eq!(shown(&early.listed), "1.2.3.4 5.0.0.0/24 6.0.0.0/24 2001:db8::9");
    assert_eq!(shown(&early.withdrawn), "9.9.9.9");
    assert_eq!((early.summary.expired, early.listed.next_expiry()), (0, Some(1_798_675_200)));
    let late = read(1_798_675_200);
    assert_eq!(shown(&late.listed), "6.0.0.0/24 2001:db8::9");
    assert_eq!(shown(&late.withdrawn), "1.2.3.4 5.0.0.0/24 9.9.9.9");
    assert_eq!((late.summary.expired, late.listed.next_expiry()), (2, None));
    // A new version that ends an indicator removes it from the previous day's list.
    assert_eq!(shown(&early.listed.updated(&late.listed, &late.withdrawn)), shown(&late.listed));
}

#[test]
fn misp_attributes_as_json() {
    check(
        &Format::Misp,
        r#"{"response":[{"Event":{"info":"x","Attribute":[{"type":"ip-src","value":"1.2.3.4","to_ids":true},
{"type":"ip-dst|port","value":"5.6.7.8|443"},{"type":"domain","value":"x.example"},
{"type":"ip-dst","value":"8.8.8.8","to_ids":false},{"type":"ip-dst|port","value":"5.6.7.8|x"}],
"Object":[{"Attribute":[{"type":"ip-src","value":"9.9.9.0/24","deleted":true}]}]}}]}"#,
        &["1.2.3.4", "5.6.7.8", "-9.9.9.0/24"],
        &[(3, "unexpected text")],
    );
    check(
        &Format::Misp,
        r#"{"response":{"Attribute":[{"id":"7","event_id":"1","category":"Network activity","type":"ip-dst","to_ids":"1","value":"2001:db8::1","Event":{"id":"1"}},
{"type":"ip-dst","to_ids":"0","value":"8.8.8.8"},{"type":"ip-src","to_ids":true,"value":"2.2.2.2","deleted":"0"}]}}"#,
        &["2001:db8::1", "2.2.2.2"],
        &[],
    );
    let none = records(&Format::Misp, br#"{"response":[]}"#);
    assert!(matches!(none, Err(FeedError::NoList { .. })));
}

#[test]
fn misp_attributes_as_csv() {
    check(
        &Format::Misp,
        "uuid,event_id,category,type,value,comment,to_ids,date,object_relation,attribute_tag\n\
         \"5c1\",1,\"Network activity\",\"ip-dst\",\"1.2.3.4\",\"a, b\",1,20261121,\"\",\"\"\n\
         \"5c2\",1,\"Network activity\",\"ip-dst|port\",\"5.6.7.8|443\",\"\",1,20261121,\"\",\"\"\n\
         \"5c3\",1,\"Network activity\",\"ip-src\",\"8.8.8.8\",\"victim\",0,20261121,\"\",\"\"\n\
         \"5c4\",1,\"Network activity\",\"domain\",\"x.example\",\"\",1,20261121,\"\",\"\"\n\
         \"5c5\",1,\"Network activity\",\"ip-src\",\"0x7f.1\",\"\",1,20261121,\"\",\"\"\n\
         \"5c6\",1\n\
         \"5c7\",1,\"Network activity\",\"ip-dst\",\"1.2.3.9\",\"two\n\"\"5c8\"\",1,x,ip-dst,8.8.8.8,x,1\",1,2,\"\",\"\"\n",
        &["1.2.3.4", "5.6.7.8", "1.2.3.9"],
        &[(6, "hexadecimal"), (7, "no such column")],
    );
    let other = records(&Format::Misp, b"ip\n1.2.3.4\n");
    assert!(matches!(other, Err(FeedError::NoColumn { .. })));
}

#[test]
fn crowdsec_decisions() {
    check(
        &Format::CrowdSec,
        r#"{"deleted":[{"scope":"Ip","type":"ban","value":"1.1.1.1","duration":"-5m"}],"new":[
{"origin":"CAPI","scope":"Ip","type":"ban","value":"1.2.3.4","duration":"3h59m4s","scenario":"x"},
{"scope":"Range","type":"ban","value":"5.0.0.0/24","duration":"1h"},
{"scope":"Country","type":"ban","value":"XX","duration":"1h"},
{"scope":"Ip","type":"captcha","value":"6.6.6.6","duration":"1h"},
{"scope":"Ip","type":"ban","value":"6.6.6.7","duration":"1h","simulated":true},
{"scope":"ip","type":"ban","value":"2001:db8::7","duration":"1m30s","simulated":false},
{"scope":"Ip","type":"ban","value":"7.7.7.7","duration":"soon"}]}"#,
        &["-1.1.1.1", "1.2.3.4 for 14344s", "5.0.0.0/24 for 3600s", "2001:db8::7 for 90s"],
        &[(8, "duration")],
    );
    for nothing in [r#"{"new":null,"deleted":[]}"#, r#"{"new":null,"deleted":null}"#, "null"] {
        assert!(records(&Format::CrowdSec, nothing.as_bytes()).unwrap().0.is_empty(), "{nothing}");
    }
    let error = records(&Format::CrowdSec, br#"{"message":"access forbidden"}"#);
    assert!(matches!(error, Err(FeedError::NoList { .. })));
}

#[test]
fn decisions_are_removed_at_their_expiry() {
    let text = br#"{"new":[{"scope":"Ip","value":"1.2.3.4","duration":"4h"},
{"scope":"Ip","value":"1.2.3.4","duration":"1h"},{"scope":"Ip","value":"1.2.3.5","duration":"1h"},
{"scope":"Ip","value":"1.2.3.6","duration":"0s"}]}"#;
    let (full, limits) = (Confidence::FULL, Limits::default());
    let read = contents(&Format::CrowdSec, &text[..], limits, full, 1000).unwrap();
    assert_eq!((read.listed.len(), read.summary.expired), (2, 1));
    assert_eq!(read.listed.next_expiry(), Some(4600));
    let later = read.listed.in_force(4600);
    assert_eq!((later.len(), later.next_expiry()), (1, Some(15_400)));
}
