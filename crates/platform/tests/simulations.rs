//! Simulating a policy: limited, one at a time, and stopped when nobody waits for the result.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use serde_json::json;
use support::*;

const PATH: &str = "/api/v1/policy/validate";

fn headers(token: &str) -> Vec<(String, String)> {
    vec![
        ("content-type".to_owned(), "application/yaml".to_owned()),
        ("authorization".to_owned(), format!("Bearer {token}")),
    ]
}

fn user(platform: &TestPlatform, name: &str, role: &str) -> String {
    platform.post("/api/v1/users", json!({"name": name, "role": role, "password": PASSWORD}));
    platform.login(name, PASSWORD)
}

/// A segment of all hosts, and this many rules that allow it.
fn large(rules: usize) -> String {
    let mut text = "segment:\n  name: all\n  criteria: role = 'web'\n  templates: [t]\n  inbound: { level: \
                    secure-all-ports, mode: enforce }\n---\ntemplate:\n  name: t\n  action: allow\n  ports:\n"
        .to_owned();
    for rule in 0..rules {
        text.push_str(&format!(
            "    - {{ name: r{rule}, from: ['segment:all'], services: [tcp/{}] }}\n",
            rule + 1
        ));
    }
    text
}

/// Hosts in one segment.
fn fleet(platform: &TestPlatform, hosts: u8) {
    let wish = json!({"name": "k", "tags": {"role": "web"}});
    let made = platform.post("/api/v1/enforcement-keys", wish);
    let key = made["key"].as_str().unwrap().parse().unwrap();
    for number in 0..hosts {
        let mut host = TestHost::new(&format!("h{number}"), &key);
        host.addresses = (0..250).map(|last| [10, 8, number, last].into()).collect();
        host.sign_in(platform);
        host.check_in(platform);
    }
}

#[test]
fn an_account_runs_one_simulation_at_a_time() {
    let platform = TestPlatform::start();
    fleet(&platform, 4);
    let viewer = user(&platform, "viewer", "viewer");
    let (policy, headers) = (large(400), headers(&viewer));
    let mut seen = Vec::new();
    // All at the same time: one is simulated, and possibly a later one after it.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let client = platform.client();
                let (headers, policy) = (&headers, policy.as_bytes());
                scope.spawn(move || client.raw("POST", PATH, headers, policy))
            })
            .collect();
        seen.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    let with = |status| seen.iter().filter(move |answer| answer.status == status);
    assert!(with(200).count() >= 1, "{:?}", seen.iter().map(|a| a.status).collect::<Vec<_>>());
    assert_eq!(with(200).count() + with(429).count(), 8);
    let refused = with(429).next().expect("eight at a time are not all simulated");
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("simulated"), "{}", refused.json());
    let again = platform.raw("POST", PATH, &headers, policy.as_bytes());
    assert_eq!(again.status, 200, "{}", again.json());
}

#[test]
fn simulations_by_viewers_are_limited() {
    let platform = TestPlatform::start();
    let (viewer, operator) =
        (user(&platform, "viewer", "viewer"), user(&platform, "op", "operator"));
    let padding = format!("# {}\n", "x".repeat(1 << 20));
    let policy = format!("{padding}{}", large(1));
    let refused = platform.raw("POST", PATH, &headers(&viewer), policy.as_bytes());
    assert_eq!((refused.status, refused.problem().as_str()), (413, "too-large"));
    let small = platform.raw("POST", PATH, &headers(&viewer), large(1).as_bytes());
    assert_eq!(small.status, 200, "{}", small.json());
    let taken = platform.raw("POST", PATH, &headers(&operator), policy.as_bytes());
    assert_eq!(taken.status, 200, "{}", taken.json());
}

#[test]
fn an_oversized_ruleset_is_refused_before_it_is_compiled() {
    let platform = TestPlatform::start();
    fleet(&platform, 8);
    let answer = platform.raw("POST", PATH, &headers(&platform.admin), large(1000).as_bytes());
    assert_eq!((answer.status, answer.problem().as_str()), (422, "policy-does-not-compile"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("2000000") && detail.contains("500000"), "{detail}");
    assert!(detail.contains("7 more"), "once, for all hosts: {detail}");
}
