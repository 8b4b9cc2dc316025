//! Passwords, tokens and metrics: what unauthenticated clients may try, and what is audited.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::plain::Plain;
use support::{PASSWORD, TestHost, TestPlatform, eventually, now};

fn audited(platform: &TestPlatform, action: &str) -> Vec<Value> {
    let page = platform.get(&format!("/api/v1/audit?action={action}&limit=1000"));
    page["items"].as_array().unwrap().clone()
}

/// The number of refusals that were audited for this action.
fn times(lines: &[Value]) -> u64 {
    let one = |line: &Value| match line["after"].as_str().unwrap().split(' ').next() {
        Some("once") => 1,
        Some(number) => number.parse().unwrap(),
        None => 0,
    };
    lines.iter().map(one).sum()
}

fn sign_in(platform: &TestPlatform, user: &str, password: &str) -> (u16, Value) {
    platform.call("POST", "/api/v1/login", None, Some(json!({"user": user, "password": password})))
}

#[test]
fn failed_sign_ins_are_audited_in_few_lines_without_the_input() {
    let platform = TestPlatform::start_with(|settings| settings.gather_refusals_ms = 300);
    let mut refused = 0;
    for number in 0..60 {
        let (user, password) = match number % 3 {
            0 => ("admin".to_owned(), "wrong password".to_owned()),
            1 => ("nobody".to_owned(), "wrong password".to_owned()),
            // A password in the wrong field.
            _ => (format!("my-Secret-{number}"), "x".to_owned()),
        };
        let (status, answer) = sign_in(&platform, &user, &password);
        assert!(status == 401 || status == 429, "{status} {answer}");
        refused += 1;
    }
    let lines = eventually("all are written down", || {
        let lines = audited(&platform, "user.login-refused");
        (times(&lines) >= refused).then_some(lines)
    });
    assert_eq!(times(&lines), refused);
    assert!(lines.len() < 40, "{} lines", lines.len());
    let text = serde_json::to_string(&lines).unwrap();
    assert!(text.contains("\"target\":\"admin\"") && text.contains("127.0.0.1"), "{text}");
    assert!(!text.contains("Secret") && !text.contains("wrong password"), "{text}");
}

#[test]
fn password_guesses_are_delayed_and_the_correct_password_works_after_a_bounded_wait() {
    let platform = TestPlatform::start();
    let held = (0..20).find_map(|_| {
        let (status, answer) = sign_in(&platform, "admin", "wrong password");
        (status == 429).then_some(answer)
    });
    let held = held.expect("guesses are held up");
    assert!(held["detail"].as_str().unwrap().contains("try again in"), "{held}");
    // Another account is not affected.
    let user = json!({"name": "ann", "password": PASSWORD, "role": "viewer"});
    platform.post("/api/v1/users", user);
    assert_eq!(sign_in(&platform, "ann", PASSWORD).0, 200);
    eventually("the right password gets in", || {
        (sign_in(&platform, "admin", PASSWORD).0 == 200).then_some(())
    });
}

#[test]
fn refused_hosts_are_audited_in_few_lines() {
    let platform = TestPlatform::start_with(|settings| settings.gather_refusals_ms = 300);
    let key = platform.new_key();
    TestHost::new("db-1", &key).sign_in(&platform);
    let mut refused = 0;
    let mut held = 0;
    for _ in 0..80 {
        // Another identity with a name that is taken.
        let answer = TestHost::new("db-1", &key).session_at(&platform, now());
        assert!(answer.status == 403 || answer.status == 429, "{}", answer.json());
        held += u32::from(answer.status == 429);
        refused += 1;
    }
    assert!(held > 0, "a flood of them is held up before it costs others their turn");
    TestHost::new("db-2", &key).sign_in(&platform);
    let lines = eventually("all are written down", || {
        let lines = audited(&platform, "host.session-refused");
        (times(&lines) >= refused).then_some(lines)
    });
    assert_eq!(times(&lines), refused);
    assert!(lines.len() <= 30, "{} lines", lines.len());
    let told =
        |reason: &str| lines.iter().any(|line| line["after"].as_str().unwrap().contains(reason));
    assert!(told("identity-changed") && told("too-many-requests"), "{lines:?}");
}

#[test]
fn sign_ins_and_tokens_expire() {
    let platform = TestPlatform::start();
    let user = json!({"name": "ann", "password": PASSWORD, "role": "viewer"});
    platform.post("/api/v1/users", user);
    let works = |token: &str| platform.call("GET", "/api/v1/me", Some(token), None).0 == 200;
    let tokens: Vec<String> = (0..60)
        .map(|_| {
            let token = platform.login("ann", PASSWORD);
            assert!(works(&token), "the newest stays, however many there were in its second");
            token
        })
        .collect();
    assert_eq!(tokens.iter().filter(|token| works(token)).count(), 32, "others made room");
    let listed =
        platform.call("GET", "/api/v1/tokens?limit=1000", tokens.last().map(|t| &**t), None);
    assert_eq!(listed.1["items"].as_array().unwrap().len(), 32);
    let token = tokens.last().unwrap();
    let make = || platform.call("POST", "/api/v1/tokens", Some(token), Some(json!({"name": "ci"})));
    let made = (0..150).take_while(|_| make().0 == 201).count();
    assert_eq!(made, 100);
    let (status, answer) = make();
    assert_eq!((status, answer["type"].as_str()), (409, Some("/problems/too-many-tokens")));
    assert!(works(token), "sign-ins are not crowded out by tokens");
}

#[test]
fn changing_ones_password_ends_other_sessions() {
    let platform = TestPlatform::start();
    let user = json!({"name": "ann", "password": PASSWORD, "role": "viewer"});
    platform.post("/api/v1/users", user);
    let (mine, other) = (platform.login("ann", PASSWORD), platform.login("ann", PASSWORD));
    let program =
        platform.call("POST", "/api/v1/tokens", Some(&other), Some(json!({"name": "ci"})));
    let program = program.1["token"].as_str().unwrap().to_owned();
    let change = |token: &str, old: &str, new: &str| {
        let body = json!({"old": old, "new": new});
        platform.call("PUT", "/api/v1/me/password", Some(token), Some(body))
    };
    let new = "quite another password";
    for (old, new, field) in [("a guess", new, "/old"), (PASSWORD, "short", "/new")] {
        let (status, answer) = change(&mine, old, new);
        assert_eq!((status, answer["field"].as_str()), (422, Some(field)), "{answer}");
    }
    assert_eq!(change("xat1_a_b", PASSWORD, new).0, 401);
    let works = |token: &str| platform.call("GET", "/api/v1/me", Some(token), None).0;
    assert_eq!((works(&mine), works(&other), works(&program)), (200, 200, 200));
    assert_eq!(change(&mine, PASSWORD, new), (204, Value::Null));
    assert_eq!((works(&mine), works(&other), works(&program)), (200, 401, 401));
    assert_eq!(sign_in(&platform, "ann", PASSWORD).0, 401);
    assert_eq!(sign_in(&platform, "ann", new).0, 200);
    let lines = audited(&platform, "user.change-password");
    assert_eq!((lines.len(), &lines[0]["actor"]), (1, &json!("user:ann")));
    // Guesses by a holder of a token are slowed down like others.
    let held = (0..20).any(|_| change(&mine, "a guess", new).0 == 429);
    assert!(held, "guesses are held up");
}

#[test]
fn metrics_need_an_allowed_network_or_a_token() {
    let elsewhere = vec!["192.0.2.0/24".parse().unwrap()];
    let platform = TestPlatform::start_with(|settings| settings.metrics_networks = elsewhere);
    let read = |token: Option<&str>| {
        let headers: Vec<_> = token
            .map(|token| ("authorization".to_owned(), format!("Bearer {token}")))
            .into_iter()
            .collect();
        platform.raw("GET", "/metrics", &headers, b"")
    };
    let refused = read(None);
    assert_eq!(refused.status, 401);
    assert!(refused.json()["detail"].as_str().unwrap().contains("--metrics-network"));
    assert!(!String::from_utf8_lossy(&refused.body).contains("xshield_assets"));
    let page = read(Some(&platform.admin));
    assert_eq!(page.status, 200);
    assert!(String::from_utf8_lossy(&page.body).contains("xshield_assets"));
    assert!(TestPlatform::start().metrics().contains("xshield_assets"), "from this machine");
}

#[test]
fn hsts_is_sent_only_for_public_names() {
    let platform = TestPlatform::start_with(|settings| {
        settings.public_urls = vec!["https://x.example.com:8443".parse().unwrap()];
    });
    for (path, host, kept) in [
        ("/sign-in", "x.example.com:8443", true),
        ("/nothing", "x.example.com:8443", true),
        ("/sign-in", "127.0.0.1:8443", false),
        ("/healthz", "x.example.com:8443", false),
    ] {
        let mut client =
            Plain::open(platform.address, &platform.data_dir(), Duration::from_secs(20)).unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\n\r\n");
        client.send(ask.as_bytes()).unwrap();
        let head = client.head().unwrap();
        assert_eq!(head.contains("strict-transport-security: max-age=31536000"), kept, "{head}");
    }
}

#[test]
fn a_mistyped_user_name_is_refused_by_set_password() {
    let mut platform = TestPlatform::start();
    platform.end();
    let set = |user: &str, more: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xshield"))
            .args(["admin", "set-password", "--user", user, "--data-dir"])
            .arg(platform.data_dir())
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"a new password\n").unwrap();
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        (done.status.success(), String::from_utf8(done.stderr).unwrap())
    };
    let (good, told) = set("admim", &[]);
    assert!(!good && told.contains("there is no user \"admim\"; existing users: admin"), "{told}");
    assert!(told.contains("--create-admin"), "{told}");
    assert!(!set("admin", &["--create-admin"]).0, "there is one");
    assert!(!set("two words", &["--create-admin"]).0, "no name");
    assert!(set("rescue", &["--create-admin"]).0);
    assert!(set("admin", &[]).0);
    let platform = platform.restart_as("a new password");
    assert_eq!(sign_in(&platform, "rescue", "a new password").0, 200);
    assert_eq!(sign_in(&platform, "admim", "a new password").0, 401);
    assert_eq!(sign_in(&platform, "admin", PASSWORD).0, 401);
}
