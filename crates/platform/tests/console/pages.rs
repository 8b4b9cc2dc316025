//! What pages show, to whom, and under which headers.

use serde_json::json;
use xshield_wire::message::*;
use xshield_wire::telemetry::{AgentEvent, AgentEventKind};

use crate::support::{TestPlatform, now, report};
use crate::{BrowserSession, agent, agent_message, spark, tag, words};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'";

#[test]
fn every_page_has_a_strict_csp_and_nothing_inline() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    let given = platform.post("/api/v1/assets/a/commands", json!({"kind": "run-now"}));
    let command = format!("/commands/{}", given["id"].as_str().unwrap());
    let admin = BrowserSession::admin(&platform);
    let confirm = [("kind", "run-now"), ("whom", "selected"), ("asset", "a")];
    let pages = [
        (200, BrowserSession::stranger(&platform).get("/sign-in")),
        (
            401,
            BrowserSession::stranger(&platform)
                .post("/sign-in", &[("user", "x"), ("password", "y")]),
        ),
        (200, admin.get("/")),
        (200, admin.get("/sensors/agents")),
        (200, admin.get("/sensors/spark")),
        (200, admin.get("/sensors/agents?where=role+%3D")),
        (200, admin.get("/assets/a")),
        (200, admin.get("/commands")),
        (200, admin.get("/policy")),
        (200, admin.get("/installation")),
        (200, admin.get(&command)),
        (200, admin.post("/commands/confirm", &confirm)),
        (404, admin.get("/assets/nobody")),
        (404, admin.get("/commands/nothing")),
        (404, admin.get("/no/such/page")),
        (405, admin.get("/sign-out")),
        (422, admin.get("/sensors/agents?nam=x")),
        (422, admin.get("/sensors/agents?status=tired")),
        (403, admin.post_from("/sign-out", &[], &[("sec-fetch-site", "cross-site")])),
    ];
    for (status, page) in pages {
        let text = page.text();
        assert_eq!(page.status, status, "{text}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), Some(value), "{status}");
        }
        let inline = ["<script>", "<style", " style=", " onclick", " onload", "javascript:"];
        assert!(inline.iter().all(|inline| !text.contains(inline)), "{text}");
        assert!(text.contains("<html lang=\"en\">") && text.contains("<main"), "{text}");
    }
}

#[test]
fn api_clients_get_problem_documents_and_static_files_are_cached() {
    let platform = TestPlatform::start();
    let admin = BrowserSession::admin(&platform);
    for path in ["/api/v1/nothing", "/host/v1/nothing"] {
        let answer = admin.get(path);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    let plain = platform.raw("GET", "/no/such/page", &[], b"");
    assert_eq!((plain.status, plain.problem().as_str()), (404, "not-found"));
    let plain = platform.raw("GET", "/sensors/agents", &[], b"");
    assert_eq!((plain.status, plain.problem().as_str()), (401, "unauthenticated"));

    let page = admin.page("/sensors/agents");
    let links = page.split('"').filter(|part| part.starts_with("/static/"));
    let links: Vec<_> = links.collect();
    assert_eq!(links.len(), 4, "{links:?}");
    for link in links {
        let file = BrowserSession::stranger(&platform).get(link);
        assert_eq!(file.status, 200, "{link}");
        assert!(file.header("cache-control").unwrap().contains("immutable"), "{link}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(admin.get("/static/0123456789abcdef/console.css").status, 404);
    assert_eq!(admin.get("/static/0123456789abcdef/..%2f..%2fCargo.toml").status, 404);
}

#[test]
fn the_route_of_each_host_and_the_failures_of_the_others_are_shown() {
    let platform = TestPlatform::start();
    let mut host = agent(&platform, "web-1");
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let listed = words(&viewer.page("/sensors/agents"));
    assert!(
        listed.contains("web-1 online running since 2 h ago 10.10.4.5:4128 1 failed"),
        "{listed}"
    );
    let page = viewer.page("/assets/web-1");
    assert!(page.contains("<time datetime=\"20"), "times are times: {page}");
    let shown = words(&page);
    for expected in [
        "Last check-in now by 10.10.4.5:4128",
        "1 10.10.6.4:3128 failed 2 h ago connection refused 10.10.6.4:3128 refused the \
         connection; check that the service is running there 3 min ago",
        "2 10.10.4.5:4128 current now none",
        "3 direct not needed not known none",
        "1.2 % of a core, 14.5 MiB",
        "debian 12",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }

    let mut message = agent_message(&mut host);
    message.routes[1].in_use = false;
    message.routes[1].last_failure = Some(RouteFailure {
        at: now(),
        reason: "the proxy 10.10.4.5:4128 requires authentication (407)".to_owned(),
        kind: RouteFailureKind::ProxyAuthentication,
    });
    message.routes[2].in_use = true;
    host.check_in_with(&platform, &message);
    let listed = words(&viewer.page("/sensors/agents"));
    assert!(listed.contains("direct 2 failed"), "{listed}");
    let shown = words(&viewer.page("/assets/web-1"));
    let failed = "2 10.10.4.5:4128 failed 2 min ago 407: authentication the proxy 10.10.4.5:4128 \
                  requires authentication (407) now";
    assert!(shown.contains(failed), "{shown}");
    assert!(shown.contains("3 direct current now none"), "{shown}");
}

#[test]
fn texts_from_hosts_are_never_markup() {
    let platform = TestPlatform::start();
    let mut host = agent(&platform, "evil");
    let mut message = agent_message(&mut host);
    let problem = Problem { code: SCRIPT.to_owned(), text: SCRIPT.to_owned() };
    message.problems = vec![problem];
    message.status = Status::Failed { reason: SCRIPT.to_owned() };
    message.program.version = SCRIPT.to_owned();
    message.host.os = SCRIPT.to_owned();
    message.host.kernel = SCRIPT.to_owned();
    message.routes[0].last_failure = Some(RouteFailure {
        at: now(),
        reason: SCRIPT.to_owned(),
        kind: RouteFailureKind::Unknown,
    });
    message.routes[1].route = format!("proxy {SCRIPT}");
    host.check_in_with(&platform, &message);
    let events = vec![AgentEvent {
        at: now(),
        kind: AgentEventKind::Tampered,
        text: SCRIPT.to_owned(),
        revision: None,
        seconds: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::Agent { events })).status, 200);
    let given = platform.post("/api/v1/assets/evil/commands", json!({"kind": "run-now"}));
    let id = given["id"].as_str().unwrap();
    host.check_in_with(&platform, &{
        let mut next = message.clone();
        next.sequence += 1;
        next
    });
    let reason = SCRIPT.to_owned();
    let outcomes = vec![CommandOutcome {
        id: id.to_owned(),
        at: now(),
        result: CommandResult::Failed { reason },
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::Commands { outcomes })).status, 200);

    let admin = BrowserSession::admin(&platform);
    let query = serde_urlencoded::to_string([("name", SCRIPT), ("where", SCRIPT)]).unwrap();
    for (path, times) in [
        ("/sensors/agents".to_owned(), 3),
        (format!("/sensors/agents?{query}"), 2),
        ("/assets/evil".to_owned(), 9),
        (format!("/commands/{id}"), 1),
        (format!("/sign-in?{}", serde_urlencoded::to_string([("to", SCRIPT)]).unwrap()), 0),
        (format!("/{SCRIPT}").replace(['<', '>', '"', ' '], "_"), 0),
    ] {
        let text = admin.get(&path).text();
        for part in ["<script>alert", "<img src=x", "'\"", "\"'"] {
            assert!(!text.contains(part), "{path}: {part}: {text}");
        }
        let escaped = text.matches("&#60;script&#62;alert(1)").count();
        assert!(escaped >= times, "{path}: {escaped} {text}");
    }
}

#[test]
fn tables_show_the_filtered_hosts() {
    let platform = TestPlatform::start();
    let agents: Vec<_> = ["db-1", "web-1", "web-2"].map(|name| agent(&platform, name)).into();
    let sparks: Vec<_> = ["old-1", "web-9"].map(|name| spark(&platform, name)).into();
    tag(&platform, "web-1", "role", "web");
    tag(&platform, "web-9", "role", "web");
    platform.post("/api/v1/assets/web-2/decommission", json!({}));
    let viewer = BrowserSession::with_role(&platform, "viewer");
    for (path, expected) in [
        ("/sensors/agents", &["db-1", "web-1", "web-2"][..]),
        ("/sensors/spark", &["old-1", "web-9"]),
        ("/sensors/agents?name=WEB", &["web-1", "web-2"]),
        ("/sensors/agents?name=web&status=&where=", &["web-1", "web-2"]),
        ("/sensors/agents?name=%25", &[]),
        ("/sensors/agents?status=online", &["db-1", "web-1"]),
        ("/sensors/agents?status=decommissioned", &["web-2"]),
        ("/sensors/agents?status=offline", &[]),
        ("/sensors/spark?status=active", &["old-1", "web-9"]),
        ("/sensors/agents?where=role+%3D+%27web%27", &["web-1"]),
        ("/sensors/spark?where=role+%3D+%27web%27", &["web-9"]),
        ("/sensors/agents?where=role+%3D", &[]),
        ("/sensors/agents?limit=2", &["db-1", "web-1"]),
    ] {
        let page = viewer.page(path);
        let linked: Vec<_> = page
            .split("href=\"/assets/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        assert_eq!(linked, expected, "{path}");
    }
    let fault = words(&viewer.page("/sensors/agents?where=role+%3D"));
    assert!(fault.contains("Criteria:"), "{fault}");
    let first = viewer.page("/sensors/agents?limit=2&status=&name=");
    let next = first.split("<a href=\"").find(|rest| rest.contains("rel=\"next\"")).unwrap();
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    assert!(viewer.page(&next).contains("/assets/web-2"), "{next}");
    drop((agents, sparks));
}

/// The hosts of a page, in their order.
fn listed(page: &str) -> Vec<&str> {
    let links = page.split("href=\"/assets/").skip(1);
    links.map(|rest| rest.split('"').next().unwrap()).collect()
}

/// The target of a link of this kind.
fn link(page: &str, kind: &str) -> Option<String> {
    let links = page.split("<a href=\"").skip(1);
    let link = links.into_iter().find(|rest| rest.contains(&format!("rel=\"{kind}\"")))?;
    Some(link.split('"').next()?.replace("&#38;", "&"))
}

#[test]
fn tables_are_counted_paged_both_ways_and_sorted() {
    let platform = TestPlatform::start();
    let names = ["a", "b", "c", "d", "e"];
    let hosts: Vec<_> = names.map(|name| agent(&platform, name)).into();
    let viewer = BrowserSession::with_role(&platform, "viewer");
    for (path, expected, count) in [
        ("/sensors/agents", &["a", "b", "c", "d", "e"][..], "5 hosts"),
        ("/sensors/agents?limit=2", &["a", "b"], "1 to 2 of 5 hosts"),
        ("/sensors/agents?limit=2&page=2", &["c", "d"], "3 to 4 of 5 hosts"),
        ("/sensors/agents?limit=2&page=3", &["e"], "5 to 5 of 5 hosts"),
        ("/sensors/agents?limit=2&page=99", &["e"], "5 to 5 of 5 hosts"),
        ("/sensors/agents?limit=2&sort=name-down", &["e", "d"], "1 to 2 of 5 hosts"),
        ("/sensors/agents?limit=2&sort=check-in&page=2", &["c", "d"], "3 to 4 of 5 hosts"),
        ("/sensors/agents?name=b", &["b"], "1 host"),
    ] {
        let page = viewer.page(path);
        assert_eq!(listed(&page), expected, "{path}");
        assert!(words(&page).contains(count), "{path}: {}", words(&page));
    }
    let middle = viewer.page("/sensors/agents?limit=2&sort=name-down&page=2");
    assert_eq!(listed(&viewer.page(&link(&middle, "prev").unwrap())), ["e", "d"]);
    assert_eq!(listed(&viewer.page(&link(&middle, "next").unwrap())), ["a"]);
    let (first, last) =
        (viewer.page("/sensors/agents?limit=2"), viewer.page("/sensors/agents?limit=2&page=3"));
    assert_eq!((link(&first, "prev"), link(&last, "next")), (None, None));
    assert!(middle.contains("aria-sort=\"descending\""), "{middle}");
    assert_eq!(viewer.get("/sensors/agents?sort=shoe-size").status, 422);
    drop(hosts);
}

/// One asset that enforces, one in mode test, one in no segment, and one that its host does not protect.
fn protected_and_not(platform: &TestPlatform) -> Vec<crate::support::TestHost> {
    let hosts: Vec<_> = ["closed", "tested", "loose"].map(|name| agent(platform, name)).into();
    let mut blocked = agent(platform, "blocked");
    for name in ["closed", "tested", "blocked"] {
        tag(platform, name, "role", if name == "tested" { "db" } else { "web" });
    }
    platform.commit(
        "segment: { name: web, criteria: role = 'web', \
         inbound: { level: secure-all-ports, mode: enforce } }\n---\n\
         segment: { name: db, criteria: role = 'db', \
         inbound: { level: secure-inbound-paths, mode: test } }\n---\n\
         settings: { management: [ { from: [10.0.0.1], services: [tcp/22] } ] }",
    );
    let mut hosts = hosts;
    for host in &mut hosts {
        let message = agent_message(host);
        let wanted = host.check_in_with(platform, &message).wanted.unwrap();
        let mut message = agent_message(host);
        (message.status, message.in_force) = (Status::Enforcing, Some(wanted));
        host.check_in_with(platform, &message);
    }
    let mut message = agent_message(&mut blocked);
    message.status = Status::Blocked { by: "firewalld".to_owned() };
    message.problems =
        vec![Problem { code: "firewalld".to_owned(), text: "it is here".to_owned() }];
    blocked.check_in_with(platform, &message);
    hosts.push(blocked);
    hosts
}

#[test]
fn protection_is_described_with_the_same_words_everywhere() {
    let platform = TestPlatform::start();
    let hosts = protected_and_not(&platform);
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let table = words(&viewer.page("/sensors/agents"));
    for (name, state, words_of_it, levels, segments) in [
        ("closed", "enforced", "enforcing", "in: secure-all-ports (enforce) out: unsecured", "web"),
        (
            "tested",
            "test-only",
            "not protected everything is in mode test",
            "in: secure-inbound-paths (test) out: unsecured",
            "db",
        ),
        (
            "loose",
            "no",
            "not protected it is in no segment",
            "in: unsecured out: unsecured",
            "none",
        ),
        (
            "blocked",
            "no",
            "blocked, not protected firewalld",
            "in: secure-all-ports (enforce) out: unsecured",
            "web",
        ),
    ] {
        let row = format!("{words_of_it} {levels} {segments}");
        assert!(table.contains(&row), "{name}: {row}: {table}");
        let page = words(&viewer.page(&format!("/assets/{name}")));
        assert!(page.contains(words_of_it), "{name}: {page}");
        assert!(page.contains(&format!("Segments {segments}")), "{name}: {page}");
        let shown = platform.get(&format!("/api/v1/assets/{name}"));
        assert_eq!(shown["protection"]["state"], state, "{name}: {shown}");
    }
    let unprotected = viewer.page("/sensors/agents?status=unprotected");
    assert_eq!(listed(&unprotected), ["blocked", "loose", "tested"]);
    let items = platform.get("/api/v1/assets?status=unprotected")["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(3), "{items}");
    drop(hosts);
}

#[test]
fn the_overview_counts_what_needs_attention_and_links_to_it() {
    let platform = TestPlatform::start();
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let empty = words(&viewer.page("/"));
    assert!(empty.contains("Agents 0 hosts No host has checked in"), "{empty}");
    let hosts = protected_and_not(&platform);
    drop(spark(&platform, "once"));
    let page = viewer.page("/");
    let text = words(&page);
    for expected in [
        "Agents 4 hosts Needs attention 3 not protected",
        "1 blocked by another firewall",
        "1 with problems",
        "Spark 1 host Needs attention 1 not protected",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("offline") && !text.contains("inactive"), "{text}");
    for (status, expected) in
        [("unprotected", &["blocked", "loose", "tested"][..]), ("blocked", &["blocked"])]
    {
        let link = format!("/sensors/agents?status={status}");
        assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        assert_eq!(listed(&viewer.page(&link)), expected);
    }
    drop(hosts);
}

#[test]
fn past_problems_are_shown_apart_from_current_ones() {
    let platform = TestPlatform::start();
    let mut host = agent(&platform, "a");
    for text in ["the first", "the second"] {
        let mut message = agent_message(&mut host);
        message.problems = vec![Problem { code: "dns".to_owned(), text: text.to_owned() }];
        host.check_in_with(&platform, &message);
    }
    let page = words(&BrowserSession::admin(&platform).page("/assets/a"));
    let (now, past) = page.split_once("Past problems").unwrap();
    assert!(now.contains("dns the second") && !now.contains("the first"), "{now}");
    assert!(past.contains("dns the first") && !past.contains("the second"), "{past}");
}

#[test]
fn a_viewer_is_shown_no_controls() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    let pages = ["/sensors/agents", "/assets/a"];
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let operator = BrowserSession::with_role(&platform, "operator");
    for path in pages {
        assert!(operator.page(path).contains("Send a command"), "{path}");
        let page = viewer.page(path);
        for control in ["Send a command", "checkbox", "<button name=", "name=\"asset\""] {
            assert!(!page.contains(control), "{path}: {control}");
        }
    }
}

#[test]
fn no_page_contains_a_proxy_password() {
    let platform = TestPlatform::start();
    let mut host = agent(&platform, "a");
    let mut message = agent_message(&mut host);
    // A faulty or malicious program might report more than it should.
    message.routes[0].route = "proxy http://user:hunter2@10.10.6.4:3128".to_owned();
    let said = "could not use http://user:hunter2@10.10.6.4:3128/: user:hunter2@10.10.6.4 refused";
    message.routes[0].last_failure.as_mut().unwrap().reason = said.to_owned();
    message.problems = vec![Problem { code: "proxy".to_owned(), text: said.to_owned() }];
    message.status = Status::Failed { reason: said.to_owned() };
    host.check_in_with(&platform, &message);
    let events = vec![AgentEvent {
        at: now(),
        kind: AgentEventKind::Started,
        text: said.to_owned(),
        revision: None,
        seconds: None,
    }];
    assert_eq!(host.report(&platform, &report(ReportBody::Agent { events })).status, 200);
    for path in ["/api/v1/assets/a", "/api/v1/agent-events"] {
        let shown = platform.get(path).to_string();
        assert!(shown.contains("10.10.6.4") && !shown.contains("hunter2"), "{path}: {shown}");
    }
    let admin = BrowserSession::admin(&platform);
    for path in ["/sensors/agents", "/assets/a"] {
        assert!(!admin.page(path).contains("hunter2"), "{path}");
    }
    let routes = platform.get("/api/v1/assets/a")["spark"]["routes"].clone();
    assert_eq!(routes[0]["route"], "proxy 10.10.6.4:3128", "it is not even stored");
}

#[test]
fn expiring_keys_and_pending_identities_are_shown() {
    use xshield_model::Timestamp;
    let platform = TestPlatform::start();
    let admin = BrowserSession::admin(&platform);
    let soon = Timestamp::now().plus(3 * 24 * 3600 + 60).to_rfc3339();
    platform.post("/api/v1/enforcement-keys", json!({"name": "web hosts", "expires_at": soon}));
    for path in ["/sensors/agents", "/sensors/spark", "/installation"] {
        let text = words(&admin.get(path).text());
        assert!(text.contains("(web hosts) expires in 3 days"), "{path}: {text}");
    }

    drop(agent(&platform, "a"));
    assert!(!admin.get("/assets/a").text().contains("Pending identity keys"));
    let mut other = crate::support::TestHost::new("a", &platform.new_key());
    assert_eq!(other.session_at(&platform, now()).status, 403);
    let text = words(&admin.get("/assets/a").text());
    let shown = format!("{} 127.0.0.1", other.fingerprint());
    assert!(text.contains("Pending identity keys") && text.contains(&shown), "{text}");
}

#[test]
fn pending_claims_of_a_host_are_shown() {
    let platform = TestPlatform::start();
    let mut host = spark(&platform, "a");
    host.name = "localhost".to_owned();
    host.check_in(&platform);
    let page = BrowserSession::admin(&platform).get("/assets/a").text();
    assert!(page.contains("name-waits") && page.contains("localhost"), "{page}");
    assert!(page.contains("xshield asset accept a name"), "{page}");
}

#[test]
fn a_replaced_key_lists_the_hosts_that_still_use_it() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "old-host"));
    let admin = BrowserSession::admin(&platform);
    let before = admin.page("/installation");
    assert!(!before.contains("Replaced keys"), "{before}");
    let keys = platform.get("/api/v1/enforcement-keys");
    let id = keys["items"][0]["id"].as_str().unwrap();
    let next = platform.post(&format!("/api/v1/enforcement-keys/{id}/rotate"), json!({}));
    let page = words(&admin.page("/installation"));
    let told = format!("{id} test, replaced by {} : old-host", next["id"].as_str().unwrap());
    assert!(page.contains(&told), "{page}");
    platform.post(&format!("/api/v1/enforcement-keys/{id}/revoke"), json!({}));
    assert!(!admin.page("/installation").contains("Replaced keys"));
}
