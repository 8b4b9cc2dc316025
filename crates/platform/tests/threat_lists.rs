//! From a feed to what a host is told: the order, the way to the list, its files.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::{Value, json};
use support::{RawAnswer, TestHost, TestPlatform, now};
use xshield_threat::{Digest, ThreatMode, ThreatSet, codec};
use xshield_wire::envelope;
use xshield_wire::message::{CheckInAnswer, VERSION};
use xshield_wire::threat::{
    ListName, ThreatFileKind, ThreatOrder, ThreatPath, ThreatStanding, ThreatWanted,
};

/// A feed of a file that the test writes.
struct FileFeed {
    dir: tempfile::TempDir,
}

impl FileFeed {
    fn add(platform: &TestPlatform, name: &str, lines: &str) -> Self {
        let feed = Self { dir: tempfile::tempdir().unwrap() };
        feed.write(lines);
        let settings =
            json!({"source": {"file": feed.path()}, "format": {"plain": {"levels": null}}});
        platform.post("/api/v1/threat/feeds", json!({"name": name, "settings": settings}));
        let ran = run(platform, name);
        assert_eq!(ran["failure"], json!(null), "{ran}");
        feed
    }

    fn path(&self) -> String {
        self.dir.path().join("list.txt").display().to_string()
    }

    fn write(&self, lines: &str) {
        std::fs::write(self.path(), lines).unwrap();
    }
}

fn run(platform: &TestPlatform, name: &str) -> Value {
    platform.post(&format!("/api/v1/threat/feeds/{name}/run"), json!({}))
}

fn set(text: &str) -> ThreatSet {
    text.split_whitespace()
        .map(|prefix| prefix.parse::<xshield_threat::Prefix>().unwrap())
        .collect()
}

fn standing(order: Option<ThreatWanted>, list: Option<ListName>) -> ThreatStanding {
    ThreatStanding {
        order,
        list,
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Block,
        elements: 0,
        verified_at: None,
        memory: 8 << 30,
        budget: None,
        failure: None,
    }
}

fn check_in(host: &mut TestHost, platform: &TestPlatform, threat: ThreatStanding) -> CheckInAnswer {
    let mut message = host.check_in_message();
    message.threat = Some(threat);
    host.check_in_with(platform, &message)
}

fn order(host: &TestHost, platform: &TestPlatform) -> ThreatOrder {
    let answer = host.send(platform, "GET", "/host/v1/threat/order", b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    let asset = host.session.as_ref().unwrap().asset.clone();
    let opened =
        envelope::open_payload::<ThreatOrder>(&answer.body, &[platform.policy_key()], &asset, 0);
    (*opened.unwrap()).clone()
}

/// Signs the query, too.
fn get(host: &TestHost, platform: &TestPlatform, path: &str, query: Option<&str>) -> RawAnswer {
    let session = host.session.as_ref().unwrap();
    let signer = xshield_wire::signature::Signer {
        key: &session.key,
        asset: &session.asset,
        token: &session.token,
    };
    let parts = xshield_wire::signature::RequestParts { method: "GET", path, query, body: b"" };
    let nonce = xshield_wire::Bytes(support::random());
    let headers = xshield_wire::signature::sign(signer, &parts, now(), nonce);
    let headers: Vec<_> =
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let whole = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    platform.raw("GET", &whole, &headers, b"")
}

/// Follows the path as a host does, and gives what it ends at and how many bytes that took.
fn follow(host: &TestHost, platform: &TestPlatform, held: Option<&ThreatSet>) -> (ThreatSet, u64) {
    let from = held.map(|set| format!("from={}", set.digest()));
    let answer = get(host, platform, "/host/v1/threat/path", from.as_deref());
    assert_eq!(answer.status, 200, "{}", answer.json());
    let path: ThreatPath = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(path.version, VERSION);
    let mut at = held.cloned().unwrap_or_default();
    for file in &path.files {
        let name = format!("/host/v1/threat/files/{}", Digest(file.sha256.0));
        let fetched = platform.raw("GET", &name, &[], b"");
        assert_eq!(fetched.status, 200, "{}", fetched.json());
        assert_eq!(fetched.body.len() as u64, file.bytes);
        assert_eq!(
            fetched.header("cache-control"),
            Some("public, max-age=31536000, immutable"),
            "any cache may keep it"
        );
        let limits = codec::Limits::default();
        at = match file.kind {
            ThreatFileKind::Snapshot => {
                codec::read_snapshot(fetched.body.as_slice(), limits).unwrap()
            }
            ThreatFileKind::Delta => {
                codec::Change::read(fetched.body.as_slice(), at.iter().map(Ok), limits)
                    .unwrap()
                    .apply(&at)
                    .unwrap()
            }
        };
        assert_eq!(at.digest(), Digest(file.to.0));
    }
    (at, path.files.iter().map(|file| file.bytes).sum())
}

#[test]
fn a_feed_reaches_the_host_and_what_it_drops_goes() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    assert_eq!(check_in(&mut host, &platform, standing(None, None)).threat, None, "no feed yet");
    let none = host.send(&platform, "GET", "/host/v1/threat/order", b"");
    assert_eq!((none.status, none.problem().as_str()), (404, "no-threat-order"));

    // The host's own address, a private range and the exception of a special range can't be listed.
    let lines = "198.51.100.7\n203.0.113.0/24\n10.1.0.0/16\n192.0.2.10\n2001:db8::/32\n127.0.0.1\n";
    let feed = FileFeed::add(&platform, "own", lines);
    let held = platform.get("/api/v1/threat/feeds/own");
    assert_eq!(held["state"], "held", "it lists an own asset: {held}");
    let answer = check_in(&mut host, &platform, standing(None, None)).threat;
    assert_eq!(answer, None, "nothing is in force before an operator agrees");
    platform.post("/api/v1/threat/feeds/own/approve", json!({}));
    let wanted = check_in(&mut host, &platform, standing(None, None)).threat.unwrap();
    let first = order(&host, &platform);
    assert_eq!((first.inbound, first.outbound), (ThreatMode::Block, ThreatMode::Block));
    assert_eq!(wanted.sequence, first.sequence);
    let list = first.list.clone().unwrap();
    let expected = set("198.51.100.7 203.0.113.0/24 2001:db8::/32");
    assert_eq!(Digest(list.digest.0), expected.digest());
    assert_eq!((list.revision, list.entries, list.whole_entries), (1, 3, 3));
    assert!(!list.is_part());
    let (held, _) = follow(&host, &platform, None);
    assert_eq!(held, expected);
    let again = check_in(&mut host, &platform, standing(Some(wanted), Some(list.clone())));
    assert_eq!(again.threat, Some(wanted), "nothing new, nothing signed anew");
    assert_eq!(follow(&host, &platform, Some(&held)), (expected, 0), "the host is there");

    feed.write("198.51.100.8\n203.0.113.0/24\n2001:db8::/32\n");
    run(&platform, "own");
    let newer = check_in(&mut host, &platform, standing(Some(wanted), Some(list))).threat.unwrap();
    assert!(newer.sequence > wanted.sequence);
    let (held, _) = follow(&host, &platform, Some(&held));
    assert_eq!(held, set("198.51.100.8 203.0.113.0/24 2001:db8::/32"));
    let stranger = set("192.0.2.77");
    assert_eq!(
        follow(&host, &platform, Some(&stranger)).0,
        held,
        "a snapshot leads on from anywhere"
    );

    let platform = platform.restart();
    let why = platform.get("/api/v1/threat/why/203.0.113.9");
    assert_eq!((&why["listed"], &why["blocked_as"]), (&json!(true), &json!("203.0.113.0/24")));
    assert_eq!(why["feeds"][0]["feed"], "own");
    assert!(why["since"].is_string(), "{why}");
    host.sign_in(&platform);
    let after = check_in(&mut host, &platform, standing(Some(newer), None)).threat;
    assert_eq!(after, Some(newer), "a restart changes nothing");
    assert_eq!(follow(&host, &platform, Some(&held)).0, held);

    let (status, _) =
        platform.call("DELETE", "/api/v1/threat/feeds/own", Some(&platform.admin), None);
    assert_eq!(status, 204);
    check_in(&mut host, &platform, standing(Some(newer), None));
    assert_eq!(order(&host, &platform).list, None, "no list: what is in force is taken out");
}
