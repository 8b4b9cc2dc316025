//! Well-known feeds: their addresses, formats and terms. Plain data; nothing is fetched because it is listed
//! here.
//!
//! The terms are short summaries of what the publishers stated in August 2026. They change, and users of a
//! feed are bound by the page itself: show [`Preset::terms_url`] beside [`Preset::terms`].

use std::time::Duration;

use serde::Serialize;

use crate::entry::Confidence;
use crate::feed::{Fields, Format, Levels, Port};

/// A feed that an operator can choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preset {
    /// The name of a feed created from it; a valid [`crate::FeedId`].
    pub id: &'static str,
    /// The title for people.
    pub title: &'static str,
    /// What it lists, and how reliable it is.
    pub about: &'static str,
    /// Its address.
    pub source: Source,
    /// Its format.
    pub format: Format,
    /// The confidence of entries without their own.
    pub confidence: Confidence,
    /// Whether it requires a key.
    pub key: Key,
    /// A summary of the terms of use.
    pub terms: &'static str,
    /// The page with the terms of use.
    pub terms_url: &'static str,
    /// The shortest allowed interval.
    pub least_interval: Duration,
}

/// The address of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// This URL.
    Url(&'static str),
    /// On the operator's own server, at a URL like this one.
    Own(&'static str),
}

/// How a feed authenticates its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// Not at all.
    None,
    /// By this header.
    Header(&'static str),
    /// Replaces `{key}` in the URL, so the URL is secret.
    InUrl,
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// All presets: those of publishers, the most reliable first, then those for own servers.
#[must_use]
pub fn presets() -> Vec<Preset> {
    let mut presets = published();
    presets.extend(of_own_servers());
    presets
}

fn published() -> Vec<Preset> {
    vec![
        spamhaus("spamhaus-drop-v4", "Spamhaus DROP", "https://www.spamhaus.org/drop/drop_v4.json"),
        spamhaus(
            "spamhaus-drop-v6",
            "Spamhaus DROP, IPv6",
            "https://www.spamhaus.org/drop/drop_v6.json",
        ),
        Preset {
            id: "feodo-tracker",
            title: "abuse.ch Feodo Tracker",
            about: "Command servers of botnets that are or recently were online. At times there \
                    are none, and the feed is reported as empty.",
            source: Source::Url("https://feodotracker.abuse.ch/downloads/ipblocklist.csv"),
            format: csv(fields("dst_ip", None), Port::Refused),
            confidence: percent(95),
            key: Key::None,
            terms: "CC0: any use, without liability of abuse.ch. The general terms of abuse.ch \
                    reserve a paid subscription for commercial use of its platforms.",
            terms_url: "https://feodotracker.abuse.ch/blocklist/",
            least_interval: HOUR,
        },
        Preset {
            id: "threatfox-ip-port",
            title: "abuse.ch ThreatFox, addresses",
            about: "Addresses and ports of malware command servers of the last days, each with a \
                    confidence. The whole address is listed, whatever the port.",
            source: Source::Url("https://threatfox.abuse.ch/export/csv/ip-port/recent/"),
            format: csv(fields("ioc_value", Some("confidence_level")), Port::LeftOut),
            confidence: percent(75),
            key: Key::Header("Auth-Key"),
            terms: "Fair use for purposes not for profit, with a free key of abuse.ch; others may \
                    need a paid subscription. Not to be passed on.",
            terms_url: "https://abuse.ch/terms-of-use/",
            least_interval: HOUR,
        },
        Preset {
            id: "urlhaus-online",
            title: "abuse.ch URLhaus, online",
            about: "URLs that spread malware now. Only those whose host is an address are listed: \
                    most are infected devices, whose addresses change hands within days.",
            source: Source::Url("https://urlhaus-api.abuse.ch/v2/files/exports/{key}/online.csv"),
            format: csv(fields("url", None), Port::InUrl),
            confidence: percent(60),
            key: Key::InUrl,
            terms: "Fair use for purposes not for profit, with a free key of abuse.ch; others may \
                    need a paid subscription. Not to be passed on.",
            terms_url: "https://abuse.ch/terms-of-use/",
            least_interval: HOUR,
        },
        Preset {
            id: "firehol-level1",
            title: "FireHOL level 1",
            about: "Combines the most reliable lists of other publishers. It also contains \
                 private and unassigned ranges, which are protected here, and ranges wider than \
                 a feed may list, which are refused and counted.",
            source: Source::Url(
                "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/firehol_level1.netset",
            ),
            format: plain(),
            confidence: percent(90),
            key: Key::None,
            terms: "Those of each combined list; some forbid commercial use.",
            terms_url: "https://github.com/firehol/blocklist-ipsets",
            least_interval: HOUR,
        },
        Preset {
            id: "dshield-block",
            title: "DShield recommended block list",
            about: "The 20 networks of 256 addresses that attack the most targets, as FireHOL \
                    republishes them. Scanners for research are among them.",
            source: Source::Url(
                "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/dshield.netset",
            ),
            format: plain(),
            confidence: percent(70),
            key: Key::None,
            terms: "CC BY-NC-SA 2.5: not for commercial use, credit to DShield.org.",
            terms_url: "https://www.dshield.org/block.txt",
            least_interval: HOUR,
        },
        Preset {
            id: "ipsum",
            title: "IPsum",
            about: "Addresses with the number of lists that contain them, which determines their \
                 confidence: 30 % for one list, 60 % for three, 100 % for eight and more.",
            source: Source::Url(
                "https://raw.githubusercontent.com/stamparm/ipsum/master/ipsum.txt",
            ),
            format: Format::Plain { levels: Some(ipsum_levels()) },
            confidence: percent(30),
            key: Key::None,
            terms: "The Unlicense (public domain). The combined lists have their own terms.",
            terms_url: "https://github.com/stamparm/ipsum/blob/master/LICENSE",
            least_interval: DAY,
        },
        Preset {
            id: "emerging-threats-compromised",
            title: "Emerging Threats, compromised hosts",
            about: "Compromised hosts that attack others.",
            source: Source::Url("https://rules.emergingthreats.net/blockrules/compromised-ips.txt"),
            format: plain(),
            confidence: percent(70),
            key: Key::None,
            terms: "The open rule set is under the 3-clause BSD licence; the list itself states none.",
            terms_url: "https://rules.emergingthreats.net/OPEN_download_instructions.html",
            least_interval: DAY,
        },
        Preset {
            id: "blocklist-de",
            title: "blocklist.de, all",
            about: "Addresses that attacked a participant's server in the last two days.",
            source: Source::Url("https://lists.blocklist.de/lists/all.txt"),
            format: plain(),
            confidence: percent(60),
            key: Key::None,
            terms: "Free of charge, as is and at your own risk; no licence is stated.",
            terms_url: "https://www.blocklist.de/en/export.html",
            least_interval: HOUR,
        },
        Preset {
            id: "cins-army",
            title: "CINS Army",
            about: "15,000 addresses of bad repute that are not on other well-known lists.",
            source: Source::Url("https://cinsscore.com/list/ci-badguys.txt"),
            format: plain(),
            confidence: percent(60),
            key: Key::None,
            terms: "Free of charge, for any use; no licence is stated.",
            terms_url: "https://cinsscore.com/",
            least_interval: HOUR,
        },
        Preset {
            id: "tor-exits",
            title: "Tor exits",
            about: "Exit nodes of the Tor network. Most of their traffic is harmless: best \
                 recorded only, or blocked where no one needs access through Tor.",
            source: Source::Url("https://check.torproject.org/torbulkexitlist"),
            format: plain(),
            confidence: percent(30),
            key: Key::None,
            terms: "Published by the Tor Project for use by services; no licence is stated.",
            terms_url: "https://check.torproject.org/",
            least_interval: HOUR,
        },
        x4bnet(
            "x4bnet-vpn-v4",
            "X4BNet, VPN providers",
            "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/vpn/ipv4.txt",
        ),
        x4bnet(
            "x4bnet-datacenter-v4",
            "X4BNet, data centres",
            "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/datacenter/ipv4.txt",
        ),
    ]
}

/// Presets for own servers and accounts.
fn of_own_servers() -> Vec<Preset> {
    let own = |id, title, about, example, format, confidence, key| Preset {
        id,
        title,
        about,
        source: Source::Own(example),
        format,
        confidence: percent(confidence),
        key,
        terms: "Those agreed with the server's operator.",
        terms_url: "",
        least_interval: Duration::from_secs(60),
    };
    vec![
        own(
            "crowdsec",
            "CrowdSec decisions",
            "Bans of a CrowdSec Local API, which expire or are withdrawn. The first \
             request asks for startup=true, later ones for changes.",
            "https://crowdsec.example:8080/v1/decisions/stream",
            Format::CrowdSec,
            90,
            Key::Header("X-Api-Key"),
        ),
        own(
            "misp",
            "MISP attributes",
            "Addresses marked for detection on a MISP server.",
            "https://misp.example/attributes/restSearch",
            Format::Misp,
            80,
            Key::Header("Authorization"),
        ),
        own(
            "misp-feed",
            "MISP feed",
            "A directory with a manifest.json and a document for each event, as MISP servers and \
             others publish it. Only changed events are requested again.",
            "https://misp.example/feed/",
            Format::Misp,
            50,
            Key::None,
        ),
        own(
            "taxii",
            "TAXII 2.1 collection",
            "Indicators of a TAXII collection, first all, then what was added.",
            "https://taxii.example/api/collections/ID/objects/",
            Format::Stix,
            80,
            Key::Header("Authorization"),
        ),
        Preset {
            id: "abuseipdb",
            title: "AbuseIPDB blacklist",
            about: "The addresses that were reported most, each with a confidence. A free account \
                    gets 10,000 addresses five times a day.",
            source: Source::Url("https://api.abuseipdb.com/api/v2/blacklist?confidenceMinimum=90"),
            format: Format::JsonArray {
                path: vec!["data".to_owned()],
                fields: fields("ipAddress", Some("abuseConfidenceScore")),
            },
            confidence: percent(90),
            key: Key::Header("Key"),
            terms: "For your own use with your own key; not to be redistributed.",
            terms_url: "https://www.abuseipdb.com/legal",
            least_interval: Duration::from_secs(6 * 3600),
        },
    ]
}

fn spamhaus(id: &'static str, title: &'static str, url: &'static str) -> Preset {
    Preset {
        id,
        title,
        about: "Networks that were hijacked or are leased by criminals. No legitimate traffic is \
                expected of them.",
        source: Source::Url(url),
        format: Format::JsonLines { fields: fields("cidr", None) },
        confidence: Confidence::FULL,
        key: Key::None,
        terms: "Free for any use. A product gives credit to The Spamhaus Project, and the date and \
                copyright text stay with the data. At most once an hour.",
        terms_url: "https://www.spamhaus.org/blocklists/drop-fair-use-policy/",
        least_interval: HOUR,
    }
}

fn x4bnet(id: &'static str, title: &'static str, url: &'static str) -> Preset {
    Preset {
        id,
        title,
        about: "Networks of data centres, from which people seldom browse. They are not \
             malicious as such: best recorded only.",
        source: Source::Url(url),
        format: plain(),
        confidence: percent(10),
        key: Key::None,
        terms: "MIT licence: keep the copyright notice of X4B (Mathew Heard).",
        terms_url: "https://github.com/X4BNet/lists_vpn",
        least_interval: DAY,
    }
}

/// The confidence by the number of lists: one means little; three that agree are seldom wrong.
fn ipsum_levels() -> Levels {
    let steps = [(1, 30), (2, 45), (3, 60), (4, 70), (5, 80), (6, 90), (8, 100)];
    Levels(steps.map(|(from, of)| (from, percent(of))).to_vec())
}

fn percent(percent: u8) -> Confidence {
    Confidence::new(percent).unwrap_or(Confidence::NONE)
}

fn plain() -> Format {
    Format::Plain { levels: None }
}

fn csv(fields: Fields, port: Port) -> Format {
    Format::Csv { separator: ',', fields, port }
}

fn fields(address: &str, confidence: Option<&str>) -> Fields {
    Fields {
        address: address.to_owned(),
        confidence: confidence.map(str::to_owned),
        valid_until: None,
    }
}
