//! Held polls of agents.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use xshield_wire::control::Notification;

use crate::support::{TestPlatform, eventually};
use crate::{agent_check_in, host};

fn notified(answer: &crate::support::RawAnswer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.json());
    serde_json::from_slice::<Notification>(&answer.body).unwrap().seen
}

#[test]
fn any_change_after_a_check_in_ends_the_poll() {
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
fn a_newer_poll_ends_the_older_and_a_shutdown_ends_all() {
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
