//! Feeds with real-life faults: missing, slow, truncated, huge, hostile. The last good listing always stays
//! in force.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

#[path = "support/feed_server.rs"]
mod feed_server;
mod support;

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};

use feed_server::{Certificate, FeedServer, send, stall};
use serde_json::{Value, json};
use support::TestPlatform;
use xshield_model::Timestamp;

fn plain() -> Value {
    json!({"plain": {"levels": null}})
}

/// A feed from a server on loopback with valid settings.
fn settings(server: &FeedServer, path: &str) -> Value {
    let ca = if server.ca.is_empty() { Value::Null } else { server.ca.as_str().into() };
    json!({
        "source": {"url": {"url": server.url(path), "ca": ca, "allow": ["private", "http"]}},
        "format": plain(),
        "within": 5,
        "max_bytes": 4 << 20,
        "max_unpacked": 8 << 20,
    })
}

fn add(platform: &TestPlatform, name: &str, settings: &Value) -> Value {
    platform.post("/api/v1/threat/feeds", json!({"name": name, "settings": settings}));
    run(platform, name)
}

fn set(platform: &TestPlatform, name: &str, settings: &Value) -> Value {
    let path = format!("/api/v1/threat/feeds/{name}");
    let body = Some(json!({"settings": settings}));
    let (status, answer) = platform.call("PUT", &path, Some(&platform.admin), body);
    assert_eq!(status, 200, "{answer}");
    run(platform, name)
}

fn run(platform: &TestPlatform, name: &str) -> Value {
    platform.post(&format!("/api/v1/threat/feeds/{name}/run"), json!({}))
}

fn is_listed(platform: &TestPlatform, address: &str) -> bool {
    platform.get(&format!("/api/v1/threat/why/{address}"))["listed"] == true
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn failed_fetches_keep_the_last_good_listing() {
    let platform = TestPlatform::start();
    let (over, until) = mpsc::channel::<()>();
    let until = Arc::new(Mutex::new(until));
    let bomb = gzip(&vec![b'\n'; 64 << 20]);
    let server = FeedServer::tls(Certificate::Good, move |asked, out| {
        let path = asked.line.split(' ').nth(1).unwrap();
        match path {
            "/good" => send(out, "200 OK", "", b"198.51.100.1\n198.51.100.2\n"),
            "/packed" => send(out, "200 OK", "", &gzip(b"198.51.100.1\n198.51.100.2\n")),
            "/gone" => send(out, "404 Not Found", "", b"no"),
            "/forbidden" => send(out, "403 Forbidden", "", b"no"),
            "/broken" => send(out, "500 Oops", "", b"no"),
            "/empty" => send(out, "200 OK", "", b""),
            "/comments" => send(out, "200 OK", "", b"# nothing\n"),
            "/html" => send(out, "200 OK", "", b"<!DOCTYPE html><html>Sign in</html>"),
            "/utf16" => send(out, "200 OK", "", b"\xff\xfe1\0.\x002\0.\x003\0.\x004\0"),
            "/binary" => send(out, "200 OK", "", &[0, 1, 2, 3, 4, 5, 6, 7]),
            "/everything" => send(out, "200 OK", "", b"0.0.0.0/0\n::/0\n"),
            "/names" => send(out, "200 OK", "", b"evil.example\n010.0.0.1\n0x7f.0.0.1\n"),
            "/bomb" => send(out, "200 OK", "content-encoding: gzip\r\n", &bomb),
            "/long-line" => {
                write!(out, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                (0..200).try_for_each(|_| out.write_all(&[b'1'; 1 << 20]))
            }
            "/long" => {
                write!(out, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                (0..200_000).try_for_each(|_| out.write_all(b"198.51.100.1 # again and again\n"))
            }
            "/cut" => write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n198.51.100.9\n"),
            "/cut-gzip" => send(out, "200 OK", "", &gzip(&b"198.51.100.9\n".repeat(99))[..40]),
            "/stall" => stall(out, &until),
            "/around" => send(out, "302 Found", "location: /around\r\n", b""),
            "/metadata" => {
                let to = "location: https://169.254.169.254/latest/meta-data/\r\n";
                send(out, "302 Found", to, b"")
            }
            "/nowhere" => send(out, "302 Found", "location: http://[::bad\r\n", b""),
            "/garbage" => write!(out, "hello\r\n\r\n"),
            _ => Ok(()),
        }
    });
    let ran = add(&platform, "f", &settings(&server, "/good"));
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(2)), "{ran}");
    assert!(is_listed(&platform, "198.51.100.1"));

    for (path, reason) in [
        ("/gone", "404"),
        ("/forbidden", "check the feed's header"),
        ("/broken", "500"),
        ("/empty", "empty"),
        ("/comments", "empty"),
        ("/html", "web page"),
        ("/utf16", "UTF-8"),
        ("/binary", "UTF-8"),
        ("/everything", "none of 2 lines"),
        ("/names", "none of 3 lines"),
        ("/bomb", "larger than 8388608 bytes"),
        ("/long-line", "longer than"),
        ("/long", "4194304"),
        ("/cut", "failed"),
        ("/cut-gzip", "failed"),
        ("/stall", "failed"),
        ("/around", "more than 5 times"),
        ("/metadata", "a cloud metadata service"),
        ("/nowhere", "invalid URL"),
        ("/garbage", "could not reach"),
        ("/closed", "could not reach"),
    ] {
        let ran = set(&platform, "f", &settings(&server, path));
        let told = ran["failure"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(reason), "{path}: {reason:?} is not in {ran}");
        assert_eq!(ran["entries"], 2, "{path}: the last listing stays");
        assert!(is_listed(&platform, "198.51.100.2"), "{path}");
        assert!(!is_listed(&platform, "198.51.100.9"), "{path}: an incomplete list is not used");
    }
    drop(over);
    let ran = set(&platform, "f", &settings(&server, "/packed"));
    assert_eq!((&ran["failure"], &ran["entries"]), (&json!(null), &json!(2)), "{ran}");

    let metrics = platform.raw("GET", "/metrics", &[], b"");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("xshield_threat_feed_entries{feed=\"f\"} 2"), "{text}");
}

#[test]
fn untrusted_and_unreachable_servers_are_distinguished() {
    let platform = TestPlatform::start();
    let expired =
        FeedServer::tls(Certificate::Expired, |_, out| send(out, "200 OK", "", b"1.2.3.4\n"));
    let other = FeedServer::tls(Certificate::Good, |_, out| send(out, "200 OK", "", b"1.2.3.4\n"));
    let good = FeedServer::plain(|_, out| send(out, "200 OK", "", b"1.2.3.4\n"));
    let mut foreign = settings(&other, "/");
    foreign["source"]["url"]["ca"] = expired.ca.as_str().into();
    let named = |url: &str, allow: Value| json!({"source": {"url": {"url": url, "allow": allow}}, "format": plain()});
    let port = good.address.port();
    for (name, settings, reason) in [
        ("expired", settings(&expired, "/"), "xpired"),
        ("foreign", foreign, "ertificate"),
        ("nxdomain", named("https://nobody.invalid/", json!([])), "nobody.invalid"),
        ("loopback", named("https://127.0.0.1/", json!([])), "this machine itself"),
        ("mapped", named("https://[::ffff:127.0.0.1]/", json!([])), "this machine itself"),
        ("decimal", named("https://2130706433/", json!([])), "this machine itself"),
        ("localhost", named("https://localhost/", json!([])), "this machine itself"),
        ("private", named("https://10.0.0.1/", json!([])), "a private address"),
        (
            "metadata",
            named("http://169.254.169.254/", json!(["http", "private"])),
            "cloud metadata",
        ),
        ("refused", named("https://127.0.0.1:1/", json!(["private"])), "could not reach"),
    ] {
        let ran = add(&platform, name, &settings);
        let told = ran["failure"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(reason), "{name}: {reason:?} is not in {ran}");
        assert_eq!(ran["state"], "failing", "{name}");
        // The schedule also runs a new feed, and may have been first.
        assert!(matches!(ran["failures"].as_u64(), Some(1 | 2)), "{name}: {ran}");
    }
    let url = format!("http://127.0.0.1:{port}/");
    let ran = add(&platform, "allowed", &named(&url, json!(["http", "private"])));
    assert_eq!(ran["entries"], 1, "{ran}");
    let refused = json!({"name": "plain", "settings": named(&url, json!(["private"]))});
    let (status, answer) =
        platform.call("POST", "/api/v1/threat/feeds", Some(&platform.admin), Some(refused));
    assert_eq!((status, &answer["field"]), (422, &json!("/source/url/url")), "{answer}");
}

#[test]
fn secrets_are_sent_only_to_their_own_server() {
    let platform = TestPlatform::start();
    let elsewhere = FeedServer::plain(|_, out| send(out, "200 OK", "", b"198.51.100.1\n"));
    let to = format!("location: {}\r\n", elsewhere.url("/list"));
    let first = FeedServer::plain(move |asked, out| match asked.line.as_str() {
        "GET /away HTTP/1.1" => send(out, "302 Found", &to, b""),
        "GET /around HTTP/1.1" => send(out, "302 Found", "location: /list\r\n", b""),
        _ => send(out, "200 OK", "", b"198.51.100.1\n"),
    });
    let mut feed = settings(&first, "/away");
    feed["source"]["url"]["header"] = "x-key".into();
    let body = json!({"name": "f", "settings": feed, "secret": "tell nobody"});
    let made = platform.post("/api/v1/threat/feeds", body);
    assert!(!made.to_string().contains("tell nobody") && made["has_secret"] == true, "{made}");
    assert_eq!(run(&platform, "f")["failure"], json!(null));
    assert!(first.asked().iter().all(|asked| asked.header("x-key") == Some("tell nobody")));
    assert!(!elsewhere.asked().is_empty(), "the redirect was followed");
    assert!(elsewhere.asked().iter().all(|asked| asked.header("x-key").is_none()));

    feed["source"]["url"]["url"] = first.url("/around").into();
    assert_eq!(set(&platform, "f", &feed)["failure"], json!(null));
    let last = first.asked().pop().unwrap();
    assert_eq!(
        (last.line.as_str(), last.header("x-key")),
        ("GET /list HTTP/1.1", Some("tell nobody"))
    );

    feed["source"]["url"]["url"] = elsewhere.url("/list").into();
    let (status, answer) = platform.call(
        "PUT",
        "/api/v1/threat/feeds/f",
        Some(&platform.admin),
        Some(json!({"settings": feed})),
    );
    assert_eq!((status, &answer["field"]), (422, &json!("/secret")), "{answer}");

    let keyed = FeedServer::plain(|_, out| send(out, "500 Oops", "", b""));
    let mut in_url = settings(&keyed, "/list?key={key}");
    in_url["source"]["url"]["url"] = keyed.url("/list?key={key}").into();
    let body = json!({"name": "k", "settings": in_url, "secret": "s3cret"});
    platform.post("/api/v1/threat/feeds", body);
    let ran = run(&platform, "k");
    assert!(!ran.to_string().contains("s3cret"), "{ran}");
    assert_eq!(keyed.asked()[0].line, "GET /list?key=s3cret HTTP/1.1");
    let audit = platform.get("/api/v1/audit");
    assert!(!audit.to_string().contains("s3cret") && !audit.to_string().contains("tell nobody"));
}

#[test]
fn an_unchanged_feed_is_not_sent_again() {
    let platform = TestPlatform::start();
    let server = FeedServer::plain(|asked, out| {
        let headers = "etag: \"v1\"\r\nlast-modified: Sat, 21 Nov 2026 06:00:00 GMT\r\n";
        match asked.header("if-none-match") {
            Some("\"v1\"") => send(out, "304 Not Modified", headers, b""),
            _ => send(out, "200 OK", headers, b"198.51.100.1\n"),
        }
    });
    add(&platform, "f", &settings(&server, "/"));
    let before = server.asked().len();
    let ran = run(&platform, "f");
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(1)), "{ran}");
    let asked = server.asked().pop().unwrap();
    assert!(server.asked().len() > before);
    assert_eq!(asked.header("if-none-match"), Some("\"v1\""));
    assert_eq!(asked.header("if-modified-since"), Some("Sat, 21 Nov 2026 06:00:00 GMT"));
}

#[test]
fn crowdsec_sends_everything_first_and_then_changes() {
    let platform = TestPlatform::start();
    let server = FeedServer::plain(|asked, out| {
        let ban = |address: &str| json!({"scope": "Ip", "type": "ban", "value": address, "duration": "4h0m0s"});
        let body = if asked.line.contains("startup=true") {
            json!({"new": [ban("198.51.100.1"), ban("198.51.100.2")], "deleted": []})
        } else {
            json!({"new": [ban("198.51.100.3")], "deleted": [ban("198.51.100.1")]})
        };
        send(out, "200 OK", "", body.to_string().as_bytes())
    });
    let mut feed = settings(&server, "/v1/decisions/stream");
    feed["format"] = "crowd-sec".into();
    feed["exchange"] = "crowdsec".into();
    let body = json!({"name": "lapi", "settings": feed});
    platform.post("/api/v1/threat/feeds", body);
    run(&platform, "lapi");
    let mut ran = run(&platform, "lapi");
    if server.asked().len() < 2 {
        ran = run(&platform, "lapi");
    }
    assert_eq!(ran["entries"], 2, "{ran}");
    for (address, listed) in
        [("198.51.100.1", false), ("198.51.100.2", true), ("198.51.100.3", true)]
    {
        assert_eq!(is_listed(&platform, address), listed, "{address}");
    }
    let asked = server.asked();
    assert!(asked[0].line.contains("startup=true") && asked[1].line.contains("startup=false"));
}

/// Seconds until the next run of the feed.
fn waits(ran: &Value) -> i64 {
    let time = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap();
    time(&ran["next_run"]).0 - time(&ran["last_run"]).0
}

#[test]
fn retry_after_is_respected_within_limits() {
    let platform = TestPlatform::start();
    let in_two_hours = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
    let date = format!("retry-after: {}\r\n", httpdate::fmt_http_date(in_two_hours));
    let server = FeedServer::plain(move |asked, out| {
        let said = match asked.line.split(' ').nth(1).unwrap() {
            "/seconds" => "retry-after: 7200\r\n",
            "/date" => &date,
            "/forever" => "retry-after: 99999999999\r\n",
            "/short" => "retry-after: 1\r\n",
            _ => "",
        };
        let status = if asked.line.contains("/date") { "503 Down" } else { "429 Slow Down" };
        send(out, status, said, b"no")
    });
    for (path, expected, said) in [
        ("/seconds", 7200..=7260, "429: too many requests; it asks to wait for 7200 s"),
        // The answer arrives a moment later.
        ("/date", 7190..=7260, "503: it is retried later; it asks to wait for 7"),
        ("/forever", 86_400..=86_460, "to wait for 99999999999 s"),
        // Not earlier than without Retry-After, and without one as before.
        ("/short", 54..=150, "to wait for 1 s"),
        ("/nothing", 54..=150, "429: too many requests"),
    ] {
        let name = path.trim_start_matches('/');
        let ran = add(&platform, name, &settings(&server, path));
        let told = ran["failure"]["reason"].as_str().unwrap_or_default();
        assert!(told.contains(said), "{path}: {ran}");
        assert!(expected.contains(&waits(&ran)), "{path}: {ran}");
    }
}

#[test]
fn partial_lists_are_refused_and_empty_ones_need_permission() {
    let platform = TestPlatform::start();
    let server = FeedServer::plain(|asked, out| match asked.line.split(' ').nth(1).unwrap() {
        "/part" => {
            send(out, "206 Partial Content", "content-range: bytes 0-13/99\r\n", b"198.51.100.9\n")
        }
        "/other" => send(out, "202 Accepted", "", b"198.51.100.9\n"),
        "/none" => send(out, "204 No Content", "", b""),
        "/comments" => send(out, "200 OK", "", b"# nothing today\n"),
        "/html" => send(out, "200 OK", "", b"<html>sign in</html>"),
        "/names" => send(out, "200 OK", "", b"evil.example\n"),
        _ => send(out, "200 OK", "", b"198.51.100.1\n198.51.100.2\n"),
    });
    add(&platform, "f", &settings(&server, "/list"));
    for (path, empty, reason) in [
        ("/part", "refused", "an incomplete list is not used"),
        ("/part", "allowed", "an incomplete list is not used"),
        ("/other", "refused", "202"),
        ("/none", "refused", "allow it to be empty"),
        ("/comments", "refused", "allow it to be empty"),
        ("/html", "allowed", "web page"),
        ("/names", "allowed", "none of 1 lines"),
    ] {
        let mut wanted = settings(&server, path);
        wanted["empty"] = empty.into();
        let ran = set(&platform, "f", &wanted);
        let told = ran["failure"]["reason"].as_str().unwrap_or_default();
        assert!(told.contains(reason), "{path} {empty}: {ran}");
        assert_eq!((&ran["state"], &ran["entries"]), (&json!("failing"), &json!(2)), "{path}");
    }
    for path in ["/none", "/list", "/comments", "/list"] {
        let mut wanted = settings(&server, path);
        wanted["empty"] = "allowed".into();
        let ran = set(&platform, "f", &wanted);
        let entries = if path == "/list" { 2 } else { 0 };
        assert_eq!(
            (&ran["state"], &ran["failure"]),
            (&json!("good"), &json!(null)),
            "{path}: {ran}"
        );
        assert_eq!(ran["entries"], entries, "{path}");
        assert_eq!(is_listed(&platform, "198.51.100.1"), path == "/list", "{path}");
    }
}

#[test]
fn a_feed_directory_names_the_faulty_file_and_ignores_editor_backups() {
    let platform = TestPlatform::start();
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
    write("a.txt", "198.51.100.1\n");
    write("b.txt", "010.0.0.1\n198.51.100.2\n");
    write("empty.txt", "");
    for name in ["a.txt~", "#a.txt#", ".a.txt.swp", "a.txt.bak", "a.txt.tmp", "a.txt.dpkg-old"] {
        write(name, "198.51.100.9\n");
    }
    let mut feed = json!({"source": {"file": files.path()}, "format": plain()});
    let ran = add(&platform, "d", &feed);
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(2)), "{ran}");
    assert!(!is_listed(&platform, "198.51.100.9"));
    assert_eq!(ran["read"]["samples"][0]["file"], "b.txt", "{ran}");
    for (text, reason) in [
        ("<html>", "web page"),
        ("\u{0}\u{1}", "UTF-8"),
        ("evil.example\n", "none of 1 lines is an entry"),
    ] {
        write("b.txt", text);
        let ran = run(&platform, "d");
        let told = ran["failure"]["reason"].as_str().unwrap_or_default();
        let file = files.path().join("b.txt").display().to_string();
        assert!(told.contains(&file) && told.contains(reason), "{ran}");
        assert_eq!(ran["entries"], 2);
    }
    for name in ["a.txt", "b.txt"] {
        write(name, "# none\n");
    }
    let told = run(&platform, "d")["failure"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("allow it to be empty"), "{told}");
    feed["empty"] = "allowed".into();
    let ran = set(&platform, "d", &feed);
    assert_eq!((&ran["state"], &ran["entries"]), (&json!("good"), &json!(0)), "{ran}");
}
