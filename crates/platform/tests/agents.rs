//! What agents bring: commands, uploads, notifications, standing, telemetry and configuration.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use support::{TestHost, TestPlatform, eventually, now, report};
use xshield_policy::{Direction, Protocol};
use xshield_wire::Bytes;
use xshield_wire::control::{Notification, Switch, UploadStanding, UploadState};
use xshield_wire::message::*;
use xshield_wire::telemetry::*;

fn host(platform: &TestPlatform, name: &str) -> TestHost {
    let mut host = TestHost::new(name, &platform.new_key());
    host.sign_in(platform);
    host
}

fn outcome(id: &str, result: CommandResult) -> Report {
    let outcomes = vec![CommandOutcome { id: id.to_owned(), at: now(), result }];
    report(ReportBody::Commands { outcomes })
}

fn agent_check_in(host: &mut TestHost, platform: &TestPlatform) -> CheckInAnswer {
    let mut message = host.check_in_message();
    message.program.kind = ProgramKind::Agent;
    message.interval = Some(120);
    host.check_in_with(platform, &message)
}

#[test]
fn a_command_to_many_has_an_outcome_for_each() {
    let platform = TestPlatform::start();
    let mut hosts: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().map(|name| host(&platform, name)).collect();
    for name in ["a", "b", "c", "d"] {
        let (status, answer) = platform.call(
            "PATCH",
            &format!("/api/v1/assets/{name}"),
            Some(&platform.admin),
            Some(json!({"tags": {"role": "web"}})),
        );
        assert_eq!(status, 200, "{answer}");
    }
    let given = platform.post(
        "/api/v1/commands",
        json!({"kind": "diagnostics", "target": {"where": "role = 'web'"}, "expires_in_seconds": 3600}),
    );
    let id = given["id"].as_str().unwrap().to_owned();
    assert_eq!(given["progress"]["assets"], 4);
    assert_eq!(given["progress"]["waiting"], 4);

    for _ in 0..2 {
        for host in &mut hosts[..3] {
            let heard = host.check_in(&platform).commands;
            assert_eq!(heard.len(), 1, "told until there is an outcome");
            assert_eq!(
                (heard[0].id.as_str(), heard[0].kind),
                (id.as_str(), CommandKind::Diagnostics)
            );
            assert!(heard[0].expires.unwrap() > now() + 3000);
        }
    }
    assert_eq!(hosts[4].check_in(&platform).commands, Vec::new(), "not meant");
    let reason = "the disk is full".to_owned();
    for (index, result) in
        [CommandResult::Done, CommandResult::Failed { reason }, CommandResult::Unknown]
            .into_iter()
            .enumerate()
    {
        let told = outcome(&id, result);
        for _ in 0..2 {
            assert_eq!(hosts[index].report(&platform, &told).status, 200);
        }
    }
    // The first outcome counts, and nobody speaks for others.
    assert_eq!(hosts[0].report(&platform, &outcome(&id, CommandResult::Expired)).status, 200);
    assert_eq!(hosts[4].report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    let shown = platform.get(&format!("/api/v1/commands/{id}"));
    let progress = json!({"assets": 4, "waiting": 1, "told": 0, "done": 1, "failed": 1,
                          "expired": 0, "unknown": 1, "cancelled": 0});
    assert_eq!(shown["progress"], progress);
    let outcomes = platform.get(&format!("/api/v1/commands/{id}/outcomes"));
    let states: Vec<_> = outcomes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["asset"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("a", "done"), ("b", "failed"), ("c", "unknown"), ("d", "waiting")]);
    assert_eq!(outcomes["items"][1]["reason"], "the disk is full");
    let failed = platform.get(&format!("/api/v1/commands/{id}/outcomes?state=failed"));
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);

    let cancelled = platform.post(&format!("/api/v1/commands/{id}/cancel"), json!({}));
    assert_eq!(cancelled["progress"]["cancelled"], 1);
    assert_eq!(hosts[3].check_in(&platform).commands, Vec::new(), "taken back");
    for host in &mut hosts[..3] {
        assert_eq!(host.check_in(&platform).commands, Vec::new(), "it has ended");
    }
    let platform = platform.restart();
    assert_eq!(platform.get(&format!("/api/v1/commands/{id}"))["progress"]["done"], 1);
    let audited = platform.get("/api/v1/audit?action=command");
    assert_eq!(audited["items"].as_array().unwrap().len(), 2);
    assert_eq!(platform.get("/api/v1/assets/a/commands")["items"][0]["id"], json!(id));
    assert_eq!(platform.get("/api/v1/assets/e/commands")["items"], json!([]));
}

#[test]
fn commands_that_mean_nothing_sensible_are_refused() {
    let platform = TestPlatform::start();
    host(&platform, "a");
    let all = json!({"all": true});
    for (body, status, field) in [
        (json!({"kind": "dance", "target": all}), 422, "/kind"),
        (json!({"kind": "run-now", "target": {}}), 422, "/target"),
        (json!({"kind": "run-now", "target": {"assets": []}}), 422, "/target/assets"),
        (json!({"kind": "run-now", "target": {"assets": ["nobody"]}}), 404, ""),
        (
            json!({"kind": "run-now", "target": {"all": true, "source": "agent"}}),
            422,
            "/target/all",
        ),
        (json!({"kind": "run-now", "target": {"where": "role ="}}), 400, "/target/where"),
        (json!({"kind": "run-now", "target": {"where": "role = 'x'"}}), 422, "/target"),
        (json!({"kind": "run-now", "target": {"segment": "x"}}), 422, "/target/segment"),
        (
            json!({"kind": "run-now", "target": all, "expires_in_seconds": 0}),
            422,
            "/expires_in_seconds",
        ),
        (
            json!({"kind": "run-now", "target": all, "duration_seconds": 60}),
            422,
            "/duration_seconds",
        ),
        (
            json!({"kind": "debug-on", "target": all, "duration_seconds": 1}),
            422,
            "/duration_seconds",
        ),
        (json!({"kind": "run-now"}), 400, ""),
    ] {
        let (got, answer) =
            platform.call("POST", "/api/v1/commands", Some(&platform.admin), Some(body.clone()));
        assert_eq!(got, status, "{body}: {answer}");
        assert_eq!(answer["field"].as_str().unwrap_or_default(), field, "{body}: {answer}");
    }
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]), "nothing was given");
}

#[test]
fn a_command_that_is_not_picked_up_expires() {
    let platform = TestPlatform::start();
    let (mut quick, mut slow) = (host(&platform, "quick"), host(&platform, "slow"));
    let given = platform.post(
        "/api/v1/commands",
        json!({"kind": "debug-on", "target": {"all": true}, "expires_in_seconds": 2}),
    );
    let id = given["id"].as_str().unwrap().to_owned();
    assert_eq!(given["duration_seconds"], 3600);
    let heard = quick.check_in(&platform).commands;
    assert_eq!((heard[0].kind, heard[0].duration), (CommandKind::DebugOn, Some(3600)));
    let progress = || platform.get(&format!("/api/v1/commands/{id}"))["progress"].clone();
    eventually("expiring", || (progress()["expired"] == 1).then_some(()));
    assert_eq!(progress()["told"], 1, "who heard in time may still be at it");
    assert_eq!(slow.check_in(&platform).commands, Vec::new());
    assert_eq!(quick.check_in(&platform).commands, Vec::new());
    assert_eq!(quick.report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    assert_eq!(slow.report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    let progress = progress();
    assert_eq!((&progress["done"], &progress["expired"]), (&json!(1), &json!(1)));
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file as a host hands it over.
struct Upload<'a> {
    host: &'a TestHost,
    path: String,
    bytes: &'a [u8],
    sha256: String,
}

impl<'a> Upload<'a> {
    fn of(host: &'a TestHost, command: &str, bytes: &'a [u8]) -> Self {
        Self { host, path: format!("/host/v1/uploads/{command}"), bytes, sha256: sha256(bytes) }
    }

    fn put(&self, platform: &TestPlatform, from: usize, to: usize) -> support::RawAnswer {
        let query = format!("offset={from}&total={}&sha256={}", self.bytes.len(), self.sha256);
        self.host.send_query(platform, "PUT", &self.path, &query, &self.bytes[from..to])
    }

    fn standing(&self, platform: &TestPlatform) -> UploadStanding {
        let answer = self.host.send(platform, "GET", &self.path, b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        serde_json::from_slice(&answer.body).unwrap()
    }
}

fn read(answer: &support::RawAnswer) -> (u64, UploadState) {
    assert_eq!(answer.status, 200, "{}", answer.json());
    let standing: UploadStanding = serde_json::from_slice(&answer.body).unwrap();
    (standing.received, standing.state)
}

fn asked_for_diagnostics(platform: &TestPlatform, host: &mut TestHost) -> String {
    let given = platform
        .post(&format!("/api/v1/assets/{}/commands", host.name), json!({"kind": "diagnostics"}));
    host.check_in(platform);
    given["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let command = asked_for_diagnostics(&platform, &mut host);
    let upload = Upload::of(&host, &command, &bytes);
    assert_eq!(upload.standing(&platform).received, 0);
    assert_eq!(read(&upload.put(&platform, 0, 100_000)), (100_000, UploadState::Partial));
    assert_eq!(read(&upload.put(&platform, 0, 100_000)).0, 100_000, "a piece again");
    assert_eq!(read(&upload.put(&platform, 200_000, 300_000)).0, 100_000, "a piece too far");
    // What a kill between writing and writing down leaves behind is overwritten.
    let parts = platform.data_dir().join("uploads");
    let part = std::fs::read_dir(&parts).unwrap().next().unwrap().unwrap().path();
    assert!(part.file_name().unwrap().to_str().unwrap().starts_with("up-"), "{part:?}");
    let mut longer = std::fs::read(&part).unwrap();
    longer.extend([7; 5000]);
    std::fs::write(&part, longer).unwrap();
    let platform = platform.restart();
    assert_eq!(upload.standing(&platform).received, 100_000);
    assert_eq!(read(&upload.put(&platform, 100_000, 1_100_000)).0, 1_100_000);
    assert_eq!(platform.get("/api/v1/diagnostics?asset=h")["items"][0]["complete"], false);
    let last = upload.put(&platform, 1_100_000, bytes.len());
    assert_eq!(read(&last), (1_200_000, UploadState::Complete));
    assert_eq!(read(&upload.put(&platform, 0, 10)), (1_200_000, UploadState::Complete));

    let listed = platform.get("/api/v1/diagnostics?asset=h");
    assert_eq!(listed["items"][0]["sha256"], json!(sha256(&bytes)));
    assert_eq!(listed["items"][0]["command"], json!(command));
    let authorized = [("authorization".to_owned(), format!("Bearer {}", platform.admin))];
    let id = listed["items"][0]["id"].as_str().unwrap();
    for path in [id, "h"] {
        let got = platform.raw("GET", &format!("/api/v1/diagnostics/{path}"), &authorized, b"");
        assert!(got.status == 200 && got.body == bytes, "{path}: {}", got.status);
    }
    let gone = platform.raw("DELETE", &format!("/api/v1/diagnostics/{id}"), &authorized, b"");
    assert_eq!(gone.status, 204);
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 0);
}

#[test]
fn uploads_nobody_asked_for_or_that_are_wrong_are_refused() {
    let platform = TestPlatform::start_with(|settings| settings.uploads_total = 5000);
    let (mut host, other) = (host(&platform, "h"), host(&platform, "other"));
    let bytes = vec![1; 2000];
    let refused = |answer: support::RawAnswer| (answer.status, answer.problem());
    let unasked = Upload::of(&host, "cmd-x", &bytes).put(&platform, 0, 2000);
    assert_eq!(refused(unasked), (404, "upload-not-asked".to_owned()));
    let command = asked_for_diagnostics(&platform, &mut host);
    let foreign = Upload::of(&other, &command, &bytes).put(&platform, 0, 2000);
    assert_eq!(refused(foreign), (404, "upload-not-asked".to_owned()));
    for (query, status, problem) in [
        ("offset=0&total=0&sha256=00", 413, "too-large"),
        ("offset=0&total=99999999999&sha256=00", 413, "too-large"),
        ("offset=0&total=20&sha256=00", 422, "invalid-value"),
        ("offset=x", 422, "invalid-value"),
    ] {
        let path = format!("/host/v1/uploads/{command}");
        let answer = host.send_query(&platform, "PUT", &path, query, b"x");
        assert_eq!(refused(answer), (status, problem.to_owned()), "{query}");
    }
    let mut wrong = Upload::of(&host, &command, &bytes);
    wrong.sha256 = sha256(b"something else");
    assert_eq!(refused(wrong.put(&platform, 0, 2000)), (422, "digest-wrong".to_owned()));
    assert_eq!(wrong.standing(&platform).received, 0, "begin anew");
    assert_eq!(read(&wrong.put(&platform, 0, 1000)), (1000, UploadState::Partial));
    let right = Upload::of(&host, &command, &bytes);
    assert_eq!(read(&right.put(&platform, 1000, 2000)).0, 0, "another file begins anew");
    assert_eq!(read(&right.put(&platform, 0, 1000)).0, 1000);
    std::fs::remove_dir_all(platform.data_dir().join("uploads")).unwrap();
    assert_eq!(read(&right.put(&platform, 1000, 2000)).0, 0, "bytes that are gone come again");
    assert_eq!(read(&right.put(&platform, 0, 2000)).1, UploadState::Complete);

    let second = asked_for_diagnostics(&platform, &mut host);
    let large = vec![2; 4000];
    let full = Upload::of(&host, &second, &large).put(&platform, 0, 4000);
    assert!(full.header("retry-after").is_some());
    assert_eq!(refused(full), (507, "uploads-full".to_owned()));
}

fn notified(answer: &support::RawAnswer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.json());
    serde_json::from_slice::<Notification>(&answer.body).unwrap().seen
}

#[test]
fn whatever_comes_up_after_a_check_in_ends_the_poll() {
    let platform = Arc::new(TestPlatform::start());
    let mut host = host(&platform, "h");
    let first = host.poll(&platform, None);
    notified(&first);
    host.check_in(&platform);
    eventually("settling", || {
        let seen = agent_check_in(&mut host, &platform).seen.unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        (agent_check_in(&mut host, &platform).seen.unwrap() == seen).then_some(())
    });
    type Change = fn(&TestPlatform);
    let changes: [(&str, Change); 4] = [
        ("ruleset", |platform| {
            platform.commit("segment: { name: web, criteria: role = 'web' }");
        }),
        ("command", |platform| {
            platform.post("/api/v1/assets/h/commands", json!({"kind": "run-now"}));
        }),
        ("configuration", |platform| {
            let body = Some(json!({"heartbeat": 30}));
            let path = "/api/v1/host-configuration";
            assert_eq!(platform.call("PUT", path, Some(&platform.admin), body).0, 200);
        }),
        ("tags", |platform| {
            let body = Some(json!({"tags": {"role": "web"}}));
            assert_eq!(
                platform.call("PATCH", "/api/v1/assets/h", Some(&platform.admin), body).0,
                200
            );
            platform.commit(
                "segment: { name: web, criteria: role = 'web', inbound: { level: \
                             secure-all-ports, mode: test } }",
            );
        }),
    ];
    for (what, change) in changes {
        // Between check-in and poll.
        let seen = agent_check_in(&mut host, &platform).seen.unwrap();
        change(&platform);
        let answer = host.poll(&platform, Some(&seen));
        assert_ne!(notified(&answer), seen, "{what}");
        // While the poll waits.
        let seen = agent_check_in(&mut host, &platform).seen.unwrap();
        if what == "tags" || what == "configuration" {
            continue;
        }
        let waiting = host.poll_in_background(&platform, &seen);
        eventually("the poll to wait", || (platform.held_polls() == 1).then_some(()));
        change(&platform);
        assert_ne!(notified(&waiting.join().unwrap()), seen, "{what}");
    }
}

#[test]
fn a_newer_poll_ends_the_older_and_a_stop_ends_all() {
    let mut platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    let seen = eventually("settling", || {
        let seen = agent_check_in(&mut host, &platform).seen.unwrap();
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        (agent_check_in(&mut host, &platform).seen.unwrap() == seen).then_some(seen)
    });
    let older = host.poll_in_background(&platform, &seen);
    eventually("the poll to wait", || (platform.held_polls() == 1).then_some(()));
    let newer = host.poll_in_background(&platform, &seen);
    assert_eq!(older.join().unwrap().status, 204);
    assert_eq!(platform.held_polls(), 1);
    let asked = Instant::now();
    platform.begin_stop();
    assert_eq!(newer.join().unwrap().status, 204);
    platform.end();
    assert!(asked.elapsed().as_secs() < 20, "nobody waited for the poll's end");
}

#[test]
fn a_decommissioned_asset_is_refused_and_keeps_its_history() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    agent_check_in(&mut host, &platform);
    let events = vec![AgentEvent {
        at: now(),
        kind: AgentEventKind::Started,
        text: "started".to_owned(),
        revision: None,
        seconds: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::Agent { events })).status, 200);
    platform.post("/api/v1/assets/h/decommission", json!({}));
    let body = serde_json::to_vec(&host.check_in_message()).unwrap();
    let answer = host.send(&platform, "POST", "/host/v1/check-in", &body);
    assert_eq!((answer.status, answer.problem().as_str()), (403, "asset-decommissioned"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("reinstate h"));
    for mut other in [TestHost::new("h", &platform.new_key()), TestHost::new("h", &host.key)] {
        let answer = other.session_at(&platform, now());
        assert_eq!((answer.status, answer.problem().as_str()), (403, "asset-decommissioned"));
    }
    assert_eq!(platform.get("/api/v1/assets/h")["spark"]["activity"], "decommissioned");
    assert_eq!(platform.get("/api/v1/assets?status=decommissioned")["items"][0]["name"], "h");
    assert_eq!(platform.get("/api/v1/agent-events")["items"][0]["kind"], "started");
    let (status, _) = platform.call(
        "POST",
        "/api/v1/commands",
        Some(&platform.admin),
        Some(json!({"kind": "run-now", "target": {"all": true}})),
    );
    assert_eq!(status, 422, "there is nobody in service");
    platform.post("/api/v1/assets/h/reinstate", json!({}));
    agent_check_in(&mut host, &platform);
    assert_eq!(platform.get("/api/v1/assets/h")["spark"]["activity"], "online");
    assert_eq!(platform.get("/api/v1/assets?status=online")["items"][0]["name"], "h");
    assert_eq!(platform.get("/api/v1/assets?status=late")["items"], json!([]));
}

#[test]
fn problems_stay_on_record() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    let mut told = |codes: &[&str]| {
        let mut message = host.check_in_message();
        message.problems = codes
            .iter()
            .map(|code| Problem { code: (*code).to_owned(), text: "text".to_owned() })
            .collect();
        message.routes = vec![RouteStanding {
            route: "proxy 10.0.0.1:3128".to_owned(),
            in_use: false,
            last_failure: Some(RouteFailure { at: now(), reason: "refused".to_owned() }),
        }];
        host.check_in_with(&platform, &message);
    };
    told(&["ruleset-reverted"]);
    told(&["ruleset-reverted", "dns-stale"]);
    told(&[]);
    told(&["dns-stale"]);
    let problems = platform.get("/api/v1/assets/h/problems");
    let mut seen: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["code"].as_str().unwrap(), one["times"].as_u64().unwrap(), one["current"] == true)
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("dns-stale", 2, true), ("ruleset-reverted", 1, false)]);
    let routes = platform.get("/api/v1/assets/h")["spark"]["routes"].clone();
    assert_eq!(routes[0]["last_failure"]["reason"], "refused");
}

fn package(name: &str, version: &str) -> SoftwarePackage {
    SoftwarePackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        manager: "dpkg".to_owned(),
    }
}

#[test]
fn software_is_kept_in_full_and_by_changes() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    let first: BTreeSet<_> = [package("bash", "5"), package("openssl", "3.0")].into();
    let second: BTreeSet<_> = [package("bash", "5"), package("openssl", "3.1")].into();
    let send = |taken: u64, digest, contents| {
        let body = ReportBody::Software(SoftwareReport { taken, digest, contents });
        assert_eq!(host.report(&platform, &report(body)).status, 200);
    };
    let changes = |base| SoftwareContents::Changes {
        base,
        added: vec![package("openssl", "3.1")],
        removed: vec![package("openssl", "3.0")],
    };
    let at = now() - 100;
    let full = SoftwareContents::Full { packages: first.iter().cloned().collect() };
    send(at, software_digest(&first), full);
    for _ in 0..2 {
        send(at + 1, software_digest(&second), changes(software_digest(&first)));
    }
    // An older one that comes late changes nothing.
    send(at, software_digest(&first), SoftwareContents::Full { packages: Vec::new() });
    let shown = platform.get("/api/v1/assets/h/software?name=SSL");
    assert_eq!(shown["packages"], json!([package("openssl", "3.1")]));
    let noted = platform.get("/api/v1/assets/h/software/changes");
    let noted: Vec<_> =
        noted["items"].as_array().unwrap().iter().map(|one| one["change"].clone()).collect();
    assert_eq!(noted, ["added", "removed"]);
    assert_eq!(host.check_in(&platform).commands, Vec::new());
}

#[test]
fn a_step_from_an_unknown_inventory_makes_the_host_send_everything() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    for _ in 0..3 {
        let contents = SoftwareContents::Changes {
            base: Bytes([9; 32]),
            added: Vec::new(),
            removed: Vec::new(),
        };
        let body =
            ReportBody::Software(SoftwareReport { taken: now(), digest: Bytes([8; 32]), contents });
        assert_eq!(host.report(&platform, &report(body)).status, 200);
    }
    let commands = host.check_in(&platform).commands;
    assert_eq!(commands.len(), 1, "asked once");
    assert_eq!(commands[0].kind, CommandKind::Resend);
}

#[test]
fn telemetry_is_counted_once_and_bounded() {
    let platform = TestPlatform::start_with(|settings| settings.paths_per_asset = 3);
    let mut host = host(&platform, "h");
    host.check_in(&platform);
    let path = |port| ActivePath {
        direction: Direction::Outbound,
        source: [192, 0, 2, 10].into(),
        destination: [198, 51, 100, 7].into(),
        protocol: Protocol::Tcp,
        port,
        process: Some("/usr/bin/curl".to_owned()),
        user: Some("root".to_owned()),
        service: None,
        connections: 2,
        bytes_forth: 100,
        bytes_back: 1000,
        first_seen: now() - 60,
        last_seen: now() - 60 + u64::from(port),
    };
    let paths = |ports: std::ops::Range<u16>| {
        report(ReportBody::Paths(PathReport {
            since: now() - 60,
            until: now(),
            from: PathSource::Conntrack,
            paths: ports.map(path).collect(),
            lost: 5,
        }))
    };
    let first = paths(1..3);
    for _ in 0..3 {
        assert_eq!(host.report(&platform, &first).status, 200);
    }
    assert_eq!(host.report(&platform, &paths(2..6)).status, 200);
    let listed = platform.get("/api/v1/assets/h/paths?process=CURL");
    let ports: Vec<_> =
        listed["items"].as_array().unwrap().iter().map(|one| one["port"].clone()).collect();
    assert_eq!(ports, [5, 4, 3], "those seen longest ago are forgotten");
    assert_eq!(listed["items"][0]["bytes_back"], 1000);
    assert_eq!(platform.get("/api/v1/paths?port=5")["items"][0]["asset"], "h");
    let telemetry = HostTelemetry {
        taken: now(),
        booted: now() - 1000,
        os: "Debian".to_owned(),
        kernel: "6.1".to_owned(),
        architecture: "x86_64".to_owned(),
        machine: None,
        cpu: Cpu { model: "x".repeat(10_000), count: 4 },
        memory: 1 << 30,
        disks: Vec::new(),
        interfaces: Vec::new(),
        runs_in: None,
        hardware: None,
        cloud: None,
    };
    let body = ReportBody::Host(Box::new(telemetry));
    assert_eq!(host.report(&platform, &report(body)).status, 200);
    let shown = platform.get("/api/v1/assets/h/host");
    assert_eq!(shown["host"]["cpu"]["model"].as_str().unwrap().len(), 512);
    assert_eq!(shown["paths_lost"], 10);

    let log = |first: u64, end| {
        let lines = (first..first + 3)
            .map(|number| DebugLine {
                at_ms: now() * 1000,
                area: DebugArea::Policy,
                text: format!("line {number}"),
            })
            .collect();
        let command = "cmd-x".to_owned();
        report(ReportBody::DebugLog(DebugLog { command, first, lines, dropped: 0, end }))
    };
    let piece = log(0, LogEnd::Open);
    for _ in 0..2 {
        assert_eq!(host.report(&platform, &piece).status, 200);
    }
    assert_eq!(host.report(&platform, &log(3, LogEnd::Closed)).status, 200);
    let pieces = platform.get("/api/v1/assets/h/debug-log");
    assert_eq!(pieces.as_array().unwrap().len(), 2);
    assert_eq!(pieces[1]["end"], "closed");
    let after = format!("/api/v1/assets/h/debug-log?after={}", pieces[0]["number"]);
    assert_eq!(platform.get(&after)[0]["lines"][0]["text"], "line 3");
}

#[test]
fn a_configuration_is_told_until_the_host_uses_it() {
    let platform = TestPlatform::start();
    let (mut a, mut b) = (host(&platform, "a"), host(&platform, "b"));
    assert_eq!(a.check_in(&platform).configuration, None);
    b.check_in(&platform);
    let put = |path: &str, body: Value| {
        let (status, answer) = platform.call("PUT", path, Some(&platform.admin), Some(body));
        (status, answer["field"].as_str().unwrap_or_default().to_owned())
    };
    let everywhere = "/api/v1/host-configuration";
    for (body, field) in [
        (json!({"heartbeat": 9}), "/heartbeat"),
        (json!({"inventory": 59}), "/inventory"),
        (json!({"cpu_budget": 1001}), "/cpu_budget"),
        (json!({"memory_budget": 15}), "/memory_budget"),
    ] {
        assert_eq!(put(everywhere, body), (422, field.to_owned()));
    }
    assert_eq!(put(everywhere, json!({"hartbeat": 60})).0, 400);
    assert_eq!(put("/api/v1/host-configuration/segments/none", json!({"heartbeat": 60})).0, 404);
    assert_eq!(put(everywhere, json!({"heartbeat": 60, "live_events": "off"})).0, 200);
    assert_eq!(put("/api/v1/assets/a/host-configuration", json!({"heartbeat": 20})).0, 200);

    for _ in 0..2 {
        let told = a.check_in(&platform).configuration.unwrap();
        assert_eq!((told.heartbeat, told.live_events), (Some(20), Some(Switch::Off)));
    }
    let told = a.check_in(&platform).configuration.unwrap();
    let mut message = a.check_in_message();
    message.configuration = Some(told.version);
    assert_eq!(a.check_in_with(&platform, &message).configuration, None, "in use");
    assert_eq!(b.check_in(&platform).configuration.unwrap().heartbeat, Some(60));
    assert_eq!(put("/api/v1/assets/a/host-configuration", json!({})).0, 200);
    let next = a.check_in(&platform).configuration.unwrap();
    assert_eq!(next.heartbeat, Some(60));
    assert!(next.version > told.version);
    assert_eq!(platform.get("/api/v1/assets/a/host-configuration")["settings"]["heartbeat"], 60);
    assert_eq!(platform.get(everywhere).as_array().unwrap().len(), 1);
}
