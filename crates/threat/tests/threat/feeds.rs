use std::io::Read;
use std::time::Duration;

use proptest::prelude::*;
use xshield_threat::Confidence;
use xshield_threat::feed::{
    Expiry, FeedError, Fields, Format, Levels, Limits, Port, Presence, Summary, read,
};
use xshield_threat::guard::Empty;
use xshield_threat::text::Range;

pub(crate) fn fields(address: &str, confidence: Option<&str>) -> Fields {
    Fields {
        address: address.into(),
        confidence: confidence.map(Into::into),
        valid_until: Some("until".into()).filter(|_| confidence.is_some()),
    }
}

pub(crate) fn plain() -> Format {
    Format::Plain { levels: None }
}

pub(crate) fn levels() -> Format {
    let step = |from, percent| (from, Confidence::new(percent).unwrap());
    Format::Plain { levels: Some(Levels(vec![step(1, 10), step(3, 60), step(8, 100)])) }
}

fn csv(separator: char, port: Port) -> Format {
    Format::Csv { separator, fields: fields("ip", None), port }
}

pub(crate) fn array(path: &[&str]) -> Format {
    let path = path.iter().map(|key| (*key).to_owned()).collect();
    Format::JsonArray { path, fields: fields("ip", Some("score")) }
}

/// Every record as a short text, and the summary of the rest.
pub(crate) fn records(format: &Format, bytes: &[u8]) -> Result<(Vec<String>, Summary), FeedError> {
    records_within(format, bytes, Limits::default())
}

fn records_within(
    format: &Format,
    bytes: impl Read,
    limits: Limits,
) -> Result<(Vec<String>, Summary), FeedError> {
    let mut found = Vec::new();
    let summary = read(format, bytes, limits, |record| {
        let mut text = match record.change {
            Presence::Listed => String::new(),
            Presence::Withdrawn => "-".to_owned(),
        };
        match record.range {
            Range::V4(first, last) if first == last => {
                text += &std::net::Ipv4Addr::from(first).to_string()
            }
            range => {
                let mut prefixes = Vec::new();
                range.each_prefix(|prefix| prefixes.push(prefix.to_string()));
                text += &prefixes.join("+");
            }
        }
        if let Some(confidence) = record.confidence {
            text += &format!(" {}", confidence.percent());
        }
        match record.expiry {
            Expiry::Never => {}
            Expiry::At(until) => text += &format!(" until {until}"),
            Expiry::In(Duration::ZERO) => text += " now",
            Expiry::In(wait) => text += &format!(" for {}s", wait.as_secs()),
        }
        found.push(text);
    })?;
    Ok((found, summary))
}

pub(crate) fn check(format: &Format, text: &str, expected: &[&str], rejected: &[(u64, &str)]) {
    let (found, summary) = records(format, text.as_bytes()).unwrap();
    assert_eq!(found, expected, "{text}");
    let samples: Vec<(u64, String)> =
        summary.samples.iter().map(|one| (one.line, one.reason.to_string())).collect();
    assert_eq!(samples.len(), rejected.len(), "{samples:?}");
    for ((line, reason), (wanted_line, wanted)) in samples.iter().zip(rejected) {
        assert!(line == wanted_line && reason.contains(wanted), "{line}: {reason}");
    }
}

#[test]
fn plain_lists() {
    check(
        &plain(),
        "\u{feff}# comment\n; comment\n\n1.2.3.4\r\n1.2.3.0/24 ; SBL1\n5.5.5.4 - 5.5.5.6 # range\n\
         2001:db8::/32\n01.2.3.4\n0x1.2.3.4\nexample.com\n0.0.0.0/0\n::/0\n1.2.3.4/24\n1.1.1.1 7\n\
         2.0.0.0/7\n9.9.9.9",
        &["1.2.3.4", "1.2.3.0/24", "5.5.5.4/31+5.5.5.6", "2001:db8::/32", "9.9.9.9"],
        &[
            (8, "octal"),
            (9, "hexadecimal"),
            (10, "a name"),
            (11, "every address"),
            (12, "every address"),
            (13, "bits after the prefix"),
            (14, "unexpected text"),
            (15, "wider"),
        ],
    );
    check(
        &levels(),
        "1.1.1.1\t1\n2.2.2.2\t2\n3.3.3.3 3\n4.4.4.4\t12\n5.5.5.5\n6.6.6.6\t0\n7.7.7.7\tmany\n\
         8.8.8.8 - 8.8.8.9 3\n8.8.9.0- 8.8.9.1\t3\n8.8.9.2 -8.8.9.3 3\n8.8.9.4-8.8.9.5 3\n\
         8.8.9.6 - 8.8.9.7\n8.8.9.8 - 8.8.9.9 3 4\n8.8.9.8 - 3\n",
        &[
            "1.1.1.1 10",
            "2.2.2.2 10",
            "3.3.3.3 60",
            "4.4.4.4 100",
            "5.5.5.5",
            "6.6.6.6 0",
            "8.8.8.8/31 60",
            "8.8.9.0/31 60",
            "8.8.9.2/31 60",
            "8.8.9.4/31 60",
            "8.8.9.6/31",
        ],
        &[(7, "confidence or count"), (13, "confidence or count"), (14, "not an IPv4")],
    );
}

#[test]
fn separated_values() {
    check(
        &csv(',', Port::Refused),
        "# made today\n# \"seen\",\"ip\"\n2026-01-01,1.2.3.4\n\"a,\"\"b\"\"\", \"5.6.7.8\" \n# 9.9.9.9\n\n\
         x\n\"shut\"x,1.1.1.1\nx,1.2.3.4:80\n",
        &["1.2.3.4", "5.6.7.8"],
        &[(7, "no such column"), (8, "quotes"), (9, "not an IPv4")],
    );
    // RFC 4180: a quoted field may span lines, whose content is its text.
    check(
        &csv(',', Port::Refused),
        "ip,note\r\n1.2.3.6,\"multi\r\n8.8.8.8,line\"\r\n1.2.3.7,\"\n\n# 8.8.8.8,x\n\"\"8.8.8.8\"\",\n\"\n\
         \"1.2.3\n.8\",x\n1.2.3.9,\"\"\n",
        &["1.2.3.6", "1.2.3.7", "1.2.3.9"],
        &[(9, "not an IPv4")],
    );
    let open =
        records(&csv(',', Port::Refused), b"ip,note\n1.2.3.4,x\n1.2.3.5,\"open\n8.8.8.8,x\n");
    assert!(matches!(open, Err(FeedError::OpenQuote { line: 3 })), "{open:?}");
    // Without a line of names, columns have numbers.
    let numbered = Format::Csv {
        separator: ';',
        fields: Fields { address: "@2".into(), confidence: Some("@3".into()), valid_until: None },
        port: Port::Refused,
    };
    check(
        &numbered,
        "# no names\nx;1.2.3.4;50.0\nx;1.2.3.5;\nx;1.2.3.6; 7 \nx;1.2.3.7;-1\nx;1.2.3.8;1e1\nx\n",
        &["1.2.3.4 50", "1.2.3.5", "1.2.3.6 7"],
        &[(5, "confidence"), (6, "confidence"), (7, "no such column")],
    );
    check(&csv('\t', Port::LeftOut), "a\tip\n\t1.2.3.4:80\n\t[::5]:80\n", &["1.2.3.4", "::5"], &[]);
    let scored =
        Format::Csv { separator: ';', fields: fields("ip", Some("score")), port: Port::Refused };
    check(
        &scored,
        "until;score;ip\n2026-12-01;70;1.1.1.1\n;101;2.2.2.2\n;5;3.3.3.3\n",
        &["1.1.1.1 70 until 1796169600", "3.3.3.3 5"],
        &[(3, "confidence")],
    );
    let letter = records(&csv('é', Port::Refused), b"ip\n1.1.1.1\n");
    assert!(matches!(letter, Err(FeedError::Separator { .. })));
    let missing = records(&scored, b"ip\n1.1.1.1\n");
    assert!(matches!(missing, Err(FeedError::NoColumn { .. })));
    let message = |text: &[u8]| records(&csv(',', Port::Refused), text).unwrap_err().to_string();
    let wanted = r#"the feed has no column "ip"; it has "address", "seen""#;
    assert!(message(b"address,seen\n1.2.3.4,x\n").starts_with(wanted));
    assert!(message(b"# made today\n# address,seen\n").starts_with(wanted));
}

#[test]
fn nested_and_missing_fields() {
    let nested = Format::JsonLines {
        fields: Fields {
            address: "ioc.ip".into(),
            confidence: Some("ioc.score.value".into()),
            valid_until: Some("until".into()),
        },
    };
    check(
        &nested,
        "{\"ioc\":{\"ip\":\" 1.2.3.4 \",\"score\":{\"value\":49.6}},\"until\":null}\n\
         {\"ioc\":\"1.2.3.5\"}\n{\"ioc\":[\"1.2.3.6\"],\"ip\":\"1.2.3.7\"}\n\
         {\"ioc.ip\":\"1.2.3.8\",\"ioc\":{\"score\":{\"value\":\" 70 \"}}}\n\
         {\"ioc\":{\"ip\":\"1.2.3.9\",\"score\":{\"value\":\"\"}}}\n\
         {\"ioc\":{\"ip\":\"1.1.1.1\",\"ip\":\"2.2.2.2\"}}\n\
         {\"ioc\":{\"ip\":\"1.1.1.1\",\"score\":{\"value\":-0.5}}}\n",
        &["1.2.3.4 50", "1.2.3.8 70", "1.2.3.9"],
        &[(6, "not one JSON"), (7, "confidence")],
    );
    let lines = Format::JsonLines { fields: fields("cidr", None) };
    let list = array(&["data"]);
    for (format, text) in [
        (&lines, "{\"ip\":\"1.2.3.4\",\"seen\":1}\n{\"x\":1}\n"),
        (&list, "{\"data\":[{\"address\":\"1.2.3.4\",\"seen\":{\"ip\":1}},{}]}"),
    ] {
        let error = records(format, text.as_bytes()).unwrap_err();
        let FeedError::NoField { there, .. } = &error else { panic!("{error:?}") };
        assert_eq!(there[1..], ["seen"], "{error}");
        assert!(error.to_string().contains("it has \""), "{error}");
    }
}

#[test]
fn json_lines_and_arrays() {
    let lines = Format::JsonLines { fields: fields("cidr", None) };
    check(
        &lines,
        "{\"cidr\":\"1.2.3.0/24\",\"sblid\":\"SBL1\"}\n{\"cidr\":\"1.2.3\n{\"cidr\":5}\n\
         {\"type\":\"metadata\",\"records\":1}\n{\"cidr\":\"1.1.1.1\",\"cidr\":\"2.2.2.2\"}\n",
        &["1.2.3.0/24"],
        &[(2, "not one JSON"), (3, "not an IPv4"), (5, "not one JSON")],
    );
    check(
        &array(&[]),
        "[\"1.2.3.4\", \"x.example\", null]",
        &["1.2.3.4"],
        &[(1, "a name"), (1, "")],
    );
    check(
        &array(&["data", "items"]),
        "{\"items\":[\"9.9.9.9\"],\"data\":{\"n\":1,\"items\":[{\"ip\":\"1.2.3.4\",\"score\":80,\n\
         \"until\":\"2026-12-01T00:00:00Z\",\"x\":[{\"ip\":\"8.8.8.8\"}]},{\"ip\":\"5.5.5.5\",\"score\":-1}]}}",
        &["1.2.3.4 80 until 1796083200"],
        &[(2, "confidence")],
    );
    // An invalid time is no reason to list forever.
    check(
        &array(&[]),
        r#"[{"ip":"1.2.3.4","until":"soon"},{"ip":"1.2.3.5","until":""},{"ip":"1.2.3.6","until":1796083200}]"#,
        &["1.2.3.5", "1.2.3.6 until 1796083200"],
        &[(1, "not a time")],
    );
    let elsewhere = records(&array(&["data"]), b"{\"items\":[]}");
    assert!(matches!(elsewhere, Err(FeedError::NoList { .. })));
}

fn all_formats() -> Vec<Format> {
    let lines = Format::JsonLines { fields: fields("ip", None) };
    let formats = [plain(), levels(), csv(',', Port::LeftOut), lines, array(&[]), array(&["data"])];
    formats.into_iter().chain([Format::Stix, Format::Misp, Format::CrowdSec]).collect()
}

#[test]
fn content_that_is_no_list_is_named_in_every_format() {
    for format in all_formats() {
        let failure = |bytes: &[u8]| match records(&format, bytes) {
            Err(error) => format!("{error:?}"),
            Ok(found) => panic!("{format:?} reads {bytes:?} as {found:?}"),
        };
        assert_eq!(failure(b"\n <!DOCTYPE html><html>"), "Html");
        let compressed: [(&[u8], &str); 3] =
            [(b"PK\x03\x04rest", "zip"), (b"BZh9rest", "bzip2"), (b"\xfd7zXZ\x00rest", "xz")];
        for (bytes, form) in compressed {
            assert_eq!(failure(bytes), format!("Compressed {{ form: {form:?} }}"));
        }
        assert_eq!(failure(b"\xff\xfe1\x00.\x00"), "Charset");
        assert_eq!(failure(b"1\x00.\x002\x00"), "Charset");
        let column = |text: &str| text == "Empty" || text.starts_with("NoColumn");
        assert!(column(&failure(b"")), "{format:?}");
        assert!(column(&failure(b" \n \n")), "{format:?}");
    }
    assert!(matches!(
        records(&plain(), b"no\nlist\n"),
        Err(FeedError::NothingUsable { rejected: 2 })
    ));
    for (format, text) in [
        (array(&[]), r#"["1.2.3.4", "1.2"#),
        (Format::Stix, r#"{"objects":[{"type":"ipv4-addr","value":"1.2.3.4"},"#),
        (Format::Misp, r#"{"Attribute":[{"type":"ip-src","value":"1.2.3.4"}]"#),
        (Format::CrowdSec, r#"{"new":[{"scope":"Ip","value":"1.2.3.4","duration":"1h"}"#),
    ] {
        assert!(matches!(records(&format, text.as_bytes()), Err(FeedError::Truncated)), "{text}");
    }
    assert!(matches!(records(&array(&[]), b"[\"1.2.3.4\"] x"), Err(FeedError::Json(_))));
}

#[test]
fn limits_apply_to_every_format() {
    let limits = Limits { line_bytes: 1000, ..Limits::default() };
    // 200 MB in one line are never in memory: the reader generates them on request.
    let endless = || std::io::repeat(b'1').take(200 << 20);
    let long = records_within(&plain(), endless(), limits);
    assert!(matches!(long, Err(FeedError::LineTooLong { line: 1, limit: 1000 })));
    let text = (&b"[\"1.2.3.4\",\n\""[..]).chain(endless());
    let long = records_within(&array(&[]), text, limits);
    assert!(matches!(long, Err(FeedError::LineTooLong { line: 2, limit: 1000 })), "{long:?}");

    let small = Limits { total_bytes: 20, ..Limits::default() };
    let list = b"1.2.3.4\n1.2.3.5\n1.2.3.6\n";
    assert!(matches!(records_within(&plain(), &list[..], small), Err(FeedError::TooLarge { .. })));
    let json = br#"["1.2.3.4", "1.2.3.5", "1.2.3.6"]"#;
    assert!(matches!(
        records_within(&array(&[]), &json[..], small),
        Err(FeedError::TooLarge { .. })
    ));
    let few = Limits { entries: 2, ..Limits::default() };
    let too_many = |format: &Format, bytes: &[u8]| {
        matches!(records_within(format, bytes, few), Err(FeedError::TooManyEntries { limit: 2 }))
    };
    assert!(too_many(&plain(), &list[..]) && too_many(&array(&[]), &json[..]));
}

/// A line of 200 MB in the middle of a list, in every line format and inside a document.
#[test]
fn long_lines_are_refused_anywhere() {
    let lines = Format::JsonLines { fields: fields("ip", None) };
    for (format, start, line) in [
        (plain(), "1.2.3.4\n", 2),
        (levels(), "1.2.3.4\t1\n# ", 2),
        (csv(',', Port::Refused), "ip\n1.2.3.4\n\"", 3),
        (lines, "{\"ip\":\"1.2.3.4\"}\n{\"x\":\"", 2),
        (Format::Stix, "{\"objects\":[\n{\"pattern\":\"", 2),
        (Format::Misp, "type,value,to_ids\nip-src,", 2),
        (Format::CrowdSec, "{\"new\":[{\"value\":\"", 1),
    ] {
        let endless = start.as_bytes().chain(std::io::repeat(b'x').take(200 << 20));
        let read = records_within(&format, endless, Limits::default());
        let found = matches!(read, Err(FeedError::LineTooLong { line: at, .. }) if at == line);
        assert!(found, "{format:?}: {read:?}");
    }
}

#[test]
fn other_charsets_are_refused_or_harmless() {
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for format in all_formats() {
        let read = records(&format, &utf_16("# a list\n1.2.3.4\n"));
        assert!(matches!(read, Err(FeedError::Charset)), "{format:?}");
    }
    // Latin-1: a comment is passed over, a name is refused and can be read in the sample.
    let (found, summary) = records(&plain(), b"# caf\xe9\n1.2.3.4\ncaf\xe9.example\n").unwrap();
    assert_eq!((found, summary.rejected), (vec!["1.2.3.4".to_owned()], 1));
    assert_eq!(summary.samples[0].reason.to_string(), "not UTF-8");
    let (found, summary) = records(&csv(',', Port::Refused), b"x,ip\ncaf\xe9,1.2.3.4\n").unwrap();
    assert_eq!((found, summary.rejected), (vec!["1.2.3.4".to_owned()], 0));
    let json = records(&array(&[]), b"[{\"ip\":\"1.2.3.4\",\"x\":\"caf\xe9\"}]");
    assert!(json.is_err() || json.is_ok_and(|(found, _)| found == ["1.2.3.4"]));
}

#[test]
fn samples_are_few_short_and_printable() {
    let mut text = "bad\u{1b}[31m\n".repeat(1000);
    text += &format!("{}\n1.2.3.4\n", "x".repeat(5000));
    let (_, summary) = records(&plain(), text.as_bytes()).unwrap();
    assert_eq!((summary.rejected, summary.samples.len()), (1001, 20));
    assert!(summary.samples.iter().all(|one| one.text.chars().all(|c| !c.is_control())));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        for format in all_formats() {
            let _ = records(&format, &bytes);
        }
    }

    #[test]
    fn written_entries_are_read_back(addresses in prop::collection::vec(any::<u32>(), 1..50)) {
        let addresses: Vec<String> =
            addresses.iter().map(|one| std::net::Ipv4Addr::from(*one | 1 << 28).to_string()).collect();
        let (found, _) = records(&plain(), addresses.join("\n").as_bytes()).unwrap();
        prop_assert_eq!(&found, &addresses);
        let json = serde_json::to_string(&addresses).unwrap();
        let (found, _) = records(&array(&[]), json.as_bytes()).unwrap();
        prop_assert_eq!(&found, &addresses);
    }
}

#[test]
fn an_empty_list_needs_permission() {
    let lines = Format::JsonLines { fields: fields("ip", None) };
    for (format, text, may_be) in [
        (plain(), "", true),
        (plain(), "# nothing today\n", true),
        (csv(',', Port::Refused), "ip,note\n", true),
        (lines.clone(), "", true),
        (array(&[]), "[]", true),
        (array(&["data"]), r#"{"data": []}"#, true),
        (Format::Misp, r#"{"response": {"Attribute": []}}"#, true),
        // Errors stay errors.
        (plain(), "<html>", false),
        (plain(), "evil.example\n", false),
        (csv(',', Port::Refused), "", false),
        (lines, r#"{"addr": "1.2.3.4"}"#, false),
        (array(&["data"]), r#"{"other": []}"#, false),
        (array(&[]), "[", false),
    ] {
        let read = |empty| {
            let limits = Limits { empty, ..Limits::default() };
            records_within(&format, text.as_bytes(), limits)
        };
        let refused = read(Empty::Refused);
        assert!(refused.is_err(), "{format:?} {text:?}");
        assert_eq!(matches!(refused, Err(FeedError::Empty)), may_be, "{format:?} {text:?}");
        let allowed = read(Empty::Allowed).map(|(found, _)| found);
        assert_eq!(
            allowed.as_ref().is_ok_and(Vec::is_empty),
            may_be,
            "{format:?} {text:?} {allowed:?}"
        );
    }
}
