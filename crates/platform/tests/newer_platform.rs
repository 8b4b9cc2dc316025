//! The command line with a platform that is newer: every word of its answers that could be one of a fixed set
//! is one that this version does not know. The rest of the answer is readable, and the words are shown as they
//! are.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::slow_platform::{Reply, SlowPlatform};

const AT: &str = "2027-01-15T07:00:00Z";
const DIGEST: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn page(item: Value) -> Value {
    json!({"items": [item], "next": null})
}

fn asset() -> Value {
    let fingerprint = format!("sha256:{}", "ab".repeat(32));
    json!({
        "id": "as-1", "name": "web", "source": "cloudlet", "tags": {"role": "web"},
        "addresses": ["10.0.0.1"], "os": "Debian 12", "kernel": "6.1", "identity": "key",
        "fingerprint": fingerprint, "pending_identity": null, "created_at": AT, "events_lost": 0,
        "decommissioned_at": null,
        "spark": {
            "activity": "asleep", "inactive_since": null, "interval": null, "missed": null,
            "routes": [], "usage": null, "last_check_in": AT, "version": "9.0",
            "status": {"state": "paused", "by": "an-update"},
            "in_force": {"revision": 7, "digest": DIGEST},
            "wanted": {"revision": 8, "digest": DIGEST}, "up_to_date": false,
            "compile_failure": null, "nothing_enforced": null, "refused": null, "problems": [],
        },
        "protection": {
            "state": "half-enforced", "words": "half of it is enforced", "reason": null,
            "segments": ["frontends"], "inbound": "secure-all-ports (enforce)", "outbound": null,
        },
        "claims": [claim()],
        "threat": {
            "inbound": "throttle", "outbound": "throttle", "wanted": null, "in_force": null,
            "up_to_date": true, "budget": null, "elements": 0, "verified_at": null,
            "failure": null, "told_at": AT,
        },
    })
}

fn claim() -> Value {
    json!({"asset": "web", "fact": "name", "value": "www", "standing": "postponed",
           "reason": "other-site", "since": AT})
}

fn rule() -> Value {
    json!({
        "name": "abroad", "state": "muted", "when": {"condition": "country", "code": "X"},
        "where": "role = 'web'", "channels": ["ops", "soc"], "delivery": {"mode": "weekly"},
        "per": "country", "throttle_seconds": 60, "created_at": AT, "created_by": "admin",
        "withheld": 3,
    })
}

fn event() -> Value {
    json!({
        "id": 1, "name": "Malicious IP Match", "asset": "web", "asset_id": "as-1",
        "action": "tarpitted", "blockable_at_host": true, "direction": "sideways",
        "remote": "203.0.113.7", "local": "10.0.0.1", "protocol": "quic", "port": 443,
        "process": "nginx", "service": null, "rule": null, "policy": "deferred", "via": null,
        "request": null, "entry": "203.0.113.0/24", "confidence": 90,
        "feeds": [{"feed": "drop", "entry": "203.0.113.0/24", "confidence": 90}], "revision": 1,
        "packets": 12, "bytes": 1, "reports": 1, "first_seen": AT, "last_seen": AT,
        "from": "satellite",
    })
}

fn key() -> Value {
    json!({
        "id": "abc", "kind": "passkey", "name": "first hosts", "state": "on-leave", "tags": {},
        "bound_name": null, "max_registrations": null, "allowed_networks": null, "created_at": AT,
        "created_by": "admin", "expires_at": null, "revoked_at": null, "replaced_by": null,
        "registrations": 3, "last_registered_at": null, "hosts": 2, "last_used_at": null,
        "last_used_from": null,
    })
}

fn command() -> Value {
    json!({
        "id": "cmd-1", "kind": "reboot", "duration_seconds": null, "target": {"all": true},
        "created_at": AT, "created_by": "admin", "expires_at": AT, "cancelled_at": null,
        "progress": {"assets": 1, "waiting": 1, "told": 0, "done": 0, "failed": 0, "expired": 0,
                     "unknown": 0, "cancelled": 0},
    })
}

fn feed() -> Value {
    json!({
        "name": "drop", "settings": {"source": {"bucket": "lists"}, "format": "parquet"},
        "has_secret": false, "state": "resting", "running": false, "created_at": AT,
        "created_by": "admin", "next_run": AT, "last_run": null, "last_success": null,
        "changed_at": null, "entries": 1234, "added": 0, "removed": 0, "read": {}, "failures": 0,
        "failure": null, "held": null, "differs": null,
    })
}

fn settings() -> Value {
    json!({"heartbeat": 60, "live_events": "sometimes", "quiet_hours": "22-06"})
}

fn answer(path: &str) -> Option<Value> {
    let user = |name: &str| {
        json!({"id": "t-1", "user": "ann", "name": name, "role": "auditor", "created_at": AT,
               "expires_at": null, "last_used_at": null, "revoked_at": null})
    };
    Some(match path {
        "/platform" => json!({"version": "9.0", "url": "https://a", "ca_pem": "", "policy_key": "",
                              "expiring_keys": []}),
        "/me" => json!({"user": "ann", "role": "auditor", "token": "t-1"}),
        "/tokens" | "/users" => page(user("ci")),
        "/agent-events" => page(json!({
            "asset": "web", "at": AT, "received_at": AT, "kind": "rebooted", "text": "it was time",
            "revision": null, "seconds": null,
        })),
        "/assets/web/debug-log?after=0" => json!([{
            "number": 1, "command": "cmd-1", "first": 1, "dropped": 0, "end": "rotated",
            "received_at": AT,
            "lines": [{"at_ms": 1_800_000_000_123_u64, "area": "sensors", "text": "it is warm"}],
        }]),
        "/assets/web/debug-log?after=1" => json!([]),
        "/live-events" => json!([{
            "number": 1, "asset": "web", "received_at": AT,
            "event": {"kind": "delayed", "direction": "sideways", "protocol": "quic",
                      "source": "10.0.0.1", "destination": "10.0.0.2", "port": 443},
        }]),
        "/assets/web/events" => page(json!({
            "asset": "web", "kind": "delayed", "direction": "sideways", "source": "10.0.0.9",
            "destination": "10.0.0.1", "protocol": "quic", "port": 443, "rule": null, "packets": 7,
            "bytes": 1, "reports": 1, "first_seen": AT, "last_seen": AT, "from": "satellite",
            "process": "nginx",
        })),
        "/alerts" => page(json!({
            "number": 7,
            "alert": {
                "name": "Malicious IP Match", "kind": "weather", "severity": "critical",
                "rule": "abroad", "at": AT, "summary": "web met 203.0.113.7", "withheld": 5,
                "event": event(),
            },
        })),
        "/alert-rules" => json!({"items": [rule()]}),
        "/alert-channels" => json!({"items": [{
            "name": "ops", "settings": {"kind": "pager", "host": "pager.example"},
            "state": "muted", "has_secret": false, "created_at": AT, "created_by": "admin",
            "waiting": 4, "failures": 0, "next_attempt": null, "last_success": null,
            "last_failure": null, "last_answer": "250 kept",
        }]}),
        "/deliveries" => page(json!({
            "id": "d-1", "channel": "ops", "kind": "rehearsal", "state": "bounced", "alerts": 2,
            "attempts": 1, "created_at": AT, "last_attempt": AT, "answer": "550 no",
        })),
        "/assets" => page(asset()),
        "/assets/web" => asset(),
        "/claims" => json!([claim()]),
        "/commands" => page(command()),
        "/commands/cmd-1" => command(),
        "/commands/cmd-1/outcomes" => page(json!({
            "asset": "web", "state": "rebooting", "told_at": null, "ended_at": null,
            "host_at": null, "reason": "as asked",
        })),
        "/health" => json!({
            "not_ready": null,
            "jobs": [{"name": "compile", "standing": "paused", "restarts": 1, "failed_at": null,
                      "reason": "on request"}],
            "damaged": [], "key_rotation": null,
        }),
        "/host-configuration" => json!([{
            "scope": "site", "name": "berlin", "settings": settings(), "updated_at": AT,
            "updated_by": "ann",
        }]),
        "/assets/web/host-configuration" => json!({"version": 4, "settings": settings()}),
        "/paths" => page(json!({
            "asset": "web", "direction": "sideways", "source": "10.0.0.1",
            "destination": "10.0.0.2", "protocol": "quic", "port": 443, "process": "/usr/bin/app",
            "user": null, "service": null, "connections": 12, "bytes_forth": 1, "bytes_back": 1,
            "first_seen": AT, "last_seen": AT, "from": "satellite",
        })),
        "/assets/web/ports" => json!({
            "read_at": AT, "received_at": AT,
            "ports": [{"protocol": "quic", "address": "10.0.0.1", "port": 443, "process": "nginx",
                       "path": "/usr/sbin/nginx", "uid": 33}],
        }),
        "/enforcement-keys" => page(key()),
        "/enforcement-keys/abc" => key(),
        "/enforcement-keys/abc/hosts" => json!({"items": [], "next": null}),
        "/policy/diff" => json!({"from": 1, "to": null, "changes": [{
            "change": "renamed", "document": "segment web", "lines": [" name: web"], "left_out": 0,
        }]}),
        "/threat/feeds" => json!([feed()]),
        "/threat/feeds/drop" => feed(),
        "/threat/presets" => json!([{
            "id": "lists", "title": "Lists in a bucket", "about": "Lists addresses.",
            "source": {"bucket": "lists"}, "format": "parquet", "confidence": 50, "key": "signed",
            "terms": "Free.", "terms_url": "https://a.example/", "least_interval": {"secs": 1, "nanos": 0},
        }]),
        "/threat/exceptions" => json!([{
            "id": "ex-1", "target": "10.0.0.0/8", "reason": "ours", "state": "planned",
            "created_at": AT, "created_by": "ann", "expires_at": null,
        }]),
        "/threat/modes" => json!({
            "platform": {"inbound": "throttle", "outbound": null}, "segments": [],
            "assets": [{"name": "web", "inbound": null, "outbound": "mirror"}],
        }),
        "/threat/settings" => json!({"private_ranges": "some", "verify_every": 60}),
        "/threat/status" => json!({
            "revision": 7, "entries": 1234, "kernel_bytes": 1, "restored": null, "trouble": null,
            "private_ranges": "some", "listed_assets": [],
            "feeds": {"all": 1, "stale": [], "held": [], "differs": [], "failing": []},
            "hosts": {"all": 1, "up_to_date": 1, "by_revision": {}, "by_mode": {"throttle/off": 1},
                      "parts": [], "failures": []},
        }),
        "/threat/events" => page(event()),
        "/threat/losses" => json!({"items": []}),
        "/assets/web/ruleset" => json!({
            "wanted": {"revision": 7, "digest": DIGEST}, "compilation": 1, "compiled_at": AT,
            "ruleset": {"revision": 7, "inbound": {"mode": "brand-new"}}, "envelope": {},
        }),
        _ => return None,
    })
}

fn reply(request: &str) -> Reply {
    let path = request.strip_prefix("GET /api/v1").unwrap_or(request);
    let bare = path.split('?').next().unwrap_or_default();
    match answer(path).or_else(|| answer(bare)) {
        Some(answer) => Reply::Json(answer),
        // What is missing in the table is not waited for.
        None => Reply::Json(json!({ "no answer for": path })),
    }
}

/// Runs a command with the newer platform.
fn run(platform: &SlowPlatform, command: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let ca = home.path().join("ca.pem");
    fs::write(&ca, &platform.ca).unwrap();
    Command::new(env!("CARGO_BIN_EXE_xshield"))
        .args(command.split_whitespace())
        .env_clear()
        .env("HOME", home.path())
        .env("XSHIELD_URL", &platform.url)
        .env("XSHIELD_TOKEN", "t")
        .env("XSHIELD_CA", ca)
        .output()
        .unwrap()
}

#[test]
fn words_of_a_newer_platform_are_shown_as_they_are() {
    let platform = SlowPlatform::start(reply);
    for (command, shown) in [
        ("whoami", &["ann", "auditor"][..]),
        ("token list", &["t-1  ann   ci    auditor"]),
        ("user list", &["ci    auditor"]),
        ("agent-events", &["rebooted  it was time"]),
        ("debug-log web", &["sensors   it is warm"]),
        ("live --once", &["web delayed sideways quic 10.0.0.1 -> 10.0.0.2 port 443"]),
        ("events --asset web", &["delayed", "sideways", "quic 10.0.0.9 -> 10.0.0.1"]),
        ("alert list", &["critical  abroad  ", "5  web met 203.0.113.7"]),
        (
            "alert rule list",
            &["abroad  muted", "country code=X", "role = 'web'", "ops soc", "weekly"],
        ),
        ("channel list", &["ops   pager  pager.example  muted", "250 kept"]),
        ("delivery list", &["rehearsal", "bounced", "550 no"]),
        ("asset list", &["asleep", "half of it is enforced", "frontends", "7 → 8"]),
        (
            "asset show web",
            &[
                "cloudlet 9.0",
                "asleep",
                "half of it is enforced",
                "paused by=an-update",
                "name www; postponed",
                "inbound throttle, outbound throttle",
            ],
        ),
        ("asset claims", &["name www", "other-site"]),
        ("command list", &["cmd-1", "reboot", "1 waiting"]),
        ("command show cmd-1", &["reboot", "web    rebooting", "as asked"]),
        ("health", &["compile  paused", "on request"]),
        (
            "host-config show",
            &["site berlin", "heartbeat=60 live-events=sometimes quiet-hours=22-06"],
        ),
        ("host-config show --asset web", &["heartbeat=60", "live-events=sometimes"]),
        ("paths", &["sideways", "quic 10.0.0.1 -> 10.0.0.2:443", "satellite"]),
        ("ports web", &["quic      10.0.0.1  443   nginx"]),
        ("key list", &["passkey  first hosts  on-leave"]),
        ("key show abc", &["passkey", "on leave"]),
        ("policy diff", &["renamed segment web\n"]),
        ("threat feed list", &["drop  resting", "1234"]),
        ("threat feed show drop", &["resting", r#"{"bucket":"lists"}"#, "parquet", "1234"]),
        ("threat feed presets", &["lists (Lists in a bucket)", "parquet", "Free."]),
        ("threat exception list", &["10.0.0.0/8  planned  ours"]),
        ("threat mode show", &["platform   throttle  inherit", "asset web  inherit   mirror"]),
        ("threat settings", &["private ranges  some", "60 s"]),
        ("threat status", &["private ranges  some", "1,234 entries", "throttle/off: 1"]),
        (
            "threat events",
            &["tarpitted  sideways   203.0.113.7  quic to port 443  nginx    drop        12"],
        ),
    ] {
        let done = run(&platform, command);
        let out = String::from_utf8(done.stdout).unwrap();
        let err = String::from_utf8(done.stderr).unwrap();
        assert_eq!((done.status.code(), err.as_str()), (Some(0), ""), "{command}: {out}");
        for text in shown {
            assert!(out.contains(text), "xshield {command}: no {text:?} in\n{out}");
        }
    }
}

/// What rules do is not paraphrased when part of it is not understood.
#[test]
fn a_ruleset_of_a_newer_platform_is_shown_as_json() {
    let platform = SlowPlatform::start(reply);
    let done = run(&platform, "ruleset show web");
    let err = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{err}");
    assert!(err.contains("is of another version of the platform and is shown as JSON"), "{err}");
    let shown: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(shown, answer("/assets/web/ruleset").unwrap());
}

/// A change keeps what this version can't change, and refuses what it would have to guess.
#[test]
fn what_can_not_be_changed_without_guessing_is_refused() {
    let platform = SlowPlatform::start(reply);
    for (command, code, told) in [
        ("threat settings --verify-every 1h", 1, "private-ranges=some"),
        ("threat feed set drop --every 1h", 5, "could not change the threat feed"),
        ("threat feed add new --preset lists --url https://a/", 1, "is of a newer platform"),
    ] {
        let done = run(&platform, command);
        let err = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{command}: {err}");
        assert!(err.contains(told), "{command}: {told:?} is not in {err}");
    }
}
