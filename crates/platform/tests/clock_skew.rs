//! Clock skew of a host is shown to operators, even while the host is refused because of it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use support::{TestHost, TestPlatform, now};

/// The texts of `clock-skew` that the platform shows for an asset.
fn shown(platform: &TestPlatform, asset: &str) -> Vec<String> {
    let shown = platform.get(&format!("/api/v1/assets/{asset}/problems")).to_string();
    let problems: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let problems = problems.as_array().or_else(|| problems["items"].as_array()).unwrap();
    let of_clock = problems.iter().filter(|problem| problem["code"] == "clock-skew");
    of_clock.map(|problem| problem["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn clock_skew_is_shown_even_while_the_host_is_refused() {
    let platform = TestPlatform::start();
    let mut host = TestHost::new("db-1", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    assert_eq!(shown(&platform, "db-1"), [""; 0], "a clock that is right");

    // Skewed, but within the tolerance.
    let path = "/host/v1/check-in";
    let body = serde_json::to_vec(&host.check_in_message()).unwrap();
    let headers = host.headers("POST", path, &body, now() - 130);
    assert_eq!(platform.raw("POST", path, &headers, &body).status, 200);
    let texts = shown(&platform, "db-1");
    assert!(texts.len() == 1 && texts[0].contains("3 min behind"), "{texts:?}");
    let asset = platform.get("/api/v1/assets/db-1").to_string();
    assert!(asset.contains("clock-skew"), "among what holds now: {asset}");

    // Too far off for a session; an unknown host leaves no record.
    let refused = host.session_at(&platform, now() + 3600);
    assert_eq!((refused.status, refused.problem().as_str()), (401, "clock-skew"));
    let texts = shown(&platform, "db-1");
    assert!(texts.iter().any(|text| text.contains("60 min ahead of")), "{texts:?}");
    let mut stranger = TestHost::new("db-2", &platform.new_key());
    assert_eq!(stranger.session_at(&platform, now() + 3600).status, 401);
    let known = platform.get("/api/v1/assets").to_string();
    assert!(!known.contains("db-2"), "{known}");

    // Neither does a request that the host did not sign.
    let before = shown(&platform, "db-1");
    let headers = host.headers("POST", path, &body, now() - 7200);
    let altered = [&body[..], b" "].concat();
    assert_eq!(platform.raw("POST", "/host/v1/reports", &headers, &altered).status, 401);
    assert_eq!(shown(&platform, "db-1"), before);

    // Correct again: the problem is in the past.
    host.check_in(&platform);
    let asset = platform.get("/api/v1/assets/db-1");
    assert!(!asset["problems"].to_string().contains("clock-skew"), "{asset}");
}
