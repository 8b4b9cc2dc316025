//! From a feed to what a host receives: the order, the path to the list, its files.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::{Value, json};
use support::{RawAnswer, TestHost, TestPlatform, eventually, now};
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
    let opened = envelope::open_order(&answer.body, &[platform.policy_key()], &asset, 0);
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

/// Follows the path as a host does; returns the resulting list and the number of bytes.
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
                codec::Delta::read(fetched.body.as_slice(), at.iter().map(Ok), limits)
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
fn a_feed_reaches_the_host_and_removed_entries_are_removed() {
    let platform = TestPlatform::start();
    platform.commit("settings: { addresses: [192.0.2.0/24] }");
    let mut host = TestHost::new("h", &platform.new_key());
    host.addresses = vec!["192.0.2.10".parse().unwrap()];
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

/// How `path` treats an address, by its explanation.
fn is_listed(platform: &TestPlatform, address: &str) -> bool {
    platform.get(&format!("/api/v1/threat/why/{address}"))["listed"] == true
}

fn put(platform: &TestPlatform, path: &str, body: Value) -> Value {
    let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
    assert_eq!(status, 200, "{answer}");
    answer
}

fn refused(platform: &TestPlatform, method: &str, path: &str, body: Value) -> (u16, String) {
    let (status, answer) = platform.call(method, path, Some(&platform.admin), Some(body));
    (status, answer["field"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn exceptions_are_subtracted_exactly_and_revert_when_removed() {
    let platform = TestPlatform::start();
    platform.commit("network: { name: partners, cidrs: [203.0.113.128/25] }\n");
    FileFeed::add(&platform, "f", "203.0.113.0/24\n198.51.100.7\n");
    let path = "/api/v1/threat/exceptions";
    let one = platform.post(path, json!({"target": "203.0.113.5", "reason": "our scanner"}));
    let network = json!({"target": "network:partners", "reason": "partners"});
    platform.post(path, network);
    for (address, listed) in [
        ("203.0.113.4", true),
        ("203.0.113.5", false),
        ("203.0.113.6", true),
        ("203.0.113.127", true),
        ("203.0.113.128", false),
        ("203.0.113.255", false),
    ] {
        assert_eq!(is_listed(&platform, address), listed, "{address}");
    }
    let why = platform.get("/api/v1/threat/why/203.0.113.5");
    assert_eq!(why["exceptions"][0]["by"], one["id"]);
    // The named network changes with the policy.
    platform.commit("network: { name: partners, cidrs: [203.0.113.128/26] }\n");
    eventually("the policy's network", || is_listed(&platform, "203.0.113.255").then_some(()));
    let (status, _) = platform.call(
        "DELETE",
        &format!("{path}/{}", one["id"].as_str().unwrap()),
        Some(&platform.admin),
        None,
    );
    assert_eq!(status, 204);
    assert!(is_listed(&platform, "203.0.113.5"));
    for (body, field) in [
        (json!({"target": "0.0.0.0/0", "reason": "x"}), "/target"),
        (json!({"target": "1.2.3.4/7", "reason": "x"}), "/target"),
        (json!({"target": "evil.example", "reason": "x"}), "/target"),
        (json!({"target": "network:nobody", "reason": "x"}), "/target"),
        (json!({"target": "1.2.3.4", "reason": " "}), "/reason"),
        (
            json!({"target": "1.2.3.4", "reason": "x", "expires_at": "2020-01-01T00:00:00Z"}),
            "/expires_at",
        ),
    ] {
        assert_eq!(refused(&platform, "POST", path, body.clone()), (422, field.into()), "{body}");
    }
    let audited = platform.get("/api/v1/audit?action=threat.exception");
    assert_eq!(audited["items"].as_array().unwrap().len(), 3, "{audited}");
}

#[test]
fn suspicious_listings_wait_for_an_operator() {
    let platform = TestPlatform::start();
    let many = |count: u32| -> String {
        (0..count).map(|n| format!("{}\n", std::net::Ipv4Addr::from(0xc633_6400 + 2 * n))).collect()
    };
    let feed = FileFeed::add(&platform, "f", &many(1000));
    feed.write(&many(5000));
    let ran = run(&platform, "f");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("held"), &json!(1000)), "{ran}");
    assert!(ran["held"]["reasons"][0].as_str().unwrap().contains("grew from 1000 to 5000"));
    assert_eq!(ran["held"]["added"], 4000);
    let rejected = platform.post("/api/v1/threat/feeds/f/reject", json!({}));
    assert_eq!((&rejected["state"], &rejected["held"]), (&json!("differs"), &json!(null)));
    let ran = run(&platform, "f");
    assert_eq!(ran["state"], "differs", "nobody is asked twice about the same, and all can see it");
    assert_eq!(
        (&ran["differs"]["entries"], &ran["differs"]["added"]),
        (&json!(5000), &json!(4000))
    );
    assert_eq!(ran["differs"]["at"], rejected["differs"]["at"], "since it was turned away");
    assert_eq!(platform.get("/api/v1/threat/status")["feeds"]["differs"], json!(["f"]));
    let metrics = platform.metrics();
    assert!(metrics.contains("xshield_threat_feed_differs{feed=\"f\"} 1"), "{metrics}");
    feed.write(&many(1000));
    let ran = run(&platform, "f");
    assert_eq!((&ran["state"], &ran["differs"]), (&json!("good"), &json!(null)), "as in force");
    feed.write(&many(5000));
    let ran = run(&platform, "f");
    assert_eq!(ran["state"], "differs", "the same listing again");
    // An operator can still approve a rejected listing.
    let approved = platform.post("/api/v1/threat/feeds/f/approve", json!({}));
    assert_eq!((&approved["state"], &approved["entries"]), (&json!("good"), &json!(5000)));
    feed.write(&many(1000));
    run(&platform, "f");
    let approved = platform.post("/api/v1/threat/feeds/f/approve", json!({}));
    assert_eq!((&approved["state"], &approved["entries"]), (&json!("good"), &json!(1000)));
    feed.write(&many(5001));
    assert_eq!(run(&platform, "f")["state"], "held", "this is something else");
    let approved = platform.post("/api/v1/threat/feeds/f/approve", json!({}));
    assert_eq!((&approved["state"], &approved["entries"]), (&json!("good"), &json!(5001)));
    assert_eq!(platform.get("/api/v1/threat/status")["entries"], 5001);
    assert_eq!(
        refused(&platform, "POST", "/api/v1/threat/feeds/f/approve", json!({})).0,
        409,
        "nothing waits"
    );
    feed.write(&many(10));
    let ran = run(&platform, "f");
    assert!(ran["held"]["reasons"][0].as_str().unwrap().contains("shrank"), "{ran}");
    feed.write("");
    let ran = run(&platform, "f");
    assert!(ran["failure"]["reason"].as_str().unwrap().contains("empty"), "{ran}");
    assert_eq!(ran["entries"], 5001);

    // A feed that lists a peer called by an own asset is held.
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let called = xshield_wire::message::FirewallEvent {
        kind: xshield_wire::message::EventKind::Accepted,
        direction: xshield_policy::Direction::Outbound,
        source: [192, 0, 2, 10].into(),
        destination: [203, 0, 113, 77].into(),
        protocol: xshield_policy::Protocol::Tcp,
        port: 443,
        rule: None,
        packets: 1,
        bytes: 60,
        first_seen: now(),
        last_seen: now(),
        from: xshield_wire::message::EventSource::Recorder,
        process: None,
    };
    let events = xshield_wire::message::EventReport { events: vec![called], lost: 0 };
    let report = support::report(xshield_wire::message::ReportBody::Events(events));
    assert_eq!(host.report(&platform, &report).status, 200);
    FileFeed::add(&platform, "g", "203.0.113.0/24\n");
    let held = platform.get("/api/v1/threat/feeds/g");
    assert!(held["held"]["reasons"][0].as_str().unwrap().contains("recent traffic"), "{held}");
    assert!(!is_listed(&platform, "203.0.113.77"));
}

#[test]
fn a_host_cannot_remove_an_address_from_the_list_of_others() {
    let platform = TestPlatform::start();
    // An operator lets hosts claim addresses that the list may contain.
    platform.commit("settings: { addresses: [192.0.2.0/24, 203.0.113.0/24] }");
    FileFeed::add(&platform, "f", "203.0.113.66\n198.51.100.0/24\n");
    assert!(is_listed(&platform, "203.0.113.66"));
    let mut host = TestHost::new("h", &platform.new_key());
    host.addresses =
        ["192.0.2.10", "203.0.113.66", "192.0.2.77"].map(|a| a.parse().unwrap()).into();
    host.sign_in(&platform);
    host.check_in(&platform);
    let listed = json!([{"asset": "h", "address": "203.0.113.66"}]);
    eventually("the status names it", || {
        (platform.get("/api/v1/threat/status")["listed_assets"] == listed).then_some(())
    });
    // Other changes compile the list again, with the addresses that the host claims by then.
    let feed = FileFeed::add(&platform, "g", "198.51.100.0/25\n203.0.113.77\n");
    assert!(is_listed(&platform, "203.0.113.77") && is_listed(&platform, "203.0.113.66"));
    // An address that a host had before it was listed stays off the list, whoever approves the listing.
    feed.write("192.0.2.77\n203.0.113.77\n");
    assert_eq!(run(&platform, "g")["state"], "held");
    platform.post("/api/v1/threat/feeds/g/approve", json!({}));
    assert!(!is_listed(&platform, "192.0.2.77") && is_listed(&platform, "203.0.113.66"));
    // An operator can override the list.
    let exception = json!({"target": "203.0.113.66", "reason": "the new address of h"});
    platform.post("/api/v1/threat/exceptions", exception);
    assert!(!is_listed(&platform, "203.0.113.66"));
    assert_eq!(platform.get("/api/v1/threat/status")["listed_assets"], json!([]));
}

#[test]
fn a_restored_revision_stays_until_feeds_are_resumed() {
    let platform = TestPlatform::start();
    let feed = FileFeed::add(&platform, "f", "198.51.100.1\n198.51.100.2\n");
    feed.write("198.51.100.2\n198.51.100.3\n");
    run(&platform, "f");
    let diff = platform.get("/api/v1/threat/diff?from=1&to=2");
    assert_eq!(diff["added"]["samples"], json!(["198.51.100.3"]));
    assert_eq!(diff["removed"]["samples"], json!(["198.51.100.1"]));
    let done = platform.post("/api/v1/threat/revisions/1/restore", json!({}));
    assert_eq!((&done["revision"], &done["restored"]), (&json!(3), &json!(1)), "{done}");
    assert!(is_listed(&platform, "198.51.100.1") && !is_listed(&platform, "198.51.100.3"));
    let why = platform.get("/api/v1/threat/why/198.51.100.1");
    assert_eq!(why["feeds"][0]["feed"], "f", "a restored list knows its feeds");
    feed.write("198.51.100.4\n");
    run(&platform, "f");
    assert!(!is_listed(&platform, "198.51.100.4"), "feeds don't count meanwhile");
    let exception = json!({"target": "198.51.100.1", "reason": "ours"});
    platform.post("/api/v1/threat/exceptions", exception);
    assert!(!is_listed(&platform, "198.51.100.1"), "exceptions do");

    let platform = platform.restart();
    assert_eq!(platform.get("/api/v1/threat/status")["restored"], 1);
    assert!(is_listed(&platform, "198.51.100.2") && !is_listed(&platform, "198.51.100.4"));
    platform.post("/api/v1/threat/resume", json!({}));
    assert!(is_listed(&platform, "198.51.100.4") && !is_listed(&platform, "198.51.100.2"));
    let revisions = platform.get("/api/v1/threat/revisions");
    assert_eq!(revisions["items"][0]["in_force"], true);
    assert_eq!(refused(&platform, "POST", "/api/v1/threat/revisions/99/restore", json!({})).0, 404);
}

#[test]
fn modes_and_budgets_reach_their_hosts() {
    let platform = TestPlatform::start();
    platform.commit("segment: { name: web, criteria: \"role = 'web'\" }\n");
    let mut host = TestHost::new("h", &platform.new_key());
    host.sign_in(&platform);
    let lines: String = (0..2000u32)
        .map(|n| format!("{}\t{}\n", std::net::Ipv4Addr::from(0xc633_6400 + 2 * n), 1 + n % 4))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("list");
    std::fs::write(&file, lines).unwrap();
    let levels = json!([[1, 20], [2, 40], [3, 60], [4, 80]]);
    let settings = json!({"source": {"file": file}, "format": {"plain": {"levels": levels}}});
    platform.post("/api/v1/threat/feeds", json!({"name": "f", "settings": settings}));
    run(&platform, "f");
    let whole = standing(None, None);
    check_in(&mut host, &platform, whole.clone());
    assert_eq!(order(&host, &platform).list.unwrap().entries, 2000);
    let (held, _) = follow(&host, &platform, None);

    // 88 bytes per address in the kernel: half of them fit, after rounding.
    put(&platform, "/api/v1/assets/h/threat/budget", json!({"bytes": 96_000}));
    check_in(&mut host, &platform, whole.clone());
    let part = order(&host, &platform).list.unwrap();
    assert_eq!((part.entries, part.whole_entries, part.least_confidence), (1000, 2000, 41));
    assert_eq!(follow(&host, &platform, Some(&held)).0.len(), 1000);
    let small = ThreatStanding { budget: Some(48_000), list: Some(part), ..whole.clone() };
    check_in(&mut host, &platform, small);
    assert_eq!(order(&host, &platform).list.unwrap().entries, 500, "the host grants less");
    let shown = platform.get("/api/v1/assets/h");
    assert_eq!(shown["threat"]["in_force"]["least_confidence"], 41);
    assert_eq!(shown["threat"]["wanted"]["entries"], 500);
    assert_eq!(platform.get("/api/v1/threat/status")["hosts"]["parts"], json!(["h"]));
    put(&platform, "/api/v1/assets/h/threat/budget", json!({"bytes": 10}));
    check_in(&mut host, &platform, whole.clone());
    assert_eq!(order(&host, &platform).list, None, "nothing fits");
    put(&platform, "/api/v1/assets/h/threat/budget", json!({}));

    let modes = "/api/v1/threat/modes";
    let ordered = |host: &mut TestHost| {
        check_in(host, &platform, standing(None, None));
        let order = order(host, &platform);
        assert_eq!(order.list.unwrap().entries, 2000, "modes don't change the list");
        (order.inbound, order.outbound)
    };
    use ThreatMode::{Block, EventOnly, Off};
    put(&platform, modes, json!({"mode": "event-only", "direction": "outbound"}));
    assert_eq!(ordered(&mut host), (Block, EventOnly));
    put(&platform, modes, json!({"mode": "off", "segment": "web"}));
    assert_eq!(ordered(&mut host), (Block, EventOnly), "it is not in the segment");
    let tags = json!({"tags": {"role": "web"}});
    let (status, _) = platform.call("PATCH", "/api/v1/assets/h", Some(&platform.admin), Some(tags));
    assert_eq!(status, 200);
    assert_eq!(ordered(&mut host), (Off, Off));
    put(&platform, modes, json!({"mode": "block", "asset": "h", "direction": "inbound"}));
    assert_eq!(ordered(&mut host), (Block, Off));
    put(&platform, modes, json!({"mode": "inherit", "asset": "h"}));
    put(&platform, modes, json!({"mode": "inherit", "segment": "web"}));
    assert_eq!(ordered(&mut host), (Block, EventOnly));
    for (body, field) in [
        (json!({"mode": "inherit"}), "/mode"),
        (json!({"mode": "block", "segment": "nobody"}), "/segment"),
        (json!({"mode": "block", "segment": "web", "asset": "h"}), "/asset"),
    ] {
        assert_eq!(refused(&platform, "PUT", modes, body.clone()), (422, field.into()), "{body}");
    }
}

#[test]
fn only_admins_can_add_feeds_from_files() {
    let platform = TestPlatform::start();
    let own =
        json!({"source": {"file": platform.data_dir()}, "format": {"plain": {"levels": null}}});
    platform.post("/api/v1/threat/feeds", json!({"name": "keys", "settings": own}));
    let ran = run(&platform, "keys");
    let told = ran["failure"]["reason"].as_str().unwrap();
    assert!(told.contains("outside the data directory"), "{ran}");
    assert_eq!(ran["read"]["samples"], json!([]));
    platform.post(
        "/api/v1/users",
        json!({"name": "olga", "role": "operator", "password": "another long password"}),
    );
    let operator = platform.login("olga", "another long password");
    let settings =
        json!({"source": {"file": "/etc/passwd"}, "format": {"plain": {"levels": null}}});
    let body = json!({"name": "passwd", "settings": settings});
    let (status, answer) =
        platform.call("POST", "/api/v1/threat/feeds", Some(&operator), Some(body));
    assert_eq!((status, &answer["field"]), (403, &json!("/settings/source")), "{answer}");
}

#[test]
fn a_kill_during_a_feed_run_keeps_the_list_in_force() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let list = dir.path().join("list.txt");
    std::fs::write(&list, "198.51.100.1\n").unwrap();
    for round in 0..3u32 {
        let (platform, child) = TestPlatform::start_process(dir.clone());
        if round == 0 {
            let settings =
                json!({"source": {"file": &list}, "format": {"plain": {"levels": null}}});
            platform.post("/api/v1/threat/feeds", json!({"name": "f", "settings": settings}));
            run(&platform, "f");
        }
        assert!(is_listed(&platform, "198.51.100.1"));
        assert!(is_listed(&platform, "198.51.100.3") == (round > 0));
        // A hundred thousand entries take long enough for a kill in between.
        let many: String = (0..100u32 * 1000)
            .map(|n| format!("{}\n", std::net::Ipv4Addr::from(0x2000_0000 + 3 * n + round)))
            .collect();
        std::fs::write(&list, many).unwrap();
        let settings = json!({"source": {"file": &list}, "format": {"plain": {"levels": null}}, "every": 3600});
        put(&platform, "/api/v1/threat/feeds/f", json!({"settings": settings}));
        drop(child);
        std::fs::write(&list, "198.51.100.1\n198.51.100.3\n").unwrap();
        let (platform, child) = TestPlatform::start_process(dir.clone());
        assert!(is_listed(&platform, "198.51.100.1"), "round {round}");
        run(&platform, "f");
        assert!(is_listed(&platform, "198.51.100.3"), "round {round}");
        drop(child);
    }
}
