//! The list when files on the platform's own disk are damaged.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "support/damage.rs"]
mod damage;
mod support;

use std::fs;

use damage::{Damage, stored};
use serde_json::{Value, json};
use support::{TestHost, TestPlatform};
use xshield_threat::ThreatMode;
use xshield_wire::envelope;
use xshield_wire::threat::{ThreatOrder, ThreatStanding};

fn add(platform: &TestPlatform, name: &str, settings: &Value) -> Value {
    platform.post("/api/v1/threat/feeds", json!({"name": name, "settings": settings}));
    run(platform, name)
}

fn run(platform: &TestPlatform, name: &str) -> Value {
    platform.post(&format!("/api/v1/threat/feeds/{name}/run"), json!({}))
}

fn is_listed(platform: &TestPlatform, address: &str) -> bool {
    platform.get(&format!("/api/v1/threat/why/{address}"))["listed"] == true
}

fn told(ran: &Value) -> &str {
    ran["failure"]["reason"].as_str().unwrap_or_default()
}

fn check_in(host: &mut TestHost, platform: &TestPlatform) -> ThreatOrder {
    let mut message = host.check_in_message();
    message.threat = Some(ThreatStanding {
        order: None,
        list: None,
        inbound: ThreatMode::Block,
        outbound: ThreatMode::Block,
        elements: 0,
        verified_at: None,
        memory: 8 << 30,
        budget: None,
        failure: None,
    });
    host.check_in_with(platform, &message);
    let answer = host.send(platform, "GET", "/host/v1/threat/order", b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    let asset = host.session.as_ref().unwrap().asset.clone();
    let opened = envelope::open_order(&answer.body, &[platform.policy_key()], &asset, 0);
    (*opened.unwrap()).clone()
}

/// The names of the files that lead a host without a list to the current one.
fn path(host: &TestHost, platform: &TestPlatform) -> Vec<String> {
    let answer = host.send(platform, "GET", "/host/v1/threat/path", b"");
    assert_eq!(answer.status, 200, "{}", answer.json());
    let path: xshield_wire::threat::ThreatPath = serde_json::from_slice(&answer.body).unwrap();
    path.files.iter().map(|file| xshield_threat::Digest(file.sha256.0).to_string()).collect()
}

#[test]
fn a_damaged_listing_keeps_the_hosts_list_and_the_next_run_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.txt");
    fs::write(&list, "198.51.100.1\n198.51.100.2\n").unwrap();
    let settings = json!({"source": {"file": list}, "format": {"plain": {"levels": null}}});
    let mut platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    add(&platform, "f", &settings);
    host.sign_in(&platform);
    let before = check_in(&mut host, &platform);
    assert_eq!(before.list.as_ref().unwrap().entries, 2);
    for damage in Damage::ALL {
        platform.end();
        stored(&platform, "listings").iter().for_each(|path| damage.befall(path));
        platform = platform.restart();

        let status = platform.get("/api/v1/threat/status");
        let trouble = status["trouble"].as_str().unwrap_or_default();
        assert!(trouble.contains("listing of feed f"), "{damage:?}: {status}");
        host.sign_in(&platform);
        let order = check_in(&mut host, &platform);
        assert_eq!(order.list, before.list, "{damage:?}: the list of before stays ordered");
        assert_eq!(path(&host, &platform).len(), 1, "{damage:?}: and there is a way to it");
        // Modes reach hosts nevertheless.
        let mode = |mode: &str| {
            let body = Some(json!({"mode": mode}));
            let path = "/api/v1/threat/modes";
            assert_eq!(platform.call("PUT", path, Some(&platform.admin), body).0, 200);
        };
        mode("event-only");
        let order = check_in(&mut host, &platform);
        assert_eq!((order.inbound, &order.list), (ThreatMode::EventOnly, &before.list));
        mode("block");

        let ran = run(&platform, "f");
        assert_eq!((told(&ran), &ran["entries"]), ("", &json!(2)), "{damage:?}: {ran}");
        let status = platform.get("/api/v1/threat/status");
        assert_eq!((&status["trouble"], &status["entries"]), (&json!(null), &json!(2)));
        assert!(is_listed(&platform, "198.51.100.1"), "{damage:?}");
        let order = check_in(&mut host, &platform);
        assert_eq!(order.list, before.list, "{damage:?}: it is the same list again");
    }
}

#[test]
fn a_damaged_snapshot_is_recreated() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.txt");
    fs::write(&list, "198.51.100.1\n198.51.100.2\n").unwrap();
    let settings = json!({"source": {"file": list}, "format": {"plain": {"levels": null}}});
    let mut platform = TestPlatform::start();
    let mut host = TestHost::new("h", &platform.new_key());
    add(&platform, "f", &settings);
    host.sign_in(&platform);
    let before = check_in(&mut host, &platform);
    let good = path(&host, &platform);
    for damage in Damage::ALL {
        platform.end();
        stored(&platform, "files").iter().for_each(|path| damage.befall(path));
        platform = platform.restart();
        host.sign_in(&platform);
        assert_eq!(check_in(&mut host, &platform).list, before.list, "{damage:?}");
        assert_eq!(path(&host, &platform), good, "{damage:?}");
        let file = format!("/host/v1/threat/files/{}", good[0]);
        let first = platform.raw("GET", &file, &[], b"");
        assert_eq!(first.status, 404, "{damage:?}: damaged bytes are not handed out");
        assert_eq!(path(&host, &platform), good, "{damage:?}: it is made again");
        let again = platform.raw("GET", &file, &[], b"");
        assert_eq!(again.status, 200, "{damage:?}");
        let limits = xshield_threat::codec::Limits::default();
        let set = xshield_threat::codec::read_snapshot(again.body.as_slice(), limits).unwrap();
        assert_eq!(set.len(), 2, "{damage:?}");
    }
}

#[test]
fn a_list_that_recurs_repairs_its_damaged_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.txt");
    let write = |lines: &str| fs::write(&list, lines).unwrap();
    write("198.51.100.1\n");
    let settings = json!({"source": {"file": list}, "format": {"plain": {"levels": null}}});
    let platform = TestPlatform::start();
    add(&platform, "f", &settings);
    let snapshots = stored(&platform, "files");
    write("198.51.100.2\n");
    run(&platform, "f");
    let diff = |from: u32, to: u32| {
        let path = format!("/api/v1/threat/diff?from={from}&to={to}");
        platform.call("GET", &path, Some(&platform.admin), None)
    };
    assert_eq!(diff(1, 2).0, 200);
    snapshots.iter().for_each(|path| Damage::Flipped.befall(path));
    let (status, answer) = diff(1, 2);
    assert_eq!(status, 409, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("damaged"), "{answer}");
    write("198.51.100.1\n");
    let ran = run(&platform, "f");
    assert_eq!(told(&ran), "", "{ran}");
    write("198.51.100.3\n");
    run(&platform, "f");
    let (status, answer) = diff(1, 4);
    assert_eq!((status, &answer["added"]["samples"]), (200, &json!(["198.51.100.3"])), "{answer}");
}
