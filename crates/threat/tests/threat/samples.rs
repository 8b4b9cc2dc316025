//! Feeds in their publishers' formats, parsed with their presets.

use std::collections::BTreeSet;

use xshield_threat::feed::{FeedError, Format, Limits, contents};
use xshield_threat::presets::{Key, Preset, Source, presets};
use xshield_threat::{FeedId, Listing};

const NOW: u64 = 1_795_241_228;

fn preset(id: &str) -> Preset {
    presets().into_iter().find(|preset| preset.id == id).unwrap()
}

fn show(listing: &Listing) -> String {
    let word = |(prefix, confidence): (xshield_threat::Prefix, xshield_threat::Confidence)| {
        format!("{prefix}={}", confidence.percent())
    };
    listing.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The entries of a text parsed with a preset; the number of skipped items; the refused lines.
fn check(id: &str, text: &str, listed: &str, skipped: u64, rejected: &[(u64, &str)]) {
    let Preset { format, confidence, .. } = preset(id);
    let read = contents(&format, text.as_bytes(), Limits::default(), confidence, NOW).unwrap();
    assert_eq!(show(&read.listed), listed, "{id}");
    assert_eq!(read.summary.skipped, skipped, "{id}");
    let samples = &read.summary.samples;
    assert_eq!(samples.len(), rejected.len(), "{id}: {samples:?}");
    for (sample, (line, reason)) in samples.iter().zip(rejected) {
        let fits = sample.line == *line && sample.reason.to_string().contains(reason);
        assert!(fits, "{id}: {sample:?}");
    }
}

#[test]
fn presets_are_complete() {
    let mut ids = BTreeSet::new();
    for preset in presets() {
        assert!(preset.id.parse::<FeedId>().is_ok() && ids.insert(preset.id), "{}", preset.id);
        let (Source::Url(url) | Source::Own(url)) = preset.source;
        assert!(url.starts_with("https://"), "{url}");
        assert_eq!(url.contains("{key}"), preset.key == Key::InUrl, "{url}");
        assert!(!preset.terms.is_empty() && !preset.about.is_empty(), "{}", preset.id);
        let terms = preset.terms_url.starts_with("https://");
        assert!(terms || matches!(preset.source, Source::Own(_)), "{}", preset.id);
        assert!(preset.least_interval.as_secs() >= 60, "{}", preset.id);
        let shown = serde_json::to_value(&preset).unwrap();
        let format: Format = serde_json::from_value(shown["format"].clone()).unwrap();
        assert_eq!(format, preset.format);
    }
}

#[test]
fn spamhaus_drop() {
    check(
        "spamhaus-drop-v4",
        r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"cidr":"2.56.192.0/22","sblid":"SBL459831","rir":"ripencc"}
{"cidr":"2.56.192.256/22","sblid":"SBL1","rir":"ripencc"}
{"type":"metadata","timestamp":1795200000,"size":90123,"records":3,"copyright":"(c) 2026 The Spamhaus Project SLU","terms":"https://www.spamhaus.org/drop/terms/"}
"#,
        "1.10.16.0/20=100 2.56.192.0/22=100",
        1,
        &[(3, "not an IPv4")],
    );
    check(
        "spamhaus-drop-v6",
        "{\"cidr\":\"2001:678:738::/48\",\"sblid\":\"SBL635837\",\"rir\":\"ripencc\"}\n{\"type\":\"metadata\",\"records\":1}\n",
        "2001:678:738::/48=100",
        1,
        &[],
    );
}

#[test]
fn ipsum_with_its_levels() {
    check(
        "ipsum",
        "# IPsum Threat Intelligence Feed\n# (https://github.com/stamparm/ipsum)\n#\n\
         # Last update: Sat, 21 Nov 2026 03:00:31 +0100\n#\n# IP\tnumber of (black)lists\n#\n\
         2.57.122.190\t12\n45.148.10.240\t8\n80.94.95.15\t7\n193.32.162.97\t3\n1.9.70.82\t1\n1.9.70.83\t-1\n",
        "1.9.70.82=30 2.57.122.190=100 45.148.10.240=100 80.94.95.15=90 193.32.162.97=60",
        0,
        &[(13, "not an IPv4")],
    );
}

#[test]
fn firehol_netsets() {
    check(
        "firehol-level1",
        "#\n# firehol_level1\n#\n# ipv4 hash:net ipset\n#\n# Maintainer      : FireHOL\n# Entries         : 5 subnets\n#\n\
         0.0.0.0/8\n1.10.16.0/20\n10.0.0.0/8\n5.188.10.179\n224.0.0.0/3\n",
        "0.0.0.0/8=90 1.10.16.0/20=90 5.188.10.179=90 10.0.0.0/8=90",
        0,
        &[(13, "wider than")],
    );
}

#[test]
fn abuse_ch_tables() {
    let head = "################################################################\r\n\
                # abuse.ch Feodo Tracker Botnet C2 IP Blocklist (CSV)          #\r\n\
                # Last updated: 2026-11-21 06:00:42 UTC                        #\r\n\
                # Terms Of Use: https://feodotracker.abuse.ch/blocklist/       #\r\n\
                ################################################################\r\n#\r\n";
    let columns =
        "\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"c2_status\",\"last_online\",\"malware\"\r\n";
    check(
        "feodo-tracker",
        &format!(
            "{head}{columns}\"2025-12-30 13:56:31\",\"50.16.16.211\",\"443\",\"online\",\"2026-11-20\",\"QakBot\"\r\n\
             \"2022-06-04 21:24:53\",\"162.243.103.246\",\"8080\",\"offline\",\"2026-11-20\",\"Emotet\"\r\n# END 2 entries\r\n"
        ),
        "50.16.16.211=95 162.243.103.246=95",
        0,
        &[],
    );
    let empty = format!("{head}{columns}# END 0 entries\r\n");
    let read = contents(
        &preset("feodo-tracker").format,
        empty.as_bytes(),
        Limits::default(),
        preset("feodo-tracker").confidence,
        NOW,
    );
    assert!(matches!(read, Err(FeedError::Empty)));
    check(
        "threatfox-ip-port",
        r##"################################################################
# ThreatFox IOCs: recent ip-port - CSV format                  #
################################################################
#
# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type","fk_malware","malware_alias","malware_printable","last_seen_utc","confidence_level","is_compromised","reference","tags","anonymous","reporter"
"2026-11-20 13:46:34", "1", "38.190.196.25:5638", "ip:port", "botnet_cc", "win.cobalt_strike", "Agentemis,BEACON", "Cobalt Strike", "", "75", "False", "None", "cs-watermark-987654321", "0", "abuse_ch"
"2026-11-20 12:00:00", "2", "8.134.12.90:7777", "ip:port", "botnet_cc", "win.cobalt_strike", "", "Cobalt Strike", "", "100", "True", "None", "", "0", "abuse_ch"
"2026-11-20 12:00:00", "3", "8.134.12.90", "ip:port", "botnet_cc", "", "", "", "", "high", "True", "None", "", "0", "abuse_ch"
# Number of entries: 3
"##,
        "8.134.12.90=100 38.190.196.25=75",
        0,
        &[(8, "confidence")],
    );
    check(
        "urlhaus-online",
        r##"################################################################
# abuse.ch URLhaus Database Dump (CSV - online URLs only)      #
################################################################
#
# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter
"3904166","2026-11-20 04:51:08","http://42.224.248.160:54570/bin.sh","online","2026-11-21 04:51:08","malware_download","32-bit,elf,mips,Mozi","https://urlhaus.abuse.ch/url/3904166/","geenensp"
"3904100","2026-11-20 11:00:00","https://bad.example.com/panel/x.exe?ip=1.2.3.4","online","2026-11-21 12:00:00","malware_download","exe","https://urlhaus.abuse.ch/url/3904100/","anonymous"
"3904101","2026-11-20 11:00:00","http://0300.0250.1.1/x","online","2026-11-21 12:00:00","malware_download","exe","https://urlhaus.abuse.ch/url/3904101/","anonymous"
"##,
        "42.224.248.160=60",
        1,
        &[(8, "octal")],
    );
}

#[test]
fn abuse_ipdb() {
    check(
        "abuseipdb",
        r#"{"meta":{"generatedAt":"2026-11-21T04:00:02+00:00"},"data":[
{"ipAddress":"5.188.10.179","countryCode":"RU","abuseConfidenceScore":100,"lastReportedAt":"2026-11-21T03:17:01+00:00"},
{"ipAddress":"2001:db8::1","countryCode":null,"abuseConfidenceScore":91,"lastReportedAt":"2026-11-21T03:17:01+00:00"}]}"#,
        "5.188.10.179=100 2001:db8::1=91",
        0,
        &[],
    );
    let errors = br#"{"errors":[{"detail":"Authentication failed.","status":401}]}"#;
    let Preset { format, confidence, .. } = preset("abuseipdb");
    let read = contents(&format, &errors[..], Limits::default(), confidence, NOW);
    assert!(matches!(read, Err(FeedError::NoList { list }) if list == "data"));
}

#[test]
fn plain_lists_of_addresses() {
    for id in ["blocklist-de", "cins-army", "tor-exits", "emerging-threats-compromised"] {
        let of = preset(id).confidence.percent();
        let listed = format!("1.1.224.146={of} 1.9.70.82={of} 2001:41d0:1::1={of}");
        check(id, "1.1.224.146\n1.9.70.82\n2001:41d0:1::1\n", &listed, 0, &[]);
    }
    check(
        "x4bnet-vpn-v4",
        "2.56.16.0/22\n2.56.20.0/24\n",
        "2.56.16.0/22=10 2.56.20.0/24=10",
        0,
        &[],
    );
}
