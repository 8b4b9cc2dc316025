//! Many hosts at once: reconnecting and waiting.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::{TestHost, TestPlatform, eventually, now, report};
use xshield_policy::{Direction, Protocol};
use xshield_wire::message::*;

fn event(port: u16) -> FirewallEvent {
    FirewallEvent {
        kind: EventKind::Denied,
        direction: Direction::Inbound,
        source: [198, 51, 100, 7].into(),
        destination: [192, 0, 2, 10].into(),
        protocol: Protocol::Tcp,
        port,
        rule: None,
        packets: 3,
        bytes: 3,
        first_seen: now(),
        last_seen: now(),
        from: EventSource::Recorder,
        process: None,
    }
}

#[test]
fn hosts_that_return_together_are_spread_and_lose_no_report() {
    const HOSTS: usize = 40;
    let platform = Arc::new(TestPlatform::start_with(|settings| settings.sessions_per_second = 1));
    let key = platform.new_key();
    let turned_away = Arc::new(AtomicU64::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (platform, key) = (platform.clone(), key.clone());
            let (turned_away, next) = (turned_away.clone(), next.clone());
            std::thread::spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= HOSTS as u64 {
                        return;
                    }
                    let mut host = TestHost::new(&format!("host-{number}"), &key);
                    let batch = report(ReportBody::Events(EventReport {
                        events: vec![event(22)],
                        lost: 1,
                    }));
                    let deadline = Instant::now() + Duration::from_secs(120);
                    loop {
                        let answer = host.session_at(&platform, now());
                        if answer.status == 200 {
                            break;
                        }
                        assert_eq!(answer.status, 429, "{}", answer.json());
                        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                        turned_away.fetch_add(1, Ordering::Relaxed);
                        assert!(Instant::now() < deadline, "it never got in");
                        std::thread::park_timeout(Duration::from_secs(wait));
                    }
                    host.check_in(&platform);
                    for _ in 0..2 {
                        assert_eq!(host.report(&platform, &batch).status, 200);
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(turned_away.load(Ordering::Relaxed) > 0, "nobody was turned away");
    for number in 0..HOSTS {
        let events = platform.get(&format!("/api/v1/assets/host-{number}/events"));
        assert_eq!(events["items"][0]["packets"], 3, "host-{number}");
        assert_eq!(platform.get(&format!("/api/v1/assets/host-{number}"))["events_lost"], 1);
    }
}

#[test]
fn a_waiting_poll_is_cheap() {
    const POLLS: u64 = 200;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let (platform, process) = TestPlatform::start_process(dir);
    let key = platform.new_key();
    let mut hosts: Vec<_> = (0..POLLS)
        .map(|number| {
            let mut host = TestHost::new(&format!("host-{number}"), &key);
            host.sign_in(&platform);
            host
        })
        .collect();
    let tokens: Vec<_> =
        hosts.iter_mut().map(|host| host.check_in(&platform).seen.unwrap()).collect();
    let before = process.resident_kib();
    let polls: Vec<_> = hosts
        .iter()
        .zip(&tokens)
        .map(|(host, token)| host.poll_in_background(&platform, token))
        .collect();
    eventually("the polls to wait", || (platform.held_polls() == POLLS).then_some(()));
    let each = process.resident_kib().saturating_sub(before) / POLLS;
    println!("a waiting poll takes {each} KiB");
    assert!(each < 256, "a waiting poll takes {each} KiB");
    drop(process);
    polls.into_iter().for_each(|poll| drop(poll.join()));
}
