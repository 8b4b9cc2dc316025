//! Signing in, and protection against requests of other sites.

use serde_json::json;

use crate::support::{PASSWORD, TestPlatform};
use crate::{BrowserSession, agent};

#[test]
fn a_session_begins_with_a_password_and_ends_with_sign_out() {
    let platform = TestPlatform::start();
    let stranger = BrowserSession::stranger(&platform);
    for (path, to) in [
        ("/", "/sign-in"),
        ("/sensors/agents", "/sign-in?to=%2Fsensors%2Fagents"),
        ("/assets/x?y=1", "/sign-in?to=%2Fassets%2Fx%3Fy%3D1"),
        ("/commands", "/sign-in?to=%2Fcommands"),
    ] {
        let answer = stranger.get(path);
        assert_eq!((answer.status, answer.header("location")), (303, Some(to)), "{path}");
    }
    let answer = stranger.post("/sign-in", &[("user", "admin"), ("password", PASSWORD)]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    let mut parts = cookie.split("; ");
    assert!(parts.next().unwrap().starts_with("__Host-xshield=xat1_"), "{cookie}");
    let flags: Vec<_> = parts.filter(|part| !part.starts_with("Max-Age=")).collect();
    assert_eq!(flags, ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]);

    let admin = BrowserSession::admin(&platform);
    assert!(admin.page("/sensors/agents").contains("Sign out"));
    let tokens = platform.get("/api/v1/tokens");
    let console = |token: &&serde_json::Value| token["name"] == "console";
    let expiring = tokens["items"].as_array().unwrap().iter().filter(console);
    assert!(expiring.clone().count() == 2 && expiring.clone().all(|t| t["expires_at"].is_string()));
    let audited = platform.get("/api/v1/audit?action=user.login");
    assert_eq!(audited["items"].as_array().unwrap().len(), 3, "two here, one by the API");

    let answer = admin.post("/sign-out", &[]);
    assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(admin.get("/sensors/agents").status, 303, "the cookie opens nothing any more");
}

#[test]
fn a_failed_sign_in_does_not_say_which_part_was_wrong() {
    let platform = TestPlatform::start();
    let stranger = BrowserSession::stranger(&platform);
    let refused = |user: &str, password: &str| {
        let answer = stranger.post("/sign-in", &[("user", user), ("password", password)]);
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{user}");
        assert!(!answer.text().contains(password));
        answer.text().replace(user, "USER")
    };
    let known = refused("admin", "not the password at all");
    assert_eq!(known, refused("nobody", "not the password at all"));
    assert!(known.contains("Account or password is wrong"), "{known}");
    let last = (0..30)
        .map(|_| stranger.post("/sign-in", &[("user", "admin"), ("password", "guessed again")]))
        .find(|answer| answer.status != 401)
        .expect("guesses are limited");
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").is_some() && last.text().starts_with("<!doctype"));
}

#[test]
fn signing_in_redirects_only_within_the_console() {
    let platform = TestPlatform::start();
    for (to, place) in [
        ("/assets/web-1?x=1", "/assets/web-1?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("/.//evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nset-cookie: a=b", "/xset-cookie:%20a=b"),
    ] {
        let fields = [("user", "admin"), ("password", PASSWORD), ("to", to)];
        let answer = BrowserSession::stranger(&platform).post("/sign-in", &fields);
        assert_eq!((answer.status, answer.header("location")), (303, Some(place)), "{to:?}");
    }
}

#[test]
fn changing_ones_password_in_the_console_ends_other_sessions() {
    let platform = TestPlatform::start();
    let session = BrowserSession::with_role(&platform, "viewer");
    let elsewhere = BrowserSession::of(&platform, "viewer", "a password of enough length");
    assert!(session.page("/sensors/agents").contains("href=\"/account\""));
    assert!(session.page("/account").contains("current-password"));
    let new = "another one of length";
    for (old, first, again, told) in [
        ("a guess of some length", new, new, "Wrong old password"),
        ("a password of enough length", "short", "short", "expected 8"),
        ("a password of enough length", new, "something else", "differ"),
    ] {
        let fields = [("old", old), ("new", first), ("again", again)];
        let answer = session.post("/account", &fields);
        assert_eq!(answer.status, 422, "{told}");
        assert!(answer.text().contains(told), "{told}: {}", answer.text());
        assert!(!answer.text().contains(old) && !answer.text().contains("xat1_"));
    }
    assert_eq!(elsewhere.get("/sensors/agents").status, 200, "nothing was changed");
    let fields = [("old", "a password of enough length"), ("new", new), ("again", new)];
    let answer = session.post("/account", &fields);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(session.get("/sensors/agents").status, 200, "this one goes on");
    assert_eq!(elsewhere.get("/sensors/agents").status, 303, "the other has ended");
    drop(BrowserSession::of(&platform, "viewer", new));
}

#[test]
fn cross_site_requests_are_refused() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    let admin = BrowserSession::admin(&platform);
    let host = format!("https://{}", platform.address);
    let command = [("kind", "run-now"), ("whom", "selected"), ("asset", "a"), ("hosts", "1")];
    let sign_in = [("user", "admin"), ("password", PASSWORD)];
    for origin in [
        &[][..],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", &host)],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        for (path, fields) in [
            ("/commands", &command[..]),
            ("/commands/confirm", &command),
            ("/sign-out", &[]),
            ("/sign-in", &sign_in),
        ] {
            let answer = admin.post_from(path, fields, origin);
            assert_eq!(answer.status, 403, "{path} {origin:?}");
            assert!(answer.text().contains("Cross-site request"), "{path} {origin:?}");
        }
    }
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]), "nothing was given");
    assert_eq!(admin.get("/sensors/agents").status, 200, "still signed in");
    let older = admin.post_from("/commands", &command, &[("origin", &host)]);
    assert_eq!(older.status, 303, "a browser that says its origin alone");
}

#[test]
fn the_cookie_gives_no_access_to_the_api_and_a_deleted_account_none_to_pages() {
    let platform = TestPlatform::start();
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let cookie = [("cookie".to_owned(), viewer.cookie.clone().unwrap())];
    assert_eq!(platform.raw("GET", "/api/v1/assets", &cookie, b"").status, 401);
    assert_eq!(viewer.get("/sensors/spark").status, 200);
    let gone = platform.call("DELETE", "/api/v1/users/viewer", Some(&platform.admin), None);
    assert_eq!(gone.0, 204, "{}", gone.1);
    assert_eq!(viewer.get("/sensors/spark").status, 303);
    let mut htmx = viewer.headers();
    htmx.push(("hx-request".to_owned(), "true".to_owned()));
    let answer = platform.raw("GET", "/sensors/spark", &htmx, b"");
    assert_eq!((answer.status, answer.header("hx-redirect")), (401, Some("/sign-in")));
}
