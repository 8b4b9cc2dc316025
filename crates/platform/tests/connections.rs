//! Many clients, and clients that send or read incorrectly, do not block the platform for others.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::plain::{Plain, head};
use support::{TestHost, TestPlatform, eventually, now};

const TIMEOUT: Duration = Duration::from_secs(20);
const LARGE: usize = 8 << 20;

/// How often the platform refused for this reason.
fn refused(platform: &TestPlatform, reason: &str) -> u64 {
    let page = platform.metrics();
    let start = format!("xshield_refused_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn unauthenticated_bodies_use_little_memory_and_delay_nobody() {
    let (platform, process) = TestPlatform::start_process(Arc::new(tempfile::tempdir().unwrap()));
    let key = platform.new_key();
    let mut host = TestHost::new("db-1", &key);
    host.sign_in(&platform);
    host.check_in(&platform);
    let before = process.resident_kib();
    let (address, data) = (platform.address, platform.data_dir());
    let crowd: Vec<_> = (0..300)
        .map(|number| {
            let data = data.clone();
            std::thread::spawn(move || {
                let path = match number % 3 {
                    0 => "/host/v1/session",
                    1 => "/api/v1/login",
                    _ => "/sign-in",
                };
                let mut stranger = Plain::open(address, &data, TIMEOUT).ok()?;
                // All but the last byte: a server that waits for the rest keeps the memory.
                let sent = stranger.send(&head("POST", path, &[], LARGE));
                let body = vec![b' '; 256 << 10];
                let whole = (0..31).try_for_each(|_| stranger.send(&body));
                Some((stranger, sent.and(whole)))
            })
        })
        .collect();
    let kept: Vec<_> = crowd.into_iter().filter_map(|one| one.join().unwrap()).collect();
    let grown = process.resident_kib().saturating_sub(before) / 1024;
    assert!(grown < 150, "{grown} MiB more than before, with {} connections", kept.len());
    host.check_in(&platform);
    host.sign_in(&platform);
}

#[test]
fn a_refused_request_is_answered_before_its_body_is_read() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("db-1", &key);
    host.sign_in(&platform);
    let mut altered = host.headers("POST", "/host/v1/reports", b"something", now());
    altered.retain(|(name, _)| name != "content-digest");
    altered.push(("content-digest".to_owned(), xshield_wire::signature::content_digest(b"else")));
    let foreign = vec![("authorization".to_owned(), "Bearer v4.local.nothing".to_owned())];
    let nobody = vec![("authorization".to_owned(), "Bearer xat1_a_b".to_owned())];
    for (path, headers, status) in [
        ("/host/v1/reports", altered, 401),
        ("/host/v1/reports", foreign, 401),
        ("/host/v1/session", Vec::new(), 413),
        ("/api/v1/login", Vec::new(), 413),
        ("/api/v1/threat/look-up", nobody, 401),
    ] {
        let mut client = Plain::open(platform.address, &platform.data_dir(), TIMEOUT).unwrap();
        client.send(&head("POST", path, &headers, LARGE)).unwrap();
        let line = client.status_line().unwrap();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {line}");
    }
}

#[test]
fn an_unread_response_is_aborted() {
    let platform = TestPlatform::start_with(|settings| settings.not_reading_ms = 300);
    let before = refused(&platform, "not-reading");
    let headers = vec![("authorization".to_owned(), format!("Bearer {}", platform.admin))];
    let ask = head("GET", "/api/v1/openapi.json", &headers, 0);
    let mut clients: Vec<_> = (0..10)
        .map(|_| Plain::open(platform.address, &platform.data_dir(), TIMEOUT).unwrap())
        .collect();
    for client in &mut clients {
        // So many that the answers fit into no kernel buffer.
        let _ = client.send(&ask.repeat(300));
    }
    eventually("the platform ends all of them", || {
        (refused(&platform, "not-reading") >= before + 10).then_some(())
    });
}

#[test]
fn requests_per_connection_are_limited_only_before_authentication() {
    let platform = TestPlatform::start();
    let ask = head("GET", "/host/v1/trust", &[], 0);
    let mut stranger = Plain::open(platform.address, &platform.data_dir(), TIMEOUT).unwrap();
    // The connection may end while the rest is sent.
    let _ = stranger.send(&ask.repeat(200));
    let answers = stranger.until_the_end();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 64, "{answers}");
    assert_eq!(answers.matches("connection: close").count(), 1, "with the last one");

    let headers = vec![("authorization".to_owned(), format!("Bearer {}", platform.admin))];
    let ask = head("GET", "/api/v1/me", &headers, 0);
    let mut operator = Plain::open(platform.address, &platform.data_dir(), TIMEOUT).unwrap();
    operator.send(&ask.repeat(200)).unwrap();
    operator.send(&head("GET", "/healthz", &[("connection".into(), "close".into())], 0)).unwrap();
    assert_eq!(operator.until_the_end().matches("HTTP/1.1 ").count(), 201);
}

#[test]
fn idle_connections_block_nobody_and_held_polls_stay() {
    let platform = TestPlatform::start();
    let key = platform.new_key();
    let mut host = TestHost::new("db-1", &key);
    host.sign_in(&platform);
    let seen = host.check_in(&platform).seen.unwrap();
    let poll = host.poll_in_background(&platform, &seen);
    eventually("the poll is held", || (platform.held_polls() == 1).then_some(()));
    let crowd: Vec<_> =
        (0..600).map_while(|_| std::net::TcpStream::connect(platform.address).ok()).collect();
    assert_eq!(crowd.len(), 600);
    // A new connection each: `raw` of a new client.
    for _ in 0..5 {
        let mut client = Plain::open(platform.address, &platform.data_dir(), TIMEOUT).unwrap();
        client.send(&head("GET", "/healthz", &[], 0)).unwrap();
        assert_eq!(client.status_line().unwrap(), "HTTP/1.1 200 OK");
    }
    assert_eq!(platform.held_polls(), 1, "the poll is still held");
    platform.post(
        "/api/v1/commands",
        serde_json::json!({"kind": "run-now", "target": {"assets": ["db-1"]}}),
    );
    assert_eq!(poll.join().unwrap().status, 200);
}
