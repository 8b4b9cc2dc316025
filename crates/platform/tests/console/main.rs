//! The console: what a browser receives, and what it may do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod browser;
mod commands;
mod pages;
mod policy;
mod sign_in;
#[path = "../support/mod.rs"]
mod support;
mod webdriver;

use serde_json::json;
use support::{PASSWORD, RawAnswer, TestHost, TestPlatform, now};
use xshield_wire::control::Usage;
use xshield_wire::message::*;

/// A browser, signed in or not.
struct BrowserSession<'a> {
    platform: &'a TestPlatform,
    cookie: Option<String>,
}

impl<'a> BrowserSession<'a> {
    fn stranger(platform: &'a TestPlatform) -> Self {
        Self { platform, cookie: None }
    }

    fn admin(platform: &'a TestPlatform) -> Self {
        Self::of(platform, "admin", PASSWORD)
    }

    /// Creates an account with this role and signs in.
    fn with_role(platform: &'a TestPlatform, role: &str) -> Self {
        let password = "a password of enough length";
        platform.post("/api/v1/users", json!({"name": role, "role": role, "password": password}));
        Self::of(platform, role, password)
    }

    fn of(platform: &'a TestPlatform, user: &str, password: &str) -> Self {
        let answer =
            Self::stranger(platform).post("/sign-in", &[("user", user), ("password", password)]);
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Self { platform, cookie: Some(cookie) }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![("accept".to_owned(), "text/html,*/*;q=0.8".to_owned())];
        headers.extend(self.cookie.clone().map(|cookie| ("cookie".to_owned(), cookie)));
        headers
    }

    fn get(&self, path: &str) -> RawAnswer {
        self.platform.raw("GET", path, &self.headers(), b"")
    }

    /// An existing page.
    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// A form of one of the console's pages.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> RawAnswer {
        self.post_from(path, fields, &[("sec-fetch-site", "same-origin")])
    }

    fn post_from(&self, path: &str, fields: &[(&str, &str)], origin: &[(&str, &str)]) -> RawAnswer {
        let mut headers = self.headers();
        headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        let origin = origin.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        headers.extend(origin);
        let body = serde_urlencoded::to_string(fields).unwrap();
        self.platform.raw("POST", path, &headers, body.as_bytes())
    }
}

impl RawAnswer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A page's text without its markup, with single spaces.
fn words(page: &str) -> String {
    let mut words = String::new();
    let mut inside = false;
    for letter in page.chars() {
        match letter {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            _ if !inside => words.push(letter),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An agent that reached the platform by its second proxy.
fn agent(platform: &TestPlatform, name: &str) -> TestHost {
    let mut host = TestHost::new(name, &platform.new_key());
    host.sign_in(platform);
    let message = agent_message(&mut host);
    host.check_in_with(platform, &message);
    host
}

fn agent_message(host: &mut TestHost) -> CheckIn {
    let mut message = host.check_in_message();
    message.program.kind = ProgramKind::Agent;
    message.interval = Some(120);
    message.usage = Some(Usage { started: now() - 7300, cpu: 12, memory: 14_848 });
    let failed = |reason: &str| {
        let (at, reason) = (now() - 200, reason.to_owned());
        Some(RouteFailure { at, reason, kind: RouteFailureKind::Refused })
    };
    message.routes = vec![
        RouteStanding {
            route: "proxy 10.10.6.4:3128".to_owned(),
            in_use: false,
            last_failure: failed(
                "10.10.6.4:3128 refused the connection; check that the service is running there",
            ),
            last_worked: Some(now() - 8000),
        },
        RouteStanding {
            route: "proxy 10.10.4.5:4128".to_owned(),
            in_use: true,
            last_failure: None,
            last_worked: Some(now() - 120),
        },
        RouteStanding {
            route: "direct".to_owned(),
            in_use: false,
            last_failure: None,
            last_worked: None,
        },
    ];
    message
}

fn spark(platform: &TestPlatform, name: &str) -> TestHost {
    let mut host = TestHost::new(name, &platform.new_key());
    host.sign_in(platform);
    host.check_in(platform);
    host
}

fn tag(platform: &TestPlatform, name: &str, key: &str, value: &str) {
    let (status, answer) = platform.call(
        "PATCH",
        &format!("/api/v1/assets/{name}"),
        Some(&platform.admin),
        Some(json!({"tags": {key: value}})),
    );
    assert_eq!(status, 200, "{answer}");
}
